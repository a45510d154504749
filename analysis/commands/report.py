"""`coupled-analyze report`: everything about a run on one page, and the CSVs and figures of the other commands."""

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from analysis import figures
from analysis.commands import shown
from analysis.curves import curves, write_csv
from analysis.report import collect, write
from analysis.run import open_run
from analysis.together import by_seed


def add(commands: Any) -> None:
    """Adds the command to the subparsers `commands`."""
    command = commands.add_parser(
        "report",
        help="one self-contained HTML page of everything, beside the CSVs and figures",
        description="Writes one HTML page that needs no network: headline numbers, interactive curves, bounds, "
        "divergence, per-layer maps, how to reproduce. Several runs must differ in the seed alone: the page shows "
        "their mean and range. The CSVs and figures of the other commands are written into each run's analysis/.",
        epilog=shown.EXIT_CODES,
    )
    command.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run directory, such as runs/quickstart")
    command.add_argument(
        "--output", type=Path, metavar="FILE", help="where the page goes (default: RUN/analysis/report.html of the first)"
    )
    command.set_defaults(command=_run)


def _run(options: argparse.Namespace) -> int:
    runs = [open_run(path) for path in options.runs]
    by_seed(runs)  # what cannot be together is refused before the first result is written
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None)
        measured = []
        for run in runs:
            progress.update(task, description=f"{run.name}: curves")
            found = curves(run)
            measured.append(found)
            write_csv(run, found)
            progress.update(task, description=f"{run.name}: figures")
            figures.save(run, found)
        progress.update(task, description="bounds, divergence, layers")
        content = collect(runs, measured)
        progress.update(task, description="page")
        path = write(content, options.output)
    print(f"report: {path} ({path.stat().st_size / 1e6:.1f} MB); open it in a browser")
    return 0
