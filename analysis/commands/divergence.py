"""`coupled-analyze divergence`: weights against the reference's, between floor and ceiling, and how fast they part."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from analysis.commands import printing
from analysis.divergence import divergence, figure, printed, table
from analysis.divergence.growth import check_window, growth
from analysis.runs.run import Run, open_run
from coupled.errors import UserError
from coupled.terminal.entry import Parser


def add(command: Parser) -> None:
    """Adds what the command takes."""
    command.description = (
        "Writes RUN/analysis/divergence.csv, growth.csv, layers.csv (last step), divergence.png and "
        "divergence.svg for each run, finished or not, and prints growth exponents and the excess over nudged twins."
    )
    command.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run directory, such as runs/quickstart")
    command.add_argument(
        "--window", action="append", default=[], metavar="FIRST:LAST",
        help="fit growth over these steps as well, such as 1:20; may be given again",
    )  # fmt: skip
    printing.add_output(command)
    printing.add_all_steps(command)
    printing.add_verbose(command, "how well either law fits")


def run(options: argparse.Namespace) -> int:
    """Writes and prints the divergence of each run."""
    windows = [_window(text) for text in options.window]
    # Every path is opened before the first result is written.
    for opened in [open_run(path) for path in options.runs]:
        _analyse(opened, windows, all_steps=options.all_steps, verbose=options.verbose)
    return 0


def _analyse(run: Run, windows: Sequence[tuple[int, int]], *, all_steps: bool, verbose: bool) -> None:
    curves, growths = divergence(run), growth(run, windows=windows)
    paths = [*table.write(run, curves, growths, windows, all_steps=all_steps), *figure.save(run, curves, growths)]
    printing.twin_warnings(run, curves)
    printing.show([*printed.printed(run, curves, growths, verbose=verbose), *table.without_layers(run)])
    printing.results(paths)


def _window(text: str) -> tuple[int, int]:
    first, colon, last = text.partition(":")
    if not (colon and first.isdecimal() and last.isdecimal()):
        raise UserError(f"--window {text}", "a window is FIRST:LAST in steps", "such as 1:20")
    check_window(int(first), int(last))
    return int(first), int(last)
