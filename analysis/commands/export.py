"""`coupled-analyze export`: the tables of curves in another format."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from analysis.bounds import bounds
from analysis.commands import printing
from analysis.curves import curves
from analysis.divergence import divergence
from analysis.divergence.table import measured
from analysis.output import files
from analysis.output.parquet import library, write_parquet
from analysis.runs.curve import Curve
from analysis.runs.register import execute
from analysis.runs.run import Run, open_run
from coupled.errors import UserError, printable
from coupled.terminal.entry import Parser

# By the name of the file: what it holds.
TABLES: Final[dict[str, Callable[[Run], Sequence[Curve]]]] = {
    "curves": curves,
    "divergence": lambda run: measured(divergence(run)),
    "bounds": bounds,
}


def add(command: Parser) -> None:
    """Adds what the command takes."""
    command.description = (
        "Writes RUN/analysis/curves.parquet, divergence.parquet and bounds.parquet for each run, finished or not: the "
        "rows and columns of the CSV files of these names, with types. Needs pyarrow (the extra parquet)."
    )
    command.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run directory, such as runs/quickstart")
    command.add_argument("--parquet", action="store_true", required=True, help="as parquet files (the one format)")
    printing.add_output(command)
    printing.add_all_steps(command)
    printing.add_code(command)


def run(options: argparse.Namespace) -> int:
    """Writes the tables of each run."""
    library()
    execute(options.code)
    # Every path is opened before the first result is written.
    for opened in [open_run(path) for path in options.runs]:
        _export(opened, all_steps=options.all_steps)
    return 0


def _export(run: Run, *, all_steps: bool) -> None:
    tables: dict[str, Sequence[Curve]] = {}
    missing: dict[str, UserError] = {}
    for name, of in TABLES.items():
        try:
            tables[name] = of(run)
        except UserError as error:
            if name == "curves":
                raise  # what the others lack need not be missed: a run of one arm has no divergence
            missing[name] = error
    paths = [write_parquet(run, table, f"{name}.parquet", all_steps=all_steps) for name, table in tables.items()]
    files.remove_others(files.folder(run.path), [f"{name}.parquet" for name in TABLES], paths)
    for name, error in missing.items():
        print(printable(f"no {name}: {error}"))
    printing.results(paths)
