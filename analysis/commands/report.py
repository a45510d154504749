"""`coupled-analyze report`: everything about a run on one page, and the CSVs and figures of the other commands; or a
sweep on one page.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from analysis.commands import printing
from analysis.output import files
from analysis.report import Content, check, combine, gather, page_path, wording, write
from analysis.report.evaluated import check_reportable
from analysis.report.results import SECTIONS, names_of, write_results
from analysis.runs.processes import in_processes
from analysis.runs.register import execute
from analysis.runs.run import Run, open_run
from analysis.sweeps import is_sweep
from analysis.sweeps import report as report_of_sweep
from coupled.errors import UserError
from coupled.terminal.console import Console, say
from coupled.terminal.counting import Counting
from coupled.terminal.entry import Parser


def add(command: Parser) -> None:
    """Adds what the command takes."""
    command.description = (
        "Writes one HTML page that needs no network: headline numbers, interactive curves, bounds, "
        "divergence, per-layer maps, how to reproduce. Several runs must differ in the seed alone: the page shows "
        "their mean and range. The CSVs and figures of the other commands are written into each run's analysis/. "
        "Of the folder of a sweep: numbers over seeds along its axes, with sweep.csv, sweep.png and sweep.svg."
    )
    command.add_argument(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="run directory, such as runs/quickstart; or one sweep's folder",
    )
    command.add_argument(
        "--output",
        type=Path,
        metavar="PATH",
        help="a page, PAGE.html (default: RUN/analysis/report.html of the first); or a folder for all results, "
        "DIR/NAME for each run, with nothing written into it",
    )
    printing.add_all_steps(command)
    printing.add_code(command)


def run(options: argparse.Namespace) -> int:
    """Writes the page, and the CSV files and figures beside it."""
    output, folder = _output(options.output)
    with files.results_in(folder, options.runs):
        return _report(options, output)


def _output(given: Path | None) -> tuple[Path | None, Path | None]:
    """The page, or the folder of all results, that --output names."""
    if given is not None and (given.is_dir() or not given.suffix):
        return None, given
    return None if given is None else page_path(given), None


def _report(options: argparse.Namespace, output: Path | None) -> int:
    sweeps = [path for path in options.runs if is_sweep(path)]
    if sweeps:
        return _sweep(sweeps[0], output, options)
    execute(options.code)
    runs = [open_run(path) for path in options.runs]
    # Runs that do not belong together, or are damaged, are refused before the first result is written.
    check(runs)
    for opened in runs:
        check_reportable(opened)
        opened.verify()
    content, path = _write_all(runs, output, options.all_steps)
    for alarm in wording.alarms(content):
        printing.warning(alarm)
    say(f"report: {path} ({path.stat().st_size / 1e6:.1f} MB); open it in a browser")
    return 0


def _sweep(path: Path, output: Path | None, options: argparse.Namespace) -> int:
    """Writes the report of a sweep, the only thing that was given."""
    if len(options.runs) > 1:
        raise UserError(f"{path} is a sweep", "a report is of one sweep or of runs", "give it alone")
    if options.all_steps:
        raise UserError("--all-steps", f"{path} is a sweep: its CSV file has no steps to leave out", "leave it out")
    if options.code:
        do = "report its runs, or analysis.points(…, quantities=…) from Python"
        raise UserError("--code", f"{path} is a sweep: its page has the same quantities for every sweep", do)
    with Counting() as counting:
        page = report_of_sweep(path, output=output, progress=partial(counting.count, "runs summarised"))
    say(f"report: {page} ({page.stat().st_size / 1e6:.1f} MB); open it in a browser")
    return 0


def _write_all(runs: Sequence[Run], output: Path | None, all_steps: bool) -> tuple[Content, Path]:
    """Writes the page, and every run's results beside it; returns the content of the page and its path."""
    columns = (SpinnerColumn("line"), TextColumn("{task.description}"), TimeElapsedColumn())
    console = Console(stderr=True)
    bar = Progress(*columns, console=console, transient=True, refresh_per_second=2, disable=not console.is_interactive)
    with bar as progress:
        task = progress.add_task("", total=None)
        parts = [
            gather(run, lambda work, of=run.name: progress.update(task, description=f"{of}: {work}")) for run in runs
        ]
        progress.update(task, description="page, CSV files and figures")
        content = combine(parts)
        results = [partial(write_results, section, part, all_steps) for part in parts for section in SECTIONS]
        written = in_processes(
            [*results, partial(write, content, output, names_of(content))], lambda writing: writing()
        )
    return content, next(path for path in written if path is not None)
