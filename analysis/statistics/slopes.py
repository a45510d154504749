"""Least-squares slopes of series with autocorrelated errors, with intervals that allow for the autocorrelation.

Shapes: n points, L series over the same points, x (n,), y (n, L), ρ the lag-1 autocorrelation of the errors.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import special  # not stats: it takes a second to load

Array = NDArray[np.float64]

LEAST_POINTS: Final = 6  # two for the line, one for ρ, and some left to estimate a variance
# Closer to 1 the errors are a random walk to any window, and the variance of the mean that is removed grows unbounded.
_RHOS: Final = np.append(np.linspace(0, 0.95, 30), [0.96, 0.97, 0.98, 0.99, 0.995])
_EPS: Final = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False)
class Slopes:
    """Of each series, float64 (L,): slope, ends of its 95 % interval, ρ, R² and AIC of the straight line.

    AIC = n·log(RSS/n) + 6, docs/theory.md (65): comparable between lines through the same y.
    """

    slope: Array
    low: Array
    high: Array
    autocorrelation: Array
    r2: Array
    aic: Array


def slopes(x: Array, y: Array) -> Slopes:
    """Ordinary least squares of each column of y (n, L) on x (n,), n ≥ `LEAST_POINTS`, x not constant, all finite.

    The 95 % interval is a prewhitened HAC one (Andrews and Monahan 1992) that keeps the prewhitening's AR(1) alone:
    errors are taken to be AR(1), and the variance of the slope, the bias of the residual variance and the degrees of
    freedom of Student's t (Satterthwaite's) are those of that process under this very design. ρ is solved for so that
    the residuals' lag-1 autocorrelation is the expected one (it is far below ρ in short windows), raised by one
    standard error √((1−ρ²)/n), and kept in [0, .995]: rather too wide than too narrow. docs/theory.md (66).
    Why no plain Newey–West: at its automatic (Andrews) bandwidth a nominal 95 % covered 56 % at n = 15, ρ = .8 and 76 %
    at n = 100, for a window holds too few correlation lengths to average over; ordinary least squares 53 % and 50 %;
    this 90 % and 96 % (99 % for independent errors at n = 15, 87 % at ρ = .9). A trend that the line does not follow
    counts as autocorrelated error, and widens the interval.
    """
    n = len(x)
    assert n >= LEAST_POINTS and y.shape[0] == n
    xc, yc = x - x.mean(), y - y.mean(0)
    sxx = xc @ xc
    slope = xc @ yc / sxx
    residual = yc - xc[:, None] * slope
    rss = (residual**2).sum(0)
    lag = (residual[1:] * residual[:-1]).sum(0)
    rho, trace, quantile, form = _process(x, np.divide(lag, rss, out=np.zeros_like(rss), where=rss > 0))
    # An exact line leaves rounding alone, which is no sample of anything: y to an ulp, x as a running sum.
    magnitude = np.abs(y).max(0)
    rounding = 4 * _EPS * magnitude * np.abs(xc).sum() / sxx + n * _EPS * np.abs(slope)
    half = quantile * np.sqrt(rss / trace * form / sxx) + rounding
    total = (yc**2).sum(0)
    r2 = 1 - np.divide(rss, total, out=np.full_like(rss, np.nan), where=total > 0)
    aic = n * np.log(np.maximum(rss / n, (_EPS * np.maximum(magnitude, 1)) ** 2)) + 6
    return Slopes(slope=slope, low=slope - half, high=slope + half, autocorrelation=rho, r2=r2, aic=aic)


def _process(x: Array, observed: Array) -> tuple[Array, Array, Array, Array]:
    """ρ of each series, and at that ρ E[RSS]/σ², the t quantile and the variance of x̂ᵀu (x̂ of norm 1) over σ²."""
    n, table = len(x), _table(x)
    rho = np.interp(observed, table[0], _RHOS)
    rho = np.clip(rho + np.sqrt((1 - rho**2) / n), 0, _RHOS[-1])
    trace, quantile, form = (np.interp(rho, _RHOS, row) for row in table[1:])
    return rho, trace, quantile, form


def _table(x: Array) -> Array:
    """By ρ: expected lag-1 autocorrelation of residuals, tr(MΩ), t quantile, x̂ᵀΩx̂; (4, ρ).

    Ω the AR(1) correlation matrix, M = I − hᵀh with h (2, n) the orthonormal constant and centred x. All n×n traces
    are products with h, and Ωh is a convolution.
    """
    n = len(x)
    xc = x - x.mean()
    h = np.stack([np.full(n, n**-0.5), xc / np.sqrt(xc @ xc)])
    spectrum, lags = np.fft.rfft(h, 2 * n), np.arange(n)
    shifted = np.zeros_like(h)  # A h, A the matrix of the lag-1 product rᵀAr
    shifted[:, 1:] += h[:, :-1] / 2
    shifted[:, :-1] += h[:, 1:] / 2
    rows = []
    for rho in _RHOS:
        kernel = np.zeros(2 * n)
        kernel[:n] = rho**lags
        kernel[n + 1 :] = kernel[n - 1 : 0 : -1]
        wh = np.fft.irfft(spectrum * np.fft.rfft(kernel), 2 * n)[:, :n]
        p = h @ wh.T
        trace = n - np.trace(p)
        lag = (n - 1) * rho - 2 * (shifted * wh).sum() + ((h @ shifted.T) * p).sum()
        square = n + 2 * ((n - lags[1:]) * kernel[1:n] ** 2).sum() - 2 * (wh**2).sum() + (p**2).sum()
        rows.append((lag / trace, trace, max(trace**2 / square, 1), p[1, 1]))
    table = np.array(rows).T
    table[2] = special.stdtrit(table[2], 0.975)
    # Where the expectation turns back near ρ = 1, the larger ρ is no longer told from the smaller.
    table[0] = np.maximum.accumulate(table[0])
    return table
