"""`coupled-analyze report`: everything about a run on one page, and the CSVs and figures of the other commands."""

import argparse
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from analysis.bounds import figure as bounds_figure
from analysis.commands import bounds, divergence
from analysis.curves import figure as curves_figure
from analysis.output.csv import write_csv
from analysis.report import check, combine, gather, page_path, wording, write
from analysis.report.gather import Gathered
from analysis.runs.recorded import check_steps
from analysis.runs.run import open_run
from coupled.errors import printable
from coupled.terminal.console import Console


def add(commands: Any) -> None:
    """Adds the command to the subparsers `commands`."""
    command = commands.add_parser(
        "report",
        help="one self-contained HTML page of everything, beside the CSVs and figures",
        description="Writes one HTML page that needs no network: headline numbers, interactive curves, bounds, "
        "divergence, per-layer maps, how to reproduce. Several runs must differ in the seed alone: the page shows "
        "their mean and range. The CSVs and figures of the other commands are written into each run's analysis/.",
    )
    command.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run directory, such as runs/quickstart")
    command.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="where the page goes (default: RUN/analysis/report.html of the first)",
    )
    command.set_defaults(command=_run)


def _run(options: argparse.Namespace) -> int:
    output = None if options.output is None else page_path(options.output)
    runs = [open_run(path) for path in options.runs]
    # What cannot be together, or believed, is refused before the first result is written.
    check(runs)
    for run in runs:
        check_steps(run)
        run.verify()
    columns = (SpinnerColumn("line"), TextColumn("{task.description}"), TimeElapsedColumn())
    console = Console(stderr=True)
    bar = Progress(*columns, console=console, transient=True, refresh_per_second=2, disable=not console.is_interactive)
    # Figures are drawn on one thread, which others need not wait for: drawing is not torch's work.
    with bar as progress, ThreadPoolExecutor(1) as drawing:
        task = progress.add_task("", total=None)
        drawn: list[Future[None]] = []
        parts = [
            gather(
                run,
                lambda what, of=run.name: progress.update(task, description=f"{of}: {what}"),
                lambda section, part: drawn.append(drawing.submit(_WRITERS[section], part)),
            )
            for run in runs
        ]
        progress.update(task, description="page")
        content = combine(parts)
        path = write(content, output)
        progress.update(task, description="CSV files and figures")
        for written in drawn:
            written.result()
    for alarm in wording.alarms(content):
        print(f"coupled-analyze: warning: {alarm}", file=sys.stderr)
    print(printable(f"report: {path} ({path.stat().st_size / 1e6:.1f} MB); open it in a browser"))
    return 0


def _write_curves(part: Gathered) -> None:
    write_csv(part.run, part.curves)
    curves_figure.save(part.run, part.curves)


def _write_divergence(part: Gathered) -> None:
    if part.divergence:
        divergence.write(part.run, part.divergence, part.growth, [])


def _write_bounds(part: Gathered) -> None:
    if part.bounds:
        write_csv(part.run, part.bounds, bounds.CSV_NAME)
        bounds_figure.save(part.run, part.bounds)


# What the other commands write, each where there is something to write.
_WRITERS = {"curves": _write_curves, "divergence": _write_divergence, "bounds": _write_bounds}
