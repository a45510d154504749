"""What other commands have left beside a run of how useful its representations are, read back: nothing is computed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

import numpy as np

from analysis.evaluation.probe.curves import ACCURACIES, DIFFERENCES, AccuracyCurve
from analysis.evaluation.probe.settings import FEATURES, MOST_DRAWS, MOST_SHOTS
from analysis.evaluation.probe.table import CSV_NAME as PROBE
from analysis.evaluation.probe.table import HEADS, MORE
from analysis.evaluation.samples import SPLITS
from analysis.output.read_back import read_curves_of
from analysis.runs.curve import Curve
from analysis.runs.run import Run
from coupled.errors import UserError

_MOST_WAYS: Final = 1 << 20


@dataclass(frozen=True)
class Usefulness:
    """What was found of how useful the representations of a run are: a part is empty where its command was not called.

    accuracies: of classifiers (probe.csv).
    """

    accuracies: list[AccuracyCurve] = field(default_factory=list)


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
    if not (2 <= ways <= _MOST_WAYS and 1 <= draws <= MOST_DRAWS and (shots is None or 1 <= shots <= MOST_SHOTS)):
        raise ValueError("a number of ways, shots or draws that cannot be")
    if curve.steps[0] < 0 or (np.diff(curve.steps) <= 0).any() or (np.abs(curve.values) > 1).any():
        raise ValueError("steps or accuracies that cannot be")
    facts: dict[str, Any] = {own.name: getattr(curve, own.name) for own in fields(Curve)}
    gradient = float(cells["gradient"])
    return AccuracyCurve(**facts, classifier=classifier, ways=ways, shots=shots, draws=draws, gradient=gradient)


# By part: the file that it comes from, and how it is read.
READERS: Final[dict[str, tuple[str, Callable[[Run, str], list[Any]]]]] = {"accuracies": (PROBE, _accuracies)}
