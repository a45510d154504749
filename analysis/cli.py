"""`coupled-analyze`: from run directories to tables and figures."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console

from analysis import figures, table
from analysis.curves import curves, write_csv
from analysis.run import open_run
from coupled.terminal import Parser, guarded

_LEAST_WIDTH: Final = 80  # columns that the table of headline numbers needs


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit code: 0, 2 for a user's mistake, 3 for a damaged run or a full disk."""

    def body() -> int:
        options = _parser().parse_args(arguments)
        return options.command(options)

    return guarded("coupled-analyze", body)


def _parser() -> Parser:
    parser = Parser(prog="coupled-analyze", description="Turn the records of runs into results.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    curves = commands.add_parser(
        "curves",
        help="CKA, RSA, weight gap and losses over steps: table, figure, CSV",
        description="Writes RUN/analysis/curves.csv, curves.png and curves.svg for each run, finished or not, and "
        "prints each arm against its anchor at steps 10, 30, 100, 300 and the last.",
        epilog="Exit code: 0 done, 2 a mistake in what was asked, 3 a damaged run or a failed write.",
    )
    curves.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run directory, such as runs/quickstart")
    curves.add_argument("--markdown", action="store_true", help="print the table as GitHub markdown")
    curves.set_defaults(command=_curves)
    return parser


def _curves(options: argparse.Namespace) -> int:
    # Every path is opened before the first result is written.
    for run in [open_run(path) for path in options.runs]:
        found = curves(run)
        written = [write_csv(run, found), *figures.save(run, found)]
        if options.markdown:
            print(table.markdown(run, found))
        else:
            _console().print(table.rich_table(run, found))
        for fault in figures.twin_faults(run, found):
            print(f"coupled-analyze: warning: {fault}; the run was not in lockstep", file=sys.stderr)
        # The markdown is made to be pasted or piped: the last line stays out of it.
        names = " ".join(path.name for path in written)
        print(f"results: {written[0].parent}/ ({names})", file=sys.stderr if options.markdown else sys.stdout)
    return 0


def _console() -> Console:
    """A console that wraps a table too wide for it, where rich would cut digits off."""
    console = Console(highlight=False)
    return console if console.width >= _LEAST_WIDTH else Console(highlight=False, width=_LEAST_WIDTH)
