"""What other commands have left beside a run of how useful its representations are, read back: nothing is computed."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

import numpy as np

from analysis.arrays.few_shot_bounds import BOUNDS
from analysis.evaluation.few_shot.table import CSV_NAME as FEW_SHOT
from analysis.evaluation.few_shot.table import HEADER
from analysis.evaluation.probe.curves import ACCURACIES, DIFFERENCES, AccuracyCurve
from analysis.evaluation.probe.settings import FEATURES, MOST_DRAWS, MOST_SHOTS
from analysis.evaluation.probe.table import CSV_NAME as PROBE
from analysis.evaluation.probe.table import HEADS, MORE
from analysis.evaluation.samples import SPLITS
from analysis.output import files
from analysis.output.read_back import read_curves_of, read_table
from analysis.runs.curve import Curve
from analysis.runs.run import Run
from coupled.errors import UserError

SETTINGS: Final = ("exact", "practice")
_MOST: Final = 1 << 53  # whole numbers that a page's script can tell apart
_FACTS: Final = ("setting", "step", "arm", "split", "feature", "labelling", "ways", "shots")


@dataclass(frozen=True)
class BoundedError:
    """A row of few_shot.csv: an error, the mean over draws, with its standard error, and the bounds on it by name; NaN
    where `note` says why. n: samples that are classified.
    """

    setting: str
    step: int
    arm: str
    split: str
    feature: str
    labelling: str
    ways: int
    shots: int
    error: float
    standard_error: float
    draws: int
    bounds: Mapping[str, float]
    n: int
    classes: int
    flags: tuple[str, ...]
    note: str


@dataclass(frozen=True)
class Usefulness:
    """What was found of how useful the representations of a run are: a part is empty where its command was not called.

    accuracies: of classifiers (probe.csv). errors: few-shot errors beside their bounds (few_shot.csv).
    """

    accuracies: list[AccuracyCurve] = field(default_factory=list)
    errors: list[BoundedError] = field(default_factory=list)


def read_usefulness(run: Run) -> tuple[Usefulness, list[str]]:
    """What lies beside the run; and, for a file that is not what its command writes, why."""
    parts: dict[str, list[Any]] = {}
    reasons = []
    for part, (name, reader) in READERS.items():
        try:
            parts[part] = reader(run, name)
        except UserError as error:
            reasons.append(f"{error}.")
    return Usefulness(**parts), reasons


def _accuracies(run: Run, name: str) -> list[AccuracyCurve]:
    return read_curves_of(run, name, MORE, _accuracy) or []


def _accuracy(curve: Curve, cells: Mapping[str, str]) -> AccuracyCurve:
    """The curve with what is known of an accuracy beside it; ValueError where it is none."""
    classifier, ways, draws = cells["classifier"], int(cells["ways"]), int(cells["draws"])
    shots = int(cells["shots"]) if cells["shots"] else None
    known = classifier in HEADS and curve.feature in FEATURES and curve.split in SPLITS and curve.kind == "measured"
    measures = ACCURACIES if curve.reference is None else DIFFERENCES
    if not known or curve.measure not in measures:
        raise ValueError("an accuracy, classifier, feature or split that is unknown")
    if not (2 <= ways <= _MOST and 1 <= draws <= MOST_DRAWS and (shots is None or 1 <= shots <= MOST_SHOTS)):
        raise ValueError("a number of ways, shots or draws that cannot be")
    if curve.steps[0] < 0 or (np.diff(curve.steps) <= 0).any() or (np.abs(curve.values) > 1).any():
        raise ValueError("steps or accuracies that cannot be")
    facts: dict[str, Any] = {own.name: getattr(curve, own.name) for own in fields(Curve)}
    gradient = float(cells["gradient"])
    return AccuracyCurve(**facts, classifier=classifier, ways=ways, shots=shots, draws=draws, gradient=gradient)


def _errors(run: Run, name: str) -> list[BoundedError]:
    def read(lines: Iterator[list[str]]) -> list[BoundedError]:
        if tuple(next(lines, [])) != HEADER:
            raise ValueError("its columns are others")
        rows = [_error(run, dict(zip(HEADER, line, strict=True))) for line in lines]
        if len({tuple(getattr(row, fact) for fact in _FACTS) for row in rows}) < len(rows):
            raise ValueError("a row twice")
        return rows

    return read_table(run.path / files.FOLDER / name, "a table of few-shot errors", read) or []


def _error(run: Run, cells: Mapping[str, str]) -> BoundedError:
    """A row; ValueError where it is none."""
    whole: dict[str, Any] = {name: int(cells[name]) for name in ("step", "ways", "shots", "draws", "n", "classes")}
    error, spread, *bounds = (_number(cells[name]) for name in ("error", "standard_error", *BOUNDS))
    if cells["arm"] not in run.arms:
        raise ValueError("its arms are others")
    known = cells["setting"] in SETTINGS and cells["feature"] in FEATURES and cells["split"] in SPLITS
    if not known:
        raise ValueError("a setting, feature or split that is unknown")
    least = {"step": 0, "ways": 2, "shots": 1, "draws": 1, "n": 1, "classes": whole["ways"]}
    if any(not least[name] <= value <= _MOST for name, value in whole.items()):
        raise ValueError("a number of ways, shots or draws that cannot be")
    if error < 0 or error > 1 or any(number < 0 or math.isinf(number) for number in (spread, *bounds)):
        raise ValueError("an error or a bound that cannot be")
    facts: dict[str, Any] = {name: cells[name] for name in ("setting", "arm", "split", "feature", "labelling", "note")}
    return BoundedError(
        **facts,
        **whole,
        error=error,
        standard_error=spread,
        bounds=dict(zip(BOUNDS, bounds, strict=True)),
        flags=tuple(cells["flags"].split("; ")) if cells["flags"] else (),
    )


def _number(cell: str) -> float:
    return float(cell) if cell else math.nan


# By part: the file that it comes from, and how it is read.
READERS: Final[dict[str, tuple[str, Callable[[Run, str], list[Any]]]]] = {
    "accuracies": (PROBE, _accuracies),
    "errors": (FEW_SHOT, _errors),
}
