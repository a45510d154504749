"""A measured quantity over steps, or a bound on one, with the facts that make its numbers comparable."""

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from analysis.runs import shown
from analysis.runs.numbers import number

_WINDOW: Final = 1.2  # the running mean at step t is over the steps t/1.2 … 1.2 t

Kind = Literal["measured", "upper bound", "lower bound", "limit"]


@dataclass(frozen=True, eq=False)
class Band:
    """A range around or beside a curve at each of its steps: float64 (T,), read-only, NaN where there is none.

    `what` says in words, for a legend, what it is: "95 % jackknife interval, 16 groups of samples".
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    what: str

    def __post_init__(self) -> None:
        assert self.low.shape == self.high.shape and self.low.dtype == self.high.dtype == np.float64
        for array in (self.low, self.high):
            array.flags.writeable = False


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Curve:
    """One quantity over steps, with everything that a reader of its values must know.

    steps int64 (T,), values float64 (T,), both read-only. A value of NaN is undefined, and `undefined` says why. `n`
    samples and `d` dimensions of what is compared (weights: their number, and no samples). What does not apply is None.

    A bound has the facts of the curve that it bounds (`measure`, arm, reference, source, feature, labelling), a `kind`
    other than "measured", and a name, `bound`. `flags` are what its reading depends on, in words: assumptions that the
    run does not meet, digits that were lost. `interval` is the uncertainty of the values, `null` what they would be if
    the samples of the two arms were paired at random.
    """

    measure: str
    arm: str
    reference: str | None
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
    kind: Kind = "measured"
    bound: str | None = None
    flags: tuple[str, ...] = ()
    interval: Band | None = None
    null: Band | None = None

    def __post_init__(self) -> None:
        assert self.steps.shape == self.values.shape
        assert self.values.dtype == np.float64 and self.steps.dtype == np.int64
        assert (self.kind == "measured") == (self.bound is None)
        for band in (self.interval, self.null):
            assert band is None or band.low.shape == self.steps.shape
        for array in (self.steps, self.values):
            array.flags.writeable = False

    def at(self, step: int) -> float | None:
        """The value at `step`, None if the curve has no such step."""
        rows = np.flatnonzero(self.steps == step)
        return float(self.values[rows[0]]) if len(rows) else None

    def plot(self, axes: Any = None) -> Any:
        """Draws the curve with its bands into matplotlib axes (default: the current ones), and returns these."""
        if axes is None:
            axes = import_module("matplotlib.pyplot").gca()
        (line,) = axes.plot(self.steps, self.values, marker="o" if len(self.steps) < 60 else "", markersize=3)
        line.set_label(f"{self._name} of {self.arm}")
        for band, colour in ((self.interval, line.get_color()), (self.null, "0.6")):
            if band is not None:
                axes.fill_between(self.steps, band.low, band.high, color=colour, alpha=0.25, lw=0, label=band.what)
        # The first steps, where arms part, get as much room as the last.
        axes.set_xscale("symlog", linthresh=1)
        axes.set_xlim(left=0)
        axes.set_xlabel("step")
        axes.set_ylabel(self.measure)
        axes.legend()
        return axes

    def to_frame(self) -> Any:
        """A pandas data frame, or a polars one where pandas is not installed, a row a step: step, value, and low, high,
        null_low, null_high where there are such bands. UserError where neither library is installed.
        """
        columns: dict[str, NDArray[Any]] = {"step": self.steps, "value": self.values}
        for name, band in (("", self.interval), ("null_", self.null)):
            if band is not None:
                columns |= {f"{name}low": band.low, f"{name}high": band.high}
        return shown.frame(columns)

    @property
    def _name(self) -> str:
        return self.measure if self.bound is None else f"{self.bound} bound on {self.measure}"

    def _words(self) -> str:
        words = f"{self._name} of {self.arm}{f' to {self.reference}' if self.reference else ''}"
        if not len(self.steps):
            return f"{words}: no steps"
        steps = f"{len(self.steps)} steps, {self.steps[0]} to {self.steps[-1]}"
        return f"{words}: {steps}, last {number(self.values[-1])}"

    def __repr__(self) -> str:
        return f"<{self._words()}>"

    def _repr_html_(self) -> str:
        of = " ".join(part for part in (self.source, self.feature, self.split) if part)
        size = f"d = {self.d:,}" if self.n is None else f"n = {self.n:,}, d = {self.d:,}"
        facts = {"of": of, "estimator": self.estimator, "size": size, "labels": self.labelling}
        facts |= {name: band and band.what for name, band in (("interval", self.interval), ("null", self.null))}
        facts |= {"flags": "; ".join(self.flags)}
        table = shown.table([fact for fact in facts.items() if fact[1]])
        return shown.block(self._words(), shown.picture(self.steps, self.values, self.measure), table)

    def bounds(self, other: "Curve") -> bool:
        """Is this a bound (or a limit) of `other`?"""
        facts = ("measure", "arm", "reference", "source", "feature", "labelling")
        same = all(getattr(self, name) == getattr(other, name) for name in facts)
        return same and self.kind != "measured" and other.kind == "measured"


def pick(
    curves: Iterable[Curve],
    measure: str,
    arm: str,
    *,
    source: str | None = None,
    feature: str | None = None,
    labelling: str | None = None,
    bound: str | None = None,
) -> Curve | None:
    """The first curve that has every given fact; None if there is none. Without `bound`, only measured ones count."""
    wanted = {"source": source, "feature": feature, "labelling": labelling}
    for curve in curves:
        fits = all(value in (None, getattr(curve, name)) for name, value in wanted.items())
        if (curve.measure, curve.arm, curve.bound) == (measure, arm, bound) and fits:
            return curve
    return None


def running_mean(curve: Curve) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means over the recorded steps t/1.2 … 1.2 t at log-spaced t; the first steps are themselves. NaN stays NaN."""
    steps = curve.steps.astype(np.float64)
    chosen = np.unique(np.searchsorted(steps, np.geomspace(1, max(steps[-1], 1), 80)).clip(max=len(steps) - 1))
    at = steps[np.union1d(chosen, np.flatnonzero(steps <= 5))]
    low, high = np.searchsorted(steps, at / _WINDOW), np.searchsorted(steps, at * _WINDOW, side="right")
    return at, np.array([curve.values[i:j].mean() for i, j in zip(low, high, strict=True)])
