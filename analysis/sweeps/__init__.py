"""The report of a sweep: one page, a CSV file and a figure of many runs."""

from collections.abc import Callable
from pathlib import Path

from analysis.output import files
from analysis.report import NAME, page_path
from analysis.sweeps import figure, table
from analysis.sweeps.numbers import numbers_of
from analysis.sweeps.page import page as html_of
from analysis.sweeps.reading import is_sweep, open_sweep

__all__ = ["is_sweep", "open_sweep", "report"]


def report(
    path: str | Path, *, output: str | Path | None = None, progress: Callable[[int, int], None] | None = None
) -> Path:
    """Writes the report of the sweep in a folder, with sweep.csv, sweep.png and sweep.svg in its analysis/; returns the
    path of the page.

    output: default is analysis/report.html in the folder. progress: is told how many runs are summarised, of how many.
    Raises UserError where nothing of it has begun, StoreError for damage.
    """
    path = Path(path)
    where = files.folder(path) / NAME if output is None else page_path(output)
    swept = open_sweep(path, progress)
    numbers = numbers_of(swept)
    html = html_of(swept, numbers, where)
    table.write(swept, numbers)
    figure.save(swept, numbers)
    return files.write(where, html.encode(errors="backslashreplace"))
