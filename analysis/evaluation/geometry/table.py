"""The tables of class geometry: geometry.csv, axes.csv, and the last step for a terminal."""

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from rich.table import Table

from analysis.evaluation.geometry import ABOUT_H, FEATURES, AxesAt, Geometry, GeometryCurve
from analysis.output import files
from analysis.output.csv import number_cell, write_csv
from analysis.output.table import title
from analysis.runs.numbers import known
from analysis.runs.run import Run

CSV_NAME: Final = "geometry.csv"
AXES_NAME: Final = "axes.csv"
HEADER: Final = (
    "step", "arm", "split", "feature", "labelling", "other_labelling", "class_a", "class_b", "other_class_a",
    "other_class_b", "n", "cosine", "bound", "bound_any", "uneven", "flags", "note",
)  # fmt: skip
# Columns of the terminal's table, each of one or two measures: the second in brackets.
COLUMNS: Final = {
    "CDNV": ("cdnv",),
    "directional": ("directional_cdnv",),
    "views": ("augmentation_collapse",),
    "within": ("within_class_collapse",),
    "norms (cv)": ("centre_norm", "centre_norm_variation"),
    "offset": ("centre_offset",),
    "cosines (max)": ("etf_cosine_rms", "etf_cosine_largest"),
    "rank": ("effective_rank",),
}
UNEVEN: Final = "cells differ in size: bound is not promised"


def write(run: Run, measured: Geometry) -> list[Path]:
    """Writes RUN/analysis/geometry.csv and, where the data set has several labellings, axes.csv."""
    paths = [write_csv(run, measured.curves, CSV_NAME, more=("classes", "at_optimum"))]
    return [*paths, write_axes(run, measured.axes)] if measured.axes else paths


def write_axes(run: Run, axes: Sequence[AxesAt]) -> Path:
    """Writes RUN/analysis/axes.csv: a row per arm, step, split, feature and pair of classes of two labellings.

    `cosine` |u₁ᵀu₂|, `bound` and `bound_any`: docs/theory.md (79), (80); `uneven`: the largest deviation of the share
    of a cell from ¼. An undefined number is an empty cell, and `note` says why.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    for at in axes:
        place, own = at.place, at.axes
        numbers = [number_cell(value) for value in (own.cosine, own.bound, own.bound_any, own.uneven)]
        flags = "; ".join(([UNEVEN] if own.uneven else []) + [at.chosen])
        about = (place.step, place.arm, place.split, at.feature, *at.labellings, *own.first, *own.second, own.n)
        writer.writerow((*about, *numbers, flags, own.undefined))
    return files.write(files.folder(run.path) / AXES_NAME, text.getvalue().encode())


def printed(run: Run, measured: Geometry) -> Iterator[Table]:
    """The tables for a terminal: class geometry under each labelling, and decision axes, at the last step."""
    labellings = dict.fromkeys(curve.labelling for curve in measured.curves)
    for labelling in labellings:
        yield rich_table(run, [curve for curve in measured.curves if curve.labelling == labelling])
    if measured.axes:
        yield axes_table(run, measured.axes)


def rich_table(run: Run, curves: Sequence[GeometryCurve]) -> Table:
    """Class geometry under one labelling at the last step: the optimum, then a row per feature, arm and split."""
    step, labelling = int(curves[0].steps[-1]), curves[0].labelling
    table = _table(f"{title(run)}; {labelling}, step {step:,}", notes(curves), ("of", "arm", "split"), tuple(COLUMNS))
    optimum = {curve.measure: curve.at_optimum for curve in curves if curve.at_optimum is not None}
    table.add_row("z", "optimum", "", *_cells(optimum))
    for feature in FEATURES:
        table.add_section()
        rows: dict[tuple[str, str], dict[str, float]] = {}
        for curve in curves:
            if curve.feature == feature:
                rows.setdefault((curve.arm, str(curve.split)), {})[curve.measure] = float(curve.values[-1])
        for key, values in rows.items():
            table.add_row(feature, *key, *_cells(values))
    return table


def notes(curves: Sequence[GeometryCurve]) -> str:
    """What the columns are, and what the reading of their numbers depends on."""
    sentences = [
        "optimum: where NSCL has its minimum on unit-norm z. CDNV: symmetric. views: squared distance of two views of "
        "an image over that of two images. within: share of variance within classes. norms, offset: of the centres "
        "about their mean, and of that mean. cosines: how far off -1/(C-1), rms and largest. rank: effective.",
        f"{ABOUT_H[0].upper()}{ABOUT_H[1:]}.",
    ]
    flags = dict.fromkeys(f"{c.split}: {flag}" for c in curves for flag in c.flags if flag != ABOUT_H)
    undefined = dict.fromkeys(f"{c.arm}, {c.feature}: {c.undefined}" for c in curves if math.isnan(c.values[-1]))
    return " ".join([*sentences, *(f"{line}." for line in (*flags, *undefined))])


def axes_table(run: Run, axes: Sequence[AxesAt]) -> Table:
    """Decision axes at the last step: a row per feature, arm and split, over all labellings and pairs of classes."""
    step = max(at.place.step for at in axes)
    labellings = list(dict.fromkeys(" and ".join(at.labellings) for at in axes))
    caption = (
        f"|cosine| of the axes between two classes of either of {', '.join(labellings)}. bound: of balanced, "
        "independent labellings (third paper), not promised where cells of samples differ; any: of any two labellings."
    )
    numbers = ("median", "largest", "median bound", "median any", "above bound", "pairs")
    table = _table(f"{title(run)}; decision axes, step {step:,}", caption, ("of", "arm", "split"), numbers)
    rows: dict[tuple[str, ...], list[tuple[float, float, float]]] = {}
    for at in axes:
        if at.place.step == step and not at.axes.undefined:
            values = (at.axes.cosine, at.axes.bound, at.axes.bound_any)
            rows.setdefault((at.feature, at.place.arm, at.place.split), []).append(values)
    for key, of_row in sorted(rows.items(), key=lambda row: FEATURES.index(row[0][0])):
        cosine, bound, bound_any = np.array(of_row).T
        shown = [np.median(cosine), cosine.max(), np.median(bound), np.median(bound_any)]
        cells = [*(known(float(value)) for value in shown), f"{int((cosine > bound).sum()):,}", f"{len(of_row):,}"]
        table.add_row(*key, *cells)
    return table


def _table(heading: str, caption: str, names: Sequence[str], numbers: Sequence[str]) -> Table:
    table = Table(title=heading, caption=caption, title_justify="left", caption_justify="left")
    for column in names:
        table.add_column(column, overflow="fold")
    for column in numbers:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _cells(values: Mapping[str, float]) -> list[str]:
    cells = []
    for first, *other in COLUMNS.values():
        bracketed = "".join(f" ({known(values[name])})" for name in other)
        cells.append(f"{known(values[first])}{bracketed}")
    return cells
