"""The commands of `coupled-analyze`, one module each: `add(commands)` makes its parser."""
