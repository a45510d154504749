"""`curves.csv`: the long table that any plotting tool reads."""

import csv
import io
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from analysis.output import files
from analysis.output.thinning import thinned
from analysis.runs.curve import Band, Curve
from analysis.runs.run import Run

CSV_NAME: Final = "curves.csv"
HEADER: Final = (
    "step", "arm", "reference", "measure", "value", "low", "high", "null_low", "null_high", "n", "d", "feature",
    "source", "split", "labelling", "kind", "bound", "estimator", "interval", "null", "flags", "note",
)  # fmt: skip


def write_csv(
    run: Run, curves: Iterable[Curve], name: str = CSV_NAME, more: Sequence[str] = (), *, all_steps: bool = True
) -> Path:
    """Writes RUN/analysis/curves.csv (or another `name`): a row per curve and step, full precision (repr), UTF-8.

    `more`: attributes that curves of this kind have beside those of every curve, as columns at the end. Without
    `all_steps` a curve of more than 2,000 steps is thinned (`thinning.thinned`).

    An undefined number is an empty cell, and only where the value itself is undefined `note` says why; what does not
    apply to a measure is empty too. `interval` and `null` say what low … high and null_low … null_high are.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*HEADER, *more))
    for curve in curves:
        own = [getattr(curve, name) for name in more]
        kept = curve if all_steps else shown(curve)
        writer.writerows((*row, *own) for row in _rows(kept))
    return files.write(files.folder(run.path) / name, text.getvalue().encode())


def shown(curve: Curve) -> Curve:
    """The curve at the steps that tables keep of it: `thinning.thinned`."""
    at = thinned(curve.steps)
    bands = [
        None if band is None else replace(band, low=band.low[at], high=band.high[at])
        for band in (curve.interval, curve.null)
    ]
    return replace(curve, steps=curve.steps[at], values=curve.values[at], interval=bands[0], null=bands[1])


def _rows(curve: Curve) -> Iterator[tuple[object, ...]]:
    before = (curve.arm, curve.reference, curve.measure)
    about = (curve.n, curve.d, curve.feature, curve.source, curve.split, curve.labelling, curve.kind, curve.bound)
    bands = [None if band is None else band.what for band in (curve.interval, curve.null)]
    after = (*about, curve.estimator, *bands, "; ".join(curve.flags))
    ranges = zip(*_edges(curve.interval, curve), *_edges(curve.null, curve), strict=True)
    for step, value, edges in zip(curve.steps.tolist(), curve.values.tolist(), ranges, strict=True):
        why = curve.undefined if math.isnan(value) else ""
        yield step, *before, number_cell(value), *map(number_cell, edges), *after, why


def _edges(band: Band | None, curve: Curve) -> tuple[list[float], list[float]]:
    nothing = [math.nan] * len(curve.steps)
    return (nothing, nothing) if band is None else (band.low.tolist(), band.high.tolist())


def number_cell(value: float) -> str:
    """A number as every CSV file has it: full precision, and nothing where it is undefined."""
    return "" if math.isnan(value) else repr(value)


def write_rows(run: Run, name: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> Path:
    """Writes RUN/analysis/`name`, a header and rows of cells, UTF-8."""
    return write_rows_to(files.folder(run.path) / name, header, rows)


def write_rows_to(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> Path:
    """Writes a CSV file anywhere: a header and rows of cells, UTF-8."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return files.write(path, text.getvalue().encode())
