"""Every bound beside what it is compared with, at the steps that both have."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analysis.bounds.drift import TRIVIAL
from analysis.bounds.gap import NOT_A_BOUND, SLACK, slack_estimator
from analysis.runs.alignment import ILL_CONDITIONED_FLAG
from analysis.runs.curve import Curve

_ROUNDING: Final = 1e-9  # of float64, generously
NAMES: Final = {
    "gap": "loss gap",
    "gap_with_positive": "loss gap, positive in the denominator",
    "surrogate_drift": "drift of Σ, surrogate",
    "drift": "drift of Σ, true run",
    "cka_biased": "biased CKA of z",
    "rsa": "RSA of z",
}


@dataclass(frozen=True, eq=False)
class Pair:
    """A measured curve, and a bound or limit to hold it against. The drift bounds come twice: beside the simulated
    surrogate, of which they are bounds, and beside the true run, of which they are not. `slack`: of a bound on every
    anchor, the least slack over anchors.
    """

    measured: Curve
    bound: Curve
    slack: Curve | None = None

    @property
    def is_bound(self) -> bool:
        """Is it a bound of this very curve by its theorem?"""
        of_it = self.bound.kind in ("upper bound", "lower bound") and self.measured.measure != "drift"
        return of_it and not is_no_bound(self.bound)

    @property
    def promised(self) -> bool:
        """Is it such a bound, and can the digits of what was measured tell whether it holds?"""
        return self.is_bound and not any(flag.startswith(ILL_CONDITIONED_FLAG) for flag in self.measured.flags)

    @property
    def quantity(self) -> str:
        """What was measured, in words."""
        of_surrogate = self.measured.measure in ("drift", "surrogate_drift")  # there is no other
        source = "" if of_surrogate else self.measured.source
        return ", ".join(filter(None, (NAMES[self.measured.measure], source, self.measured.labelling)))

    @cached_property
    def steps(self) -> NDArray[np.int64]:
        return self._both[0]

    @cached_property
    def values(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What was measured and the bound, (T,) each."""
        _, here, there = self._both
        return self.measured.values[here], self.bound.values[there]

    @cached_property
    def _both(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        return np.intersect1d(self.measured.steps, self.bound.steps, return_indices=True)

    @cached_property
    def ratios(self) -> NDArray[np.float64]:
        """Bound ÷ measured, (T,); NaN where nothing above 0 was measured."""
        measured, bound = self.values
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(measured > 0, bound / measured, np.nan)

    @property
    def median(self) -> float:
        """The median of bound ÷ measured over the steps that have it; NaN where none has."""
        return float(np.nanmedian(self.ratios)) if (~np.isnan(self.ratios)).any() else math.nan

    @property
    def ends(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What has to be the lower of the two, and the higher, (T,) each."""
        measured, bound = self.values
        return (bound, measured) if self.bound.kind == "lower bound" else (measured, bound)

    @property
    def crossed(self) -> int:
        """At how many steps the measured value, or that of any anchor, lies on the wrong side."""
        wrong = beyond(*self.ends)
        if self.slack is not None:
            least = self.slack.values[np.isin(self.slack.steps, self.steps)]
            wrong |= beyond(-least, np.zeros(len(least)))
        return int(wrong.sum())


def is_no_bound(bound: Curve) -> bool:
    """Do its assumptions not hold for this run, as its flags say?"""
    return any(flag.startswith(NOT_A_BOUND) for flag in bound.flags)


def beyond(low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Where low > high by more than rounding; NaN is undefined, and beyond nothing."""
    with np.errstate(invalid="ignore"):
        return low - high > _ROUNDING * np.maximum(1, np.abs(low))


def pairs(curves: Sequence[Curve]) -> Iterator[Pair]:
    """All pairs, in the order of `NAMES`, and of arms in that of the curves."""
    for measure in NAMES:
        for curve in (c for c in curves if c.kind == "measured" and c.measure == measure):
            beside = [bound for bound in curves if _is_beside(bound, curve)]
            # A limit alone says nothing of an arm: it is the same number for all.
            for bound in beside if any(bound.kind != "limit" for bound in beside) else ():
                yield Pair(curve, bound, _slack(curves, bound))


def _slack(curves: Sequence[Curve], bound: Curve) -> Curve | None:
    wanted = slack_estimator(bound.bound or "", bound.measure)
    facts = ("arm", "reference", "source", "labelling")
    for curve in (curve for curve in curves if curve.measure == SLACK and curve.estimator == wanted):
        if all(getattr(curve, name) == getattr(bound, name) for name in facts):
            return curve
    return None


def _is_beside(bound: Curve, curve: Curve) -> bool:
    facts = ("arm", "reference", "source", "feature", "labelling")
    measures = (curve.measure, "drift") if curve.measure == "surrogate_drift" and bound.bound != TRIVIAL else ()
    same = all(getattr(bound, name) == getattr(curve, name) for name in facts)
    return bound.kind != "measured" and same and bound.measure in (measures or (curve.measure,))
