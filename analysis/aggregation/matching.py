"""Values of a measure where runs have come equally far: at equal step, epoch, cumulative learning rate, distance from
the start, or own loss.

Shapes: T recorded steps of what is matched on, K recorded steps of the measure.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analysis.aggregation.gap import Gap

Array = NDArray[np.float64]
Steps = NDArray[np.int64]

AXES: Final = {
    "step": "step",
    "epoch": "epoch",
    "rate": "cumulative learning rate",
    "motion": "distance from the start",
    "loss": "own loss",
}
FALLING: Final = frozenset({"loss"})
# A loss is smoothed over the recorded steps t − ⌊t/10⌋ … t + ⌊t/10⌋: a batch's own loss scatters more than it falls.
SMOOTHING: Final = 10


@dataclass(frozen=True, eq=False)
class Progress:
    """How far an arm had come on one axis: float64 `amounts` (T,) at increasing `steps` (T,).

    Amounts never turn back: each is the furthest so far (of `falling` ones the smallest), so that an arm reaches an
    amount when it first does, whatever comes after.
    """

    axis: str
    steps: Steps
    amounts: Array
    falling: bool

    @classmethod
    def of(cls, axis: str, steps: Steps, values: Array) -> "Progress | Gap":
        """The progress of recorded values (T,) of an axis; losses are smoothed first. A gap where one is not finite."""
        if not np.isfinite(values).all():
            return Gap(f"{AXES[axis]} is not finite at step {steps[~np.isfinite(values)][0]}")
        if axis == "loss":
            steps, values = smoothed(steps, values)
        if not len(steps):
            return Gap(f"no {AXES[axis]} yet")
        falling = axis in FALLING
        furthest = np.minimum.accumulate(values) if falling else np.maximum.accumulate(values)
        return cls(axis, steps, furthest, falling)

    @property
    def words(self) -> str:
        return AXES[self.axis]

    def at(self, steps: Steps) -> Array:
        """The amounts at steps (K,) within the first and last of this, linear between its own."""
        return np.interp(steps, self.steps, self.amounts)

    def passage(self, target: float) -> float | Gap:
        """The step, perhaps between two, at which the arm first got to `target`."""
        return match(self, self.steps, self.steps.astype(np.float64), target)


def smoothed(steps: Steps, values: Array) -> tuple[Steps, Array]:
    """At each step t with h = ⌊t/10⌋: the mean of the values recorded from t − h to t + h.

    Only where all of that lies within what is recorded: the last tenth or so of a run has no smoothed value.
    """
    if not len(steps):
        return steps, values
    half = steps // SMOOTHING
    whole = (steps - half >= steps[0]) & (steps + half <= steps[-1])
    at, half = steps[whole], half[whole]
    first, last = np.searchsorted(steps, at - half), np.searchsorted(steps, at + half, side="right")
    # Sums of differences from one value: a constant series stays what it is, to the last bit.
    sums = np.concatenate([[0.0], np.cumsum(values - values[0])])
    return at, values[0] + (sums[last] - sums[first]) / (last - first)


def match(progress: Progress, steps: Steps, values: Array, target: float) -> float | Gap:
    """The value at which a measure stood when the arm first got to `target`.

    `values` (K,) at recorded `steps` (K,). Linear in the progress, between the two recorded steps that bracket the
    first passage; never beyond the first or the last.
    """
    assert np.isfinite(target), target
    known = (steps >= progress.steps[0]) & (steps <= progress.steps[-1])
    at, y = steps[known], values[known]
    if not len(at):
        return Gap(f"no recorded step at which the {progress.words} is known")
    reached, sign = progress.at(at), -1.0 if progress.falling else 1.0
    amounts, goal = sign * reached, sign * target
    first, last = (f"{progress.words} {reached[place]:.6g} at step {at[place]}" for place in (0, -1))
    if goal < amounts[0]:
        return Gap(f"{first}, the first recorded: beyond {target:.6g} already")
    if goal > amounts[-1]:
        return Gap(f"never gets there: {last}, the last recorded, not {target:.6g}")
    after = int(np.searchsorted(amounts, goal))  # the first that is there
    before = after if amounts[after] == goal else after - 1
    for place in (before, after):
        if not np.isfinite(y[place]):
            return Gap(f"undefined at step {at[place]}")
    if before == after:
        return float(y[after])
    share = (goal - amounts[before]) / (amounts[after] - amounts[before])
    return float(y[before] + share * (y[after] - y[before]))
