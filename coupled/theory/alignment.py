"""Linear CKA, RSA and the weight gap: the formulas that training's display and the analysis both need.

Shapes: x (…, n, d) and y (…, n, e): n samples of two representations, leading axes are batched (steps, say).
Everything runs in float64 from the d × e sums of `coupled.theory.moments`: no n × n matrix is formed.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from coupled.theory import rounding
from coupled.theory.moments import Cross, Moments, narrow

_EPSILON = 2.0**-52


class Value(NamedTuple):
    """A measure and how far rounding may have moved it, as a fraction of itself at full alignment; both (…)."""

    value: Tensor
    error: Tensor


def linear_cka(x: Tensor, y: Tensor, *, debiased: bool = True) -> Tensor:
    """Linear centred kernel alignment of x (…, n, d) and y (…, n, e), float64 (…).

    debiased: HSIC of Song et al. 2012, range [−1, 1], negative is legal, n ≥ 4. biased: Kornblith et al. 2019, range
    [0, 1]. At any size of x and y. NaN where a representation is constant over samples (0/0) or not finite, so that it
    cannot pass for a value. docs/theory.md (39).
    """
    assert x.shape[-2] == y.shape[-2] and (x.shape[-2] >= 4 or not debiased), (x.shape, y.shape)
    return cka_of(Moments.about_mean(narrow(x), narrow(y)), debiased=debiased).value


def rsa_with_error(x: Tensor, y: Tensor) -> Value:
    """Representational similarity: Pearson correlation of the two cosine-similarity matrices' off-diagonal entries.

    x (…, n, d), y (…, n, e), float64 (…), range [−1, 1]; 1 − cosine as dissimilarity gives the same value. From
    moments, exact in O(n d e). A zero row has similarity 0 with every other. NaN where all entries are equal. How far
    rounding may have moved it: see `rsa_of`. docs/theory.md (43), (44).
    """
    assert x.shape[-2] == y.shape[-2] >= 3, (x.shape, y.shape)
    return rsa_of(Moments.about_mean(narrow(x, unit=True), narrow(y, unit=True), unit=True))


def cka_of(moments: Moments, *, debiased: bool = True) -> Value:
    """Linear CKA of the samples behind `moments`; see `linear_cka`. NaN with fewer samples than it needs."""
    if moments.n < (4 if debiased else 2):
        return _undefined(moments)
    hsic = _debiased_hsic if debiased else _biased_hsic
    own = moments.of_x, moments.of_y
    xy, (xx, yy) = hsic(moments.cross), (hsic(side) for side in own)
    # Equal off-diagonals (a simplex, say) leave a debiased HSIC of nothing but the rounding of its terms.
    terms = [side.xy.square().sum((-2, -1)) + side.qu for side in own]
    least = rounding.of_sum(moments.n)
    defined = (xx > least * terms[0]) & (yy > least * terms[1]) & _varies(own[0]) & _varies(own[1])
    return Value(_correlation(xy, xx, yy, defined), _EPSILON * torch.maximum(terms[0] / xx, terms[1] / yy))


def _undefined(moments: Moments) -> Value:
    return Value(torch.full_like(moments.q, torch.nan), torch.full_like(moments.q, torch.inf))


def _varies(own: Cross) -> Tensor:
    """Is more than rounding left of a representation without its mean? (…)"""
    raw = own.q + 2 * _dot(own.shift_x, own.x) + own.n * _dot(own.shift_x, own.shift_x)
    centred = own.q - _dot(own.x, own.x) / own.n
    least = rounding.of_sum(own.n)
    return (centred > least * own.q) & (centred > least**2 * raw)


def _correlation(xy: Tensor, xx: Tensor, yy: Tensor, defined: Tensor) -> Tensor:
    """xy/√(xx·yy) where defined, else NaN."""
    one = torch.ones_like(xx)
    scale = torch.where(defined, xx, one).sqrt() * torch.where(defined, yy, one).sqrt()
    return torch.where(defined, xy / scale, torch.nan)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(-1)


def _biased_hsic(sums: Cross) -> Tensor:
    """‖XᵀY − s_x s_yᵀ/n‖_F²: docs/theory.md (40)."""
    return (sums.xy - sums.x[..., :, None] * sums.y[..., None, :] / sums.n).square().sum((-2, -1))


def _debiased_hsic(sums: Cross) -> Tensor:
    """tr(K̃L̃) + (1ᵀK̃1)(1ᵀL̃1)/((n−1)(n−2)) − 2/(n−2)·1ᵀK̃L̃1, K̃ and L̃ with zero diagonals.

    docs/theory.md (41), (42). Its constant factor 1/(n(n−3)) cancels in CKA.
    """
    n = sums.n
    trace = sums.xy.square().sum((-2, -1)) - sums.qu
    totals = (_dot(sums.x, sums.x) - sums.q) * (_dot(sums.y, sums.y) - sums.u)
    rows = _dot(_times(sums.x, sums.xy), sums.y) - _dot(sums.qy, sums.y) - _dot(sums.ux, sums.x) + sums.qu
    return trace + totals / ((n - 1) * (n - 2)) - 2 / (n - 2) * rows


def _times(row: Tensor, matrix: Tensor) -> Tensor:
    return (row[..., None, :] @ matrix)[..., 0, :]


def rsa_of(moments: Moments) -> Value:
    """RSA of the samples behind `moments`, which are of unit rows; see `rsa_with_error`. NaN with n < 3.

    error: cosines are rounded at their own size, and their covariance at the size of its terms; what is left of both
    after the mean is taken away counts. Above 1e-8 the last digits of a value are not to be trusted.
    """
    assert moments.unit, "RSA compares cosines: moments of unit rows are needed"
    if moments.n < 3:
        return _undefined(moments)
    xy, _, _ = _covariance(moments.cross)
    (xx, x_error, x_varies), (yy, y_error, y_varies) = _variance(moments.of_x), _variance(moments.of_y)
    return Value(_correlation(xy, xx, yy, x_varies & y_varies), torch.maximum(x_error, y_error))


def _variance(own: Cross) -> tuple[Tensor, Tensor, Tensor]:
    """Σ_{i≠j} (S_ij − mean)², its relative rounding error, and whether it is more than rounding at its worst."""
    variance, terms, total = _covariance(own)
    pairs, d, shift = own.n * (own.n - 1), own.shift_x.shape[-1], _dot(own.shift_x, own.shift_x)
    square = pairs * (shift + total / pairs).square() + variance
    # A variance below zero is rounding alone.
    error = torch.where(variance > 0, _EPSILON * ((square / variance).sqrt() + terms / variance), torch.inf)
    # Σ p_i² is rounded at the size of what it sums: c_a c_b δ_ia δ_ib, at most ‖c‖²‖δ_i‖² for every row.
    worst = rounding.of_sum(own.n + d) * (terms + 2 * own.n * shift * own.q)
    return variance, error, (variance > worst) & (variance > pairs * rounding.of_cosines(d) ** 2)


def _covariance(sums: Cross) -> tuple[Tensor, Tensor, Tensor]:
    """Σ_{i≠j} S_ij T_ij − (Σ_{i≠j} S_ij)(Σ_{i≠j} T_ij)/(n(n−1)), the sum of its terms' sizes, and Σ_{i≠j} S_ij − ‖c‖².

    Row i is c + δ_i, so S_ij = ‖c‖² + p_i + p_j + δ_i·δ_j with p_i = c·δ_i. The constant drops out of a covariance,
    and so does the cancellation that near-equal cosines would bring. T likewise.
    """
    n, c, e = sums.n, sums.shift_x, sums.shift_y
    p_y = _times(c, sums.xy)  # Σ p_i y_i
    r_x = _times(e, sums.xy.mT)  # Σ r_i x_i
    p, r, pr = _dot(c, sums.x), _dot(e, sums.y), _dot(p_y, e)
    every = sums.xy.square().sum((-2, -1)) + 2 * (n * pr + p * r + _dot(p_y, sums.y) + _dot(r_x, sums.x))
    diagonal = 4 * pr + 2 * _dot(c, sums.ux) + 2 * _dot(e, sums.qy) + sums.qu
    total_x = 2 * (n - 1) * p + _dot(sums.x, sums.x) - sums.q
    total_y = 2 * (n - 1) * r + _dot(sums.y, sums.y) - sums.u
    means = total_x * total_y / (n * (n - 1))
    return every - diagonal - means, every.abs() + diagonal.abs() + means.abs(), total_x


def weight_gap(norms: Tensor, other_norms: Tensor, distances: Tensor) -> Tensor:
    """Mean over layers of ‖w−w'‖_F / (½(‖w‖_F+‖w'‖_F)), range [0, 2]: docs/theory.md (57).

    Layers with two zero norms are left out; NaN where a norm is. All (…, layers), over encoder weights: convolutions,
    linear maps and BN scales; no biases, no projector.
    """
    mean_norm = norms / 2 + other_norms / 2
    counted = mean_norm != 0
    relative = distances / torch.where(counted, mean_norm, 1.0)
    return torch.where(counted, relative, 0.0).sum(-1) / counted.sum(-1)
