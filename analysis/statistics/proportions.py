"""95 % intervals of accuracies: over draws of shots, and over the samples that were put into classes.

Rates of 0 and 1 have intervals of positive width too: a finite number of samples cannot show that there are no others.
"""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special  # not stats: it takes a second to load

Z: Final = float(special.ndtri(0.975))


class Interval(NamedTuple):
    """A value and the limits of its 95 % interval; NaN where there is none."""

    value: float
    low: float
    high: float


def over_draws(values: Sequence[float] | NDArray[np.float64]) -> Interval:
    """The mean of independent draws ± t·s/√k, t of k − 1 degrees of freedom; no limits for one draw."""
    array = np.asarray(values, np.float64)
    mean = float(array.mean())
    if len(array) < 2:
        return Interval(mean, math.nan, math.nan)
    half = float(special.stdtrit(len(array) - 1, 0.975)) * float(array.std(ddof=1)) / math.sqrt(len(array))
    return Interval(mean, mean - half, mean + half)


def rate(hits: int, n: int) -> Interval:
    """hits/n with Wilson's score interval (Wilson 1927)."""
    p, z2 = hits / n, Z**2
    middle, half = (p + z2 / (2 * n)) / (1 + z2 / n), Z * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return Interval(p, min(middle - half, p), max(middle + half, p))  # at 0 and 1 rounding could leave p outside


def mean_rate(hits: NDArray[np.int64], sizes: NDArray[np.int64]) -> Interval:
    """The mean over classes of hits/sizes (C,). Each class's variance is that of its rate with one hit and one miss
    added (Agresti and Caffo 2000).
    """
    rates, total = (hits + 1) / (sizes + 2), float((hits / sizes).mean())
    half = Z * math.sqrt(float((rates * (1 - rates) / (sizes + 2)).sum())) / len(sizes)
    return Interval(total, max(total - half, 0.0), min(total + half, 1.0))


def paired_difference(better: int, worse: int, n: int) -> Interval:
    """(better − worse)/n: of n samples so many are put into their class by the first classifier alone, and by the
    second alone; with the adjusted Wald interval of Bonett and Price 2012.
    """
    value, (middle, variance) = (better - worse) / n, _adjusted(better, worse, n)
    half = Z * math.sqrt(variance)
    return Interval(value, min(middle - half, value), max(middle + half, value))


def mean_paired_difference(better: NDArray[np.int64], worse: NDArray[np.int64], sizes: NDArray[np.int64]) -> Interval:
    """The mean over classes of (better − worse)/sizes, (C,) each, with the same variance for every class."""
    value, (_, variances) = float(((better - worse) / sizes).mean()), _adjusted(better, worse, sizes)
    half = Z * math.sqrt(float(variances.sum())) / len(sizes)
    return Interval(value, max(value - half, -1.0), min(value + half, 1.0))


def _adjusted(better, worse, n):  # noqa: ANN001, ANN202
    first, second = (better + 1) / (n + 2), (worse + 1) / (n + 2)
    return first - second, (first + second - (first - second) ** 2) / (n + 2)
