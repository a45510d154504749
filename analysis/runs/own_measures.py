"""Measures of a user's own: functions of the features of an arm and of its reference, as curves.

`analysis.runs.register` registers them. Shapes: T recorded steps, n rows, D and d features of the two arms.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.runs.alignment import FeaturePair, banded
from analysis.runs.curve import Band, Curve
from analysis.statistics.estimates import SIMULATED, estimated, jackknife, kept_rows, rows_of
from coupled.address import Purpose, permutation
from coupled.errors import UserError, raised, unknown
from coupled.reading.records import Records
from coupled.recording.layout import labellings, owner_of_inputs
from coupled.runtime import one_thread

UserMeasure = Callable[..., Any]

# Every group and every permutation is a call of the user's function.
_GROUPS: Final = 8
_PERMUTATIONS: Final = 16
_UNDEFINED: Final = "the measure gave NaN"
_WITHOUT_BANDS: Final = (
    "no interval, or no null band, at {} of {} steps: there the measure gave NaN or an infinity, by itself, with a "
    "group of samples left out, or with samples paired at random"
)


class OwnCodeError(UserError):
    """A user's function that fails: never a gap, as what a run lacks may be."""


@dataclass(frozen=True, eq=False)
class OwnMeasure:
    """A user's function, called by `name`. It is itself alone: registered again, it is another one.

    `file`: that registered it, and `sha256` of its bytes; both None for what a notebook or the started script did.
    `feature` is what it is of on the panel where nothing else is asked for. `tensors`: it takes torch tensors, not
    numpy arrays. `bands`: it gets interval and null band. `labelled`: it asks for labels.
    """

    name: str
    function: UserMeasure
    file: Path | None
    sha256: str | None
    feature: str
    tensors: bool
    bands: bool
    labelled: bool

    @property
    def origin(self) -> str:
        """Where it comes from, for people: "mine.py, SHA-256 0123456789ab"."""
        return "a notebook or script" if self.file is None else f"{self.file.name}, SHA-256 {str(self.sha256)[:12]}"

    def curve(self, pair: FeaturePair) -> Curve:
        """The measure of a pair at every recorded step; NaN is a gap. UserError where the function fails."""
        return self._curve(pair, None)

    def labelled_curve(self, pair: FeaturePair, *, labelling: str | None = None) -> Curve:
        """The same of a function that asks for labels: true ones of `labelling`, by default those that the arm uses."""
        return self._curve(pair, labelling_for(pair.records, pair.arm, self, labelling))

    def _curve(self, pair: FeaturePair, labelling: str | None) -> Curve:
        views, steps, rows = pair.where.views, [], []
        with_bands = banded(pair) if self.bands else np.empty(0, np.int64)
        labels_at = partial(_labels, pair, labelling)
        with one_thread():
            for at, x, y in pair.blocks():
                for step, own, other in zip(at.tolist(), x.double(), y.double(), strict=True):
                    features = Sample(own, other, labels_at(step), views, f"step {step} of {pair.arm}")
                    if not rows:
                        self._must_be_a_function(features)
                    steps.append(step)
                    rows.append(self._row(features, bands=with_bands is None or step in with_bands))
        columns = np.array(rows, np.float64).reshape(-1, 5).T
        groups = min(_GROUPS, pair.n // views)
        bands = estimated(self.name, list(columns), groups, SIMULATED.format(_PERMUTATIONS)) if self.bands else None
        curve = pair.curve(
            self.name,
            np.array(steps, np.int64),
            columns[0].copy(),
            estimator=self.origin,
            interval=None if bands is None else Band(bands.low, bands.high, bands.interval),
            null=None if bands is None else Band(bands.null_low, bands.null_high, bands.null),
        )
        asked = np.isin(curve.steps, curve.steps if with_bands is None else with_bands) & ~np.isnan(columns[0])
        lacking = int((asked & ~np.isfinite(columns[1:4]).all(0)).sum())
        flags = (_WITHOUT_BANDS.format(lacking, int(asked.sum())),) if lacking else ()
        return replace(curve, labelling=labelling, undefined=_UNDEFINED, flags=flags)

    def _row(self, features: "Sample", *, bands: bool) -> list[float]:
        """Value, standard error, null mean, null sd, and 0 for what rounding is known of."""
        value = self.of(features, features.every, features.every)
        if not bands or math.isnan(value):
            return [value, math.nan, math.nan, math.nan, 0.0]
        samples, views = len(features.x) // features.views, features.views
        groups = min(_GROUPS, samples)
        left_out = [rows_of(torch.arange(j, samples, groups), samples, views) for j in range(groups)]
        kept = [rows.nonzero()[:, 0] for rows in kept_rows(left_out, len(features.x))]
        rest = [self.of(features, rows, rows, " with a group of samples left out") for rows in kept]
        orders = [permutation(0, Purpose.PERMUTATION, samples, a=key) for key in range(_PERMUTATIONS)]
        paired = " with samples paired at random"
        null = [self.of(features, features.every, rows_of(order, samples, views), paired) for order in orders]
        with np.errstate(invalid="ignore"):  # ∞ − ∞: nothing is known
            mean, sd = np.mean(null), np.std(null, ddof=1)
        return [value, float(jackknife(torch.tensor(rest, dtype=torch.float64))), float(mean), float(sd), 0.0]

    def of(self, features: "Sample", rows: Tensor, others: Tensor, how: str = "") -> float:
        """The function of some rows of x (and of the labels) and of y. UserError where it fails."""
        x, y = features.x[rows], features.y[others]  # copies: the function may change them
        given = (x, y) if self.tensors else (x.numpy(), y.numpy())
        labels = None if features.labels is None else features.labels[rows]
        more = {} if labels is None else {"labels": labels if self.tensors else labels.numpy()}
        try:
            with torch.no_grad():
                value = self.function(*given, **more)
                number = _number(value)
        except (Exception, SystemExit) as error:
            raise self._failed(f"fails at {features.where}{how}", raised(error)) from None
        if number is None:
            given = f"gave {_described(value)} at {features.where}{how}"
            raise self._failed(given, "a measure gives one real number")
        return number

    def _must_be_a_function(self, features: "Sample") -> None:
        """UserError where two calls with the same features give two numbers: it would be another curve every time."""
        first, second = (self.of(features, features.every, features.every) for _ in range(2))
        if first != second and not (math.isnan(first) and math.isnan(second)):
            given = f"gave {first!r} and then {second!r} at {features.where}"
            raise self._failed(given, "equal features need equal numbers; seed a generator of its own in every call")

    def _failed(self, what: str, why: str) -> OwnCodeError:
        return OwnCodeError(f"measure {self.name} ({self.file or 'of a notebook or script'}) {what}", why)


@dataclass(frozen=True)
class Sample:
    """What a measure sees at one step: x (n, D) of the arm, y (n, d) of its reference, both float64, and labels (n,) if
    it asks for them. `where`: the step and the arm, for messages.
    """

    x: Tensor
    y: Tensor
    labels: Tensor | None
    views: int
    where: str

    @property
    def every(self) -> Tensor:
        """All rows."""
        return torch.arange(len(self.x))


# By name, in the order in which they were registered.
registered: Final[dict[str, OwnMeasure]] = {}


def own_among(curves: Iterable[Curve]) -> list[str]:
    """The names of the measures of a user's own that curves are of, in the order in which they were registered."""
    measures = {curve.measure for curve in curves}
    return [name for name in registered if name in measures]


def labelling_for(records: Records, arm: str, own: OwnMeasure, labelling: str | None = None) -> str:
    """The labelling that a measure that asks for labels gets. UserError where the run has none, or not this one."""
    known = labellings(records.config)
    if not known:
        raise UserError(f"measure {own.name} asks for labels", f"the data set of {records.path} has none")
    labelling = labelling or records.arm(arm).labelling or known[0]
    if labelling not in known:
        raise unknown("labelling of this run", labelling, known)
    return labelling


def _labels(pair: FeaturePair, labelling: str | None, step: int) -> Tensor | None:
    """The labels of the rows that are compared at a step, int64 (n,)."""
    if labelling is None:
        return None
    records, where, column = pair.records, pair.where, f"labels.{labelling}"
    labels: NDArray[Any] | None
    if pair.source == "batch":
        owner = owner_of_inputs(records.config, pair.arm)
        labels = records.row(where.stream, owner, f"batch.{column}", step)
        if labels is None:
            raise UserError(f"{records.path} has no labels of step {step} yet", "records come shard by shard")
    else:
        labels = records.fixed(where.stream, f"fixed.{column}")
    return torch.from_numpy(np.tile(labels, where.views).astype(np.int64))


def _number(value: Any) -> float | None:
    """The real number that a function gave; None for anything else."""
    if isinstance(value, Tensor | np.ndarray | np.generic):
        if value.ndim:
            return None
        value = value.item()
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _described(value: Any) -> str:
    if isinstance(value, Tensor | np.ndarray):
        return f"{value.dtype} values of shape {tuple(value.shape)}"
    return "nothing" if value is None else f"{value!r:.40} ({type(value).__name__})"
