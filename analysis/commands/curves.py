"""`coupled-analyze curves`: the curves of each run as table, figure and CSV."""

import argparse
import sys
from pathlib import Path
from typing import Any

from analysis.commands import printing
from analysis.curves import curves, figure, table
from analysis.output.csv import write_csv
from analysis.runs.run import open_run
from coupled.terminal.console import Console


def add(commands: Any) -> None:
    """Adds the command to the subparsers `commands`."""
    command = commands.add_parser(
        "curves",
        help="CKA, RSA, weight gap and losses over steps: table, figure, CSV",
        description="Writes RUN/analysis/curves.csv, curves.png and curves.svg for each run, finished or not, and "
        "prints each arm against its reference at steps 10, 30, 100, 300 and the last.",
    )
    command.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run directory, such as runs/quickstart")
    command.add_argument("--markdown", action="store_true", help="print the table as GitHub markdown")
    command.set_defaults(command=_run)


def _run(options: argparse.Namespace) -> int:
    # Every path is opened before the first result is written.
    for run in [open_run(path) for path in options.runs]:
        found = curves(run)
        written = [write_csv(run, found), *figure.save(run, found)]
        if options.markdown:
            print(table.markdown(run, found))
        else:
            Console().print(table.rich_table(run, found))
        for fault in figure.twin_faults(run, found):
            print(f"coupled-analyze: warning: {fault}; the run was not in lockstep", file=sys.stderr)
        # The markdown is made to be pasted or piped: the last line stays out of it.
        printing.results(written, file=sys.stderr if options.markdown else sys.stdout)
    return 0
