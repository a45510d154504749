"""Pearson's correlation of two quantities over points that belong to groups: within the groups, and between them.

Shapes: x, y float64 (n,) and group (n,), the number of each point's group; all finite.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import special  # not stats: it takes a second to load

from analysis.statistics.proportions import Z

Array = NDArray[np.float64]

LEAST: Final = 3  # points: two always lie on a line
LEAST_OF_FISHER: Final = 4  # points, beyond one mean
LEAST_LEFT_OUT: Final = 3  # groups that are left out in turn
_ROUNDING: Final = 16 * float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Correlation:
    """Pearson's r in [-1, 1] of n points of so many groups, with its 95 % interval; NaN where there is none.

    `interval` says in words what the interval is and assumes, or why there is none; `undefined` why there is no value,
    "" where there is one.
    """

    value: float
    low: float
    high: float
    n: int
    groups: int
    interval: str
    undefined: str


def within(x: Array, y: Array, group: NDArray[np.int64]) -> Correlation:
    """Of x and y, each less its group's mean, over all points of groups of at least two.

    Interval, of three groups on: atanh(r) ± t·se of a jackknife that leaves out one group in turn, t of (groups − 1)
    degrees of freedom: points of one group may depend on each other. Else Fisher's (1921), atanh(r) ± 1.96/√(n − 3),
    n less one for each mean beyond the first: it takes points to be independent.
    """
    numbers, index, sizes = np.unique(group, return_inverse=True, return_counts=True)
    several = sizes[index] > 1
    x, y, index = x[several], y[several], index[several]
    # A mean's rounding is of the size of what it is taken from.
    scales = [float(np.abs(values).max(initial=0)) for values in (x, y)]
    chosen = [number for number in range(len(numbers)) if sizes[number] > 1]
    x, y = (_centred(values, index, chosen) for values in (x, y))
    value, why = _pearson(x, y, scales)
    n, groups = len(x), len(chosen)
    if why:
        return Correlation(math.nan, math.nan, math.nan, n, groups, "", why)
    if groups >= LEAST_LEFT_OUT:
        rest = [_pearson(x[index != number], y[index != number], scales)[0] for number in chosen]
        limits = _left_out(value, np.array(rest))
    else:
        limits = _fisher(value, n - (groups - 1), "points of one run are not independent, so it is too narrow")
    return Correlation(value, *limits[:2], n, groups, limits[2], "")


def between(x: Array, y: Array, group: NDArray[np.int64]) -> Correlation:
    """Of the groups' means of x and of y: n is the number of groups. Fisher's interval takes them to be independent."""
    numbers = np.unique(group)
    n = len(numbers)
    scales = [float(np.abs(values).max(initial=0)) for values in (x, y)]
    x, y = (np.array([values[group == number].mean() for number in numbers]) for values in (x, y))
    value, why = _pearson(x, y, scales)
    if why:
        return Correlation(math.nan, math.nan, math.nan, n, n, "", why)
    limits = _fisher(value, n, "runs are taken to be independent")
    return Correlation(value, *limits[:2], n, n, limits[2], "")


def _centred(values: Array, index: NDArray[np.int64], groups: list[int]) -> Array:
    centred = values.copy()
    for number in groups:
        own = index == number
        centred[own] -= values[own].mean()
    return centred


def _pearson(x: Array, y: Array, scales: list[float]) -> tuple[float, str]:
    """r of values that are known to `scales` times the rounding of float64, and why it is NaN."""
    if len(x) < LEAST:
        return math.nan, f"n = {len(x)}, {LEAST} are needed"
    a, b = x - x.mean(), y - y.mean()
    for centred, scale, name in ((a, scales[0], "alignment"), (b, scales[1], "accuracy")):
        if np.abs(centred).max() <= _ROUNDING * scale:
            return math.nan, f"{name} does not vary"
    a, b = a / np.abs(a).max(), b / np.abs(b).max()
    r = float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))
    return min(1.0, max(-1.0, r)), ""


def _fisher(r: float, n: int, assumed: str) -> tuple[float, float, str]:
    if n < LEAST_OF_FISHER:
        return math.nan, math.nan, "no interval: too few points"
    if abs(r) == 1:
        return math.nan, math.nan, "no interval: the points lie on a line"
    half = Z / math.sqrt(n - 3)
    return math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half), f"95 % by Fisher's z; {assumed}"


def _left_out(r: float, rest: Array) -> tuple[float, float, str]:
    """The interval from the correlations without each group, on the scale of atanh, docs/theory.md (50)."""
    if not np.isfinite(rest).all() or abs(r) == 1 or (np.abs(rest) == 1).any():
        return math.nan, math.nan, "no interval: undefined or 1 without one of the runs"
    groups, z = len(rest), np.arctanh(rest)
    error = math.sqrt((groups - 1) / groups * float(np.square(z - z.mean()).sum()))
    half = float(special.stdtrit(groups - 1, 0.975)) * error
    words = f"95 % jackknife, {groups} runs left out in turn"
    return math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half), words
