"""What other commands have left beside a run of its kept checkpoints, read back for the report: nothing is computed."""

import csv
import io
import math
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from analysis.evaluation.alignment.table import CSV_NAME as ALIGNMENT
from analysis.evaluation.geometry.table import CSV_NAME as GEOMETRY
from analysis.evaluation.losses.table import CSV_NAME as LOSSES
from analysis.evaluation.picture.table import CSV_NAME as PICTURE
from analysis.output import files
from analysis.output.read_back import LARGEST, read_curves
from analysis.report.usefulness import READERS
from analysis.runs.curve import Curve
from analysis.runs.recorded import check_steps
from analysis.runs.run import Run
from coupled.config.formats import IMPORTED
from coupled.errors import UserError
from coupled.store import REAL

_ABOUT_LOSSES: Final = ("arm", "split", "scope", "batch", "labelling", "temperature", "second_view")
_NUMBERS: Final = ("loss_", "gap", "mass", "share", "residual")  # how the columns with results begin


def _losses(run: Run, name: str) -> list[Curve] | None:
    """The rows of losses.csv as curves, a column each."""
    path = files.found(run.path, name)
    if not path.is_file():
        return None
    try:
        rows = list(csv.DictReader(io.StringIO(REAL.read(path, LARGEST).decode(), newline=""), strict=True))
        by_facts: dict[tuple[str, ...], list[dict[str, str]]] = {}
        for row in rows:
            by_facts.setdefault(tuple(row[fact] for fact in _ABOUT_LOSSES), []).append(row)
        curves = [
            _of_column(run, dict(zip(_ABOUT_LOSSES, facts, strict=True)), of_facts, column)
            for facts, of_facts in by_facts.items()
            for column in of_facts[0]
            if column.startswith(_NUMBERS)
        ]
    except (OSError, ValueError, OverflowError, KeyError, TypeError, AttributeError, csv.Error) as error:
        reason = f"{path} is not a table of losses of this run ({error})"
        raise UserError(reason, "coupled-analyze losses makes it again", "or remove it") from None
    return [curve for curve in curves if not np.isnan(curve.values).all()]


def _of_column(run: Run, facts: Mapping[str, str], rows: list[dict[str, str]], column: str) -> Curve:
    if facts["arm"] not in run.arms:
        raise ValueError("its arms are others")
    over = "one Σ of all samples" if facts["scope"] == "split" else f"mean over batches of {facts['batch']}"
    return Curve(
        measure=column,
        arm=facts["arm"],
        reference=None,
        steps=np.array([int(row["step"]) for row in rows], np.int64),
        values=np.array([float(row[column]) if row[column] else math.nan for row in rows]),
        n=int(rows[0]["n"]),
        d=run.config.model.projection_dim,
        feature="z",
        source=facts["scope"],
        split=facts["split"],
        labelling=facts["labelling"] or None,
        estimator=f"{over}, tau {facts['temperature']}, view 2 {facts['second_view']}",
        undefined="undefined: losses.csv says why",
    )


# By the name of a chart: the file that its curves come from, and how it is read.
TABLES: Final[dict[str, tuple[str, Callable[[Run, str], list[Curve] | None]]]] = {
    "whole_alignment": (ALIGNMENT, read_curves),
    "whole_losses": (LOSSES, _losses),
    "whole_geometry": (GEOMETRY, read_curves),
}


def check_reportable(run: Run) -> None:
    """UserError for a run of which a report has nothing to show: without a committed step, or, of imported checkpoints,
    without a table that another command has left.
    """
    tables = [
        files.found(run.path, name)
        for name in (*(name for of in (TABLES, READERS) for name, _ in of.values()), PICTURE)
    ]
    if IMPORTED not in run.facts or not any(path.is_file() for path in tables):
        check_steps(run)


def evaluated(run: Run) -> tuple[dict[str, list[Curve]], list[str]]:
    """The curves that lie beside the run, by the name of their chart; and, for a file that is not what its command
    writes, why. A command that was not called leaves nothing.
    """
    by_chart: dict[str, list[Curve]] = {}
    reasons = []
    for chart, (name, reader) in TABLES.items():
        try:
            if curves := reader(run, name):
                by_chart[chart] = curves
        except UserError as error:
            reasons.append(f"{error}.")
    return by_chart, reasons
