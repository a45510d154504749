"""What other commands have left beside a run of how useful its representations are, read back: nothing is computed."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final, TypeVar

import numpy as np

from analysis.arrays.few_shot_bounds import BOUNDS
from analysis.evaluation.accuracy import MEASURES
from analysis.evaluation.accuracy.table import CSV_NAME as ACCURACY
from analysis.evaluation.accuracy.table import HEADER as POINTS
from analysis.evaluation.few_shot.table import CSV_NAME as FEW_SHOT
from analysis.evaluation.few_shot.table import HEADER as ERRORS
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

T = TypeVar("T")
SETTINGS: Final = ("exact", "practice")
_MOST: Final = 1 << 53  # whole numbers that a page's script can tell apart
_ASKED: Final = ("labelling", "feature", "measure", "classifier", "shots")  # the same in all rows of accuracy.csv
_ONE_ERROR: Final = ("setting", "step", "arm", "split", "feature", "labelling", "ways", "shots")


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
class AlignedAccuracy:
    """A row of accuracy.csv: an arm of a run at a step. alignment, accuracy and difference to the reference's accuracy
    with their intervals (value, low, high), NaN where undefined; shots: None for all.
    """

    run: str
    differs: str
    step: int
    arm: str
    reference: str
    labelling: str
    feature: str
    measure: str
    classifier: str
    shots: int | None
    alignment: tuple[float, float, float]
    accuracy: tuple[float, float, float]
    difference: tuple[float, float, float]
    n: int
    ways: int
    flags: tuple[str, ...]
    note: str


@dataclass(frozen=True)
class Usefulness:
    """What was found of how useful the representations of a run are: a part is empty where its command was not called.

    accuracies: of classifiers (probe.csv). errors: few-shot errors beside their bounds (few_shot.csv). points:
    accuracy beside alignment, of this run and others (accuracy.csv).
    """

    accuracies: list[AccuracyCurve] = field(default_factory=list)
    errors: list[BoundedError] = field(default_factory=list)
    points: list[AlignedAccuracy] = field(default_factory=list)


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


def _rows(
    run: Run, name: str, what: str, header: Sequence[str], key: Sequence[str], of: Callable[[Mapping[str, str]], T]
) -> list[T]:
    """What is made `of` each row, its cells by column, of a table with this header; no two of them have one `key`."""

    def read(lines: Iterator[list[str]]) -> list[T]:
        if tuple(next(lines, [])) != header:
            raise ValueError("its columns are others")
        rows = [of(dict(zip(header, line, strict=True))) for line in lines]
        if len({tuple(getattr(row, fact) for fact in key) for row in rows}) < len(rows):
            raise ValueError("a row twice")
        return rows

    return read_table(files.found(run.path, name), what, read) or []


def _whole(cells: Mapping[str, str], least: Mapping[str, int]) -> dict[str, Any]:
    """The whole numbers of a row; ValueError where one is less than its least."""
    whole = {name: int(cells[name]) for name in least}
    if any(not least[name] <= value <= _MOST for name, value in whole.items()):
        raise ValueError("a step, or a number of ways, shots, draws or samples, that cannot be")
    return whole


def _errors(run: Run, name: str) -> list[BoundedError]:
    return _rows(run, name, "a table of few-shot errors", ERRORS, _ONE_ERROR, lambda cells: _error(run, cells))


def _error(run: Run, cells: Mapping[str, str]) -> BoundedError:
    """A row of few_shot.csv; ValueError where it is none."""
    whole = _whole(cells, {"step": 0, "ways": 2, "shots": 1, "draws": 1, "n": 1, "classes": 2})
    error, spread, *bounds = (_number(cells[name]) for name in ("error", "standard_error", *BOUNDS))
    if cells["arm"] not in run.arms:
        raise ValueError("its arms are others")
    if cells["setting"] not in SETTINGS or cells["feature"] not in FEATURES or cells["split"] not in SPLITS:
        raise ValueError("a setting, feature or split that is unknown")
    if error < 0 or error > 1 or any(number < 0 or math.isinf(number) for number in (spread, *bounds)):
        raise ValueError("an error or a bound that cannot be")
    facts: dict[str, Any] = {name: cells[name] for name in ("setting", "arm", "split", "feature", "labelling", "note")}
    named, flags = dict(zip(BOUNDS, bounds, strict=True)), _flags(cells)
    return BoundedError(**facts, **whole, error=error, standard_error=spread, bounds=named, flags=flags)


def _points(run: Run, name: str) -> list[AlignedAccuracy]:
    asked: set[tuple[str, ...]] = set()

    def point(cells: Mapping[str, str]) -> AlignedAccuracy:
        first = not asked
        asked.add(tuple(cells[fact] for fact in _ASKED))
        # The first rows are of this run, others may be of runs with other arms.
        if len(asked) > 1 or (first and cells["arm"] not in run.arms):
            raise ValueError("its points are of other things")
        return _point(cells)

    return _rows(run, name, "a table of accuracies beside alignment", POINTS, ("run", "step", "arm"), point)


def _point(cells: Mapping[str, str]) -> AlignedAccuracy:
    """A row of accuracy.csv; ValueError where it is none."""
    whole = _whole(cells, {"step": 0, "n": 1, "ways": 2})
    shots = None if cells["shots"] == "all" else int(cells["shots"])
    known = cells["feature"] in FEATURES and cells["measure"] in MEASURES and cells["classifier"] in HEADS
    if not known or (shots is not None and not 1 <= shots <= MOST_SHOTS):
        raise ValueError("a feature, measure, classifier or number of shots that is unknown")
    numbers: dict[str, Any] = {
        name: tuple(_number(cells[f"{name}{edge}"]) for edge in ("", "_low", "_high"))
        for name in ("alignment", "accuracy", "difference")
    }
    if any(math.isinf(number) for value in numbers.values() for number in value) or abs(numbers["accuracy"][0]) > 1:
        raise ValueError("an alignment or accuracy that cannot be")
    facts: dict[str, Any] = {name: cells[name] for name in ("run", "differs", "arm", "reference", "note", *_ASKED[:-1])}
    return AlignedAccuracy(**facts, **whole, **numbers, shots=shots, flags=_flags(cells))


def _flags(cells: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(cells["flags"].split("; ")) if cells["flags"] else ()


def _number(cell: str) -> float:
    return float(cell) if cell else math.nan


# By part: the file that it comes from, and how it is read.
READERS: Final[dict[str, tuple[str, Callable[[Run, str], list[Any]]]]] = {
    "accuracies": (PROBE, _accuracies),
    "errors": (FEW_SHOT, _errors),
    "points": (ACCURACY, _points),
}
