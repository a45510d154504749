"""`coupled-analyze bounds`: every bound beside what was measured, as table, figure and CSV."""

import argparse
from pathlib import Path

from analysis.bounds import bounds, figure, table
from analysis.bounds.checks import violations
from analysis.commands import printing
from analysis.runs.run import open_run
from coupled.terminal.entry import Parser


def add(command: Parser) -> None:
    """Adds what the command takes."""
    command.description = (
        "Writes RUN/analysis/bounds.csv, bounds.png and bounds.svg for each run, finished or not, and "
        "prints every bound beside what was measured, where its slack comes from and what it assumes. A bound that "
        "should hold and does not is a warning."
    )
    command.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run directory, such as runs/quickstart")
    printing.add_output(command)
    printing.add_all_steps(command)
    printing.add_verbose(command, "every arm, where the slack of bounds comes from, what they rest on")


def run(options: argparse.Namespace) -> int:
    """Writes and prints the bounds of each run."""
    # Every path is opened before the first result is written.
    for opened in [open_run(path) for path in options.runs]:
        curves = bounds(opened)
        paths = [*table.write(opened, curves, all_steps=options.all_steps), *figure.save(opened, curves)]
        for violation in violations(curves):
            printing.warning(violation)
        printing.show(table.printed(opened, curves, verbose=options.verbose))
        printing.results(paths)
    return 0
