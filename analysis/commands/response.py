"""`coupled-analyze response`: what comes out over what was put in, by nudges, losses, placebos and kicks."""

import argparse
from pathlib import Path

from analysis.commands import printing
from analysis.response import figure, response, table
from analysis.runs.run import open_run
from coupled.errors import printable
from coupled.terminal.console import Console
from coupled.terminal.entry import Parser


def add(command: Parser) -> None:
    """Adds what the command takes."""
    command.description = (
        "Writes RUN/analysis/response.csv, response_curves.csv, response.png and response.svg for each run: how far "
        "every arm came for what it put in, flipped units, the ledger's parts of the distance with bounds along the "
        "path, ranks among placebos, and the share of the distance that lies between nudged copies of one loss. Runs "
        "with record.ledger and record.flips tell most: configs/response.toml."
    )
    command.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run directory, such as runs/response")
    printing.add_all_steps(command)


def run(options: argparse.Namespace) -> int:
    """Writes and prints the response of each run."""
    # Every path is opened before the first result is written.
    for opened in [open_run(path) for path in options.runs]:
        found = response(opened)
        paths = [*table.write(opened, found, all_steps=options.all_steps), *figure.save(opened, found)]
        Console().print(table.rich_table(opened, found))
        if (bounds := table.bounds_table(found)) is not None:
            Console().print(bounds)
        for line in table.lines(found):
            print(printable(line))
        printing.results(paths)
    return 0
