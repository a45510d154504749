"""Numbers over seeds: means with 95 % intervals, contrasts paired by seed, and trends.

A value is a number or a gap, by seed. No interval is made of fewer than three seeds: that is a gap too.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from scipy import special  # not stats: it takes a second to load

from analysis.aggregation.gap import Gap
from analysis.statistics.proportions import over_draws

Values = Mapping[int, float | Gap]

LEAST_SEEDS: Final = 3  # two give a t of 12.7, and no idea of the spread


@dataclass(frozen=True)
class Mean:
    """A mean over seeds with the ends of its 95 % interval (Student's t); not clipped to a measure's range.

    `by_seed`: the numbers it is the mean of. `missing`: the seeds that have none, and why. Where a seed never gets to
    what is matched, the mean is one of those that do.
    """

    value: float
    low: float
    high: float
    by_seed: Mapping[int, float]
    missing: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Contrast(Mean):
    """The mean of differences within seeds, and what pairing them bought.

    `variance_ratio`: the variance of the mean difference if seeds were not paired, over what it is: above 1, shared
    randomness helps, and unpaired runs would need as many times the seeds. `ratio_low`, `ratio_high`: its 95 % interval
    for normal values of equal variance. NaN where neither varies.
    """

    variance_ratio: float = math.nan
    ratio_low: float = math.nan
    ratio_high: float = math.nan


def mean(values: Values) -> Mean | Gap:
    """The mean over seeds, t·s/√n either side; a gap with fewer than three numbers."""
    numbers, missing = numbers_of(values)
    if len(numbers) < LEAST_SEEDS:
        return _too_few(numbers, missing)
    return Mean(*over_draws(list(numbers.values())), numbers, missing)


def contrast(first: Values, second: Values) -> Contrast | Gap:
    """first − second within each seed. A seed that only one of them has is missing."""
    pairs: dict[int, float | Gap] = {}
    for seed in sorted({*first, *second}):
        a, b = (side.get(seed, Gap(f"the {name} has no such seed")) for side, name in _named(first, second))
        pairs[seed] = a if isinstance(a, Gap) else b if isinstance(b, Gap) else a - b
    difference = mean(pairs)
    if isinstance(difference, Gap):
        return difference
    a, b = (np.array([side[seed] for seed in difference.by_seed], np.float64) for side in (first, second))
    ratio = _ratio(a, b)
    return Contrast(**vars(difference), variance_ratio=ratio[0], ratio_low=ratio[1], ratio_high=ratio[2])


def trend(points: Sequence[tuple[float, Values]]) -> Mean | Gap:
    """The mean over seeds of each seed's own least-squares slope of values over x: (x, values) of each point.

    Only seeds with a number at every point have one, for a slope over fewer points is another quantity.
    """
    x = np.array([at for at, _ in points], np.float64)
    if len(set(x.tolist())) < 2:
        return Gap("a slope needs points at two x or more")
    slopes: dict[int, float | Gap] = {}
    for seed in sorted({seed for _, values in points for seed in values}):
        y = [values.get(seed, Gap("no such seed")) for _, values in points]
        gaps = [f"at {at:.6g}: {value.reason}" for at, value in zip(x, y, strict=True) if isinstance(value, Gap)]
        slopes[seed] = Gap("; ".join(gaps)) if gaps else slope(x, np.array(y, np.float64))
    return mean(slopes)


def slope(x: np.ndarray, y: np.ndarray) -> float:
    """Of the least-squares line of y (n,) over x (n,)."""
    centred = x - x.mean()
    return float(centred @ (y - y.mean()) / (centred @ centred))


def _ratio(a: np.ndarray, b: np.ndarray) -> tuple[float, float, float]:
    """(s_a² + s_b²)/s_(a−b)², and its interval.

    As var(a+b) + var(a−b) = 2(var a + var b), it is (1 + V)/2 with V = s_(a+b)²/s_(a−b)². Sum and difference are
    independent if variances are equal, and V is its true value times an F of n − 1 and n − 1 degrees of freedom.
    """
    apart, together = float((a - b).var(ddof=1)), float((a + b).var(ddof=1))
    if apart == 0:
        value = math.inf if together > 0 else math.nan
        return value, value, value
    quantile = float(special.fdtri(len(a) - 1, len(a) - 1, 0.975))  # that of .025 is its inverse
    V = together / apart
    return (1 + V) / 2, (1 + V / quantile) / 2, (1 + V * quantile) / 2


def numbers_of(values: Values) -> tuple[dict[int, float], dict[int, str]]:
    """The values that are finite numbers, and of the other seeds why they have none; by seed, in order."""
    numbers, missing = {}, {}
    for seed, value in sorted(values.items()):
        if isinstance(value, Gap):
            missing[seed] = value.reason
        elif not math.isfinite(value):
            missing[seed] = "undefined"
        else:
            numbers[seed] = float(value)
    return numbers, missing


def _too_few(numbers: Mapping[int, float], missing: Mapping[int, str]) -> Gap:
    lacking = "".join(f"; seed {seed}: {reason}" for seed, reason in missing.items())
    return Gap(f"{len(numbers)} of {len(numbers) + len(missing)} seeds have a value, {LEAST_SEEDS} are needed{lacking}")


def _named(first: Values, second: Values) -> list[tuple[Values, str]]:
    return [(first, "first"), (second, "second")]
