"""`coupled-analyze curves`: the curves of each run as table, figure and CSV."""

import argparse
import sys
from pathlib import Path

from analysis.commands import printing
from analysis.curves import curves, figure, table
from analysis.runs.register import execute
from analysis.runs.run import open_run
from coupled.terminal.console import Console
from coupled.terminal.entry import Parser


def add(command: Parser) -> None:
    """Adds what the command takes."""
    command.description = (
        "Writes RUN/analysis/curves.csv, curves.png and curves.svg for each run, finished or not, and "
        "prints each arm against its reference at steps 10, 30, 100, 300 and the last."
    )
    command.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run directory, such as runs/quickstart")
    command.add_argument("--markdown", action="store_true", help="print the table as GitHub markdown")
    printing.add_output(command)
    printing.add_all_steps(command)
    printing.add_code(command)


def run(options: argparse.Namespace) -> int:
    """Writes and prints the curves of each run."""
    execute(options.code)
    # Every path is opened before the first result is written.
    for opened in [open_run(path) for path in options.runs]:
        of_run = curves(opened)
        paths = [*table.write(opened, of_run, all_steps=options.all_steps), *figure.save(opened, of_run)]
        if options.markdown:
            print(table.markdown(opened, of_run))
        else:
            Console().print(table.rich_table(opened, of_run))
        printing.twin_warnings(opened, of_run)
        # The markdown is made to be pasted or piped: the last line stays out of it.
        printing.results(paths, file=sys.stderr if options.markdown else sys.stdout)
    return 0
