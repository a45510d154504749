"""`coupled-analyze bounds`: every bound beside what was measured, as table, figure and CSV."""

import argparse
import sys
from pathlib import Path
from typing import Any, Final

from analysis.bounds import bounds, figure
from analysis.bounds import table as bounds_table
from analysis.bounds.checks import violations
from analysis.commands import printing
from analysis.output.csv import write_csv
from analysis.runs.run import Run, open_run
from coupled.terminal.console import Console

CSV_NAME: Final = "bounds.csv"


def add(commands: Any) -> None:
    """Adds the command to the subparsers `commands`."""
    command = commands.add_parser(
        "bounds",
        help="bounds on loss gap, drift and alignment beside what was measured: table, figure, CSV",
        description="Writes RUN/analysis/bounds.csv, bounds.png and bounds.svg for each run, finished or not, and "
        "prints every bound beside what was measured, where its slack comes from and what it assumes. A bound that "
        "should hold and does not is a warning.",
    )
    command.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run directory, such as runs/quickstart")
    command.set_defaults(command=_run)


def _run(options: argparse.Namespace) -> int:
    # Every path is opened before the first result is written.
    for run in [open_run(path) for path in options.runs]:
        found = bounds(run)
        written = [write_csv(run, found, CSV_NAME), *figure.save(run, found)]
        _print(run, found)
        for broken in violations(found):
            print(f"coupled-analyze: warning: {broken}", file=sys.stderr)
        printing.results(written)
    return 0


def _print(run: Run, found: list[Any]) -> None:
    console = Console()
    console.print(f"{run.name}: {run.config.data.name}, B = {run.config.batches.size}, seed {run.config.seed}")
    slack = bounds_table.slack(run, found)
    for table in [*bounds_table.tables(run, found), *([slack] if slack else [])]:
        console.print()
        console.print(table)
    console.print()
    for line in (*bounds_table.gap_slack(found), *bounds_table.inside(found)):
        console.print(line)
    console.print("\nwhat the bounds rest on (* no bound here):")
    for line in bounds_table.flags(found):
        console.print(f"- {line}")
