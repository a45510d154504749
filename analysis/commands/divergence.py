"""`coupled-analyze divergence`: weights against the reference's, between floor and ceiling, and how fast they part."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis.commands import printing
from analysis.divergence import divergence, figure, table, twin_faults
from analysis.divergence.growth import Growth, check_window, growth
from analysis.output.csv import write_csv
from analysis.runs.curve import Curve
from analysis.runs.run import Run, open_run
from coupled.errors import UserError, printable
from coupled.terminal.console import Console

CSV_NAME = "divergence.csv"


def add(commands: Any) -> None:
    """Adds the command to the subparsers `commands`."""
    command = commands.add_parser(
        "divergence",
        help="distance, angle and excess of weights, growth exponents, by layer: table, figure, CSV",
        description="Writes RUN/analysis/divergence.csv, growth.csv, layers.csv (last step), divergence.png and "
        "divergence.svg for each run, finished or not, and prints growth exponents and the excess over nudged twins.",
    )
    command.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run directory, such as runs/quickstart")
    command.add_argument(
        "--window", action="append", default=[], metavar="FIRST:LAST",
        help="fit growth over these steps as well, such as 1:20; may be given again",
    )  # fmt: skip
    command.set_defaults(command=_run)


def _run(options: argparse.Namespace) -> int:
    windows = [_window(text) for text in options.window]
    # Every path is opened before the first result is written.
    for run in [open_run(path) for path in options.runs]:
        _analyse(run, windows)
    return 0


def write(run: Run, found: Sequence[Curve], grown: Sequence[Growth], windows: Sequence[tuple[int, int]]) -> list[Path]:
    """Writes the CSV files and figures of a run's divergence and growth; returns their paths."""
    by_layer = _by_layer(run)
    layered = growth(run, windows=windows, per_layer=True) if by_layer else []
    # A limit repeats the rows of the control that sets it.
    written = [
        write_csv(run, [curve for curve in found if curve.kind == "measured"], CSV_NAME),
        table.write_growth(run, [*grown, *layered]),
    ]
    if by_layer:
        written.append(table.write_layers(run))
    return written + figure.save(run, found, grown)


def _by_layer(run: Run) -> bool:
    return run.schedules("layers", "state") and not run.awaits("layers", *run.arms)


def _analyse(run: Run, windows: list[tuple[int, int]]) -> None:
    found, grown = divergence(run), growth(run, windows=windows)
    written = write(run, found, grown, windows)
    Console().print(table.rich_table(run, found, grown))
    for line in table.undefined(grown):
        print(f"no exponent: {line}")
    if not _by_layer(run):
        why = "has committed none yet" if run.schedules("layers", "state") else "records none"
        print(printable(f"nothing by layer: {run.path} {why} (record.layers)"))
    for fault in twin_faults(run, found):
        print(f"coupled-analyze: warning: {fault}; the run was not in lockstep", file=sys.stderr)
    printing.results(written)


def _window(text: str) -> tuple[int, int]:
    first, colon, last = text.partition(":")
    if not (colon and first.isdecimal() and last.isdecimal()):
        raise UserError(f"--window {text}", "a window is FIRST:LAST in steps", "such as 1:20")
    check_window(int(first), int(last))
    return int(first), int(last)
