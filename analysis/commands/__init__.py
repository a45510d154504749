"""The commands of `coupled-analyze`, one file each: `add` says what it takes, `run` does it, returns the exit code."""

from collections.abc import Sequence
from typing import Final

from analysis.commands import (
    accuracy,
    alignment,
    bounds,
    curves,
    divergence,
    geometry,
    import_,
    losses,
    picture,
    probe,
    report,
)
from coupled.terminal.entry import Parser

COMMANDS: Final = (curves, bounds, divergence, alignment, losses, geometry, probe, accuracy, picture, report, import_)


def run(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code. Raises UserError and StoreError."""
    options = parser().parse_args(arguments)
    return options.run(options)


def parser() -> Parser:
    """The parser of all commands."""
    whole = Parser(prog="coupled-analyze", description="Turn the records and kept checkpoints of runs into results.")
    commands = whole.add_subparsers(title="commands", required=True, metavar="COMMAND", parser_class=Parser)
    for command in COMMANDS:
        command.add(commands)
    return whole
