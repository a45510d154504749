"""A measured quantity over steps, with the facts that make its numbers comparable."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Curve:
    """One measured quantity over steps, with everything its values must know. NaN is undefined: `undefined` says why.

    steps int64 (T,), values float64 (T,), both read-only. `n` samples and `d` dimensions of what is compared (weights:
    their number, and no samples); what does not apply is None.
    """

    measure: str
    arm: str
    anchor: str | None
    steps: NDArray[np.int64]
    values: NDArray[np.float64]
    n: int | None
    d: int
    feature: str | None
    source: str
    split: str | None
    labelling: str | None
    estimator: str
    undefined: str

    def __post_init__(self) -> None:
        assert self.steps.shape == self.values.shape
        assert self.values.dtype == np.float64 and self.steps.dtype == np.int64
        for array in (self.steps, self.values):
            array.flags.writeable = False

    def at(self, step: int) -> float | None:
        """The value at `step`, None if the curve has no such step."""
        found = np.flatnonzero(self.steps == step)
        return float(self.values[found[0]]) if len(found) else None


def pick(
    found: Iterable[Curve],
    measure: str,
    arm: str,
    *,
    source: str | None = None,
    feature: str | None = None,
    labelling: str | None = None,
) -> Curve | None:
    """The first of the curves that fits what is given; None if there is none."""
    wanted = {"source": source, "feature": feature, "labelling": labelling}
    for curve in found:
        fits = all(value in (None, getattr(curve, name)) for name, value in wanted.items())
        if (curve.measure, curve.arm) == (measure, arm) and fits:
            return curve
    return None
