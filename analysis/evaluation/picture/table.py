"""The tables of pictures: picture.csv, and for a terminal how far pictures are from each other."""

import csv
import io
import math
from pathlib import Path
from typing import Final

from rich.table import Table

from analysis.evaluation.picture import Pictures
from analysis.evaluation.picture.looks import about, meaning
from analysis.output import files
from analysis.output.csv import number_cell
from analysis.output.table import title
from analysis.runs.numbers import ABSENT
from analysis.runs.run import Run

CSV_NAME: Final = "picture.csv"
_WIDTH: Final = 78  # of the table, so that the words below it have room
HEADER: Final = (
    "step", "arm", "id", "class", "x", "y", "feature", "split", "method", "labelling", "class_name", "share",
    "procrustes", "settings", "flags",
)  # fmt: skip


def write(run: Run, pictures: Pictures) -> Path:
    """Writes RUN/analysis/picture.csv: a row per arm, step and sample.

    `share` of the variance that the points show (PCA); `procrustes`: the distance from the picture that this one was
    turned onto, docs/theory.md (47). An undefined number is an empty cell.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    about_all = (pictures.feature, pictures.split, pictures.method, pictures.labelling)
    samples = list(zip(pictures.ids.tolist(), pictures.classes.tolist(), strict=True))
    for own in pictures.pictures:
        numbers = (number_cell(own.share), number_cell(own.distance))
        after = (*numbers, pictures.settings, "; ".join(pictures.flags))
        for (index, label), (x, y) in zip(samples, own.points.tolist(), strict=True):
            before = (own.step, own.arm, index, label, repr(x), repr(y))
            writer.writerow((*before, *about_all, pictures.names[label], *after))
    return files.write(files.folder(run.path) / CSV_NAME, text.getvalue().encode())


def rich_table(run: Run, pictures: Pictures) -> Table:
    """Procrustes distance of each picture from the one that it was turned onto, with PCA its share of the variance."""
    caption = (
        f"{about(pictures)} Numbers: Procrustes distance from the picture that this one was turned onto: "
        f"0 the same but for turning and size, √2 nothing in common. {' '.join(meaning(pictures))}"
    )
    table = Table(title=title(run), caption=caption, title_justify="left", caption_justify="left", min_width=_WIDTH)
    table.add_column("arm", overflow="fold")
    for step in pictures.steps:
        table.add_column(f"step {step:,}", justify="right")
    at = {(own.arm, own.step): own for own in pictures.pictures}
    for arm in pictures.arms:
        cells = []
        for step in pictures.steps:
            own = at[arm, step]
            by = ABSENT if math.isnan(own.distance) else f"{own.distance:.2f}"
            cells.append(by if math.isnan(own.share) else f"{by} ({own.share:.0%})")
        table.add_row(arm, *cells)
    return table
