"""Quantiles of Student's t: what an interval from few groups or few points needs in place of the normal's.

scipy has them, but is no dependency of the analysis; the tests compare the two.
"""

import math
from functools import cache
from statistics import NormalDist
from typing import Final

# From here on two terms of the expansion in 1/dof are exact to float64, and the continued fraction slow.
_LARGE: Final = 1e5
_TINY: Final = 1e-300
_ROUNDING: Final = 1e-15


@cache
def student_t(p: float, dof: float) -> float:
    """The t with P(T ≤ t) = p of Student's t with `dof` > 0 degrees of freedom (inf: the normal), 0 < p < 1.

    Relative error below 1e-9 (of |t|; exactly 0 at p = ½). Inverts DLMF 8.17's regularised incomplete beta function.
    """
    assert 0 < p < 1 and dof > 0, (p, dof)
    if p == 0.5:
        return 0.0
    if p > 0.5:
        return -student_t(1 - p, dof)
    z = NormalDist().inv_cdf(p)
    if dof >= _LARGE:
        # Abramowitz and Stegun 26.7.5; every term is 0 for infinite dof.
        return z + (z**3 + z) / (4 * dof) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * dof**2)
    # The tail is convex and above the normal's, so that Newton's steps from there go up to the root and not beyond.
    t, step = -z, math.inf
    while step > 1e-12 * t:
        step = (_tail(t, dof) - p) / _density(t, dof)
        t += step
    return -t


def _density(t: float, dof: float) -> float:
    log_scale = math.lgamma((dof + 1) / 2) - math.lgamma(dof / 2) - 0.5 * math.log(dof * math.pi)
    return math.exp(log_scale - (dof + 1) / 2 * math.log1p(t * t / dof))


def _tail(t: float, dof: float) -> float:
    """P(T > t) for t ≥ 0."""
    square = t * t
    inside = square / (dof + square)
    # The fraction converges fast on one side of the beta's mean only.
    if inside * (dof + 1) < 1:
        return 0.5 - 0.5 * _beta(0.5, dof / 2, inside, dof / (dof + square))
    return 0.5 * _beta(dof / 2, 0.5, dof / (dof + square), inside)


def _beta(a: float, b: float, x: float, y: float) -> float:
    """Regularised incomplete beta function I_x(a, b), y = 1 − x without its rounding (DLMF 8.17.22, Lentz's method)."""
    if x == 0:
        return 0.0
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log(y)
    c, d, m, change = 1.0, 1 / _away_from_zero(1 - (a + b) / (a + 1) * x), 0, 0.0
    value = d
    while abs(change - 1) > _ROUNDING:
        m += 1
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        change = 1.0
        for term in (even, odd):
            d = 1 / _away_from_zero(1 + term * d)
            c = _away_from_zero(1 + term / c)
            change *= d * c
        value *= change
    return math.exp(log_front) / a * value


def _away_from_zero(x: float) -> float:
    return x if abs(x) > _TINY else _TINY
