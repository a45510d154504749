"""What CKA and RSA are worth by chance: exact mean and variance under random re-pairing of the samples.

A measure is T(π) = Σ_ij ⟨K_ij, L_π(i)π(j)⟩ over samples i, j, divided by norms that no permutation π changes. K_ij is a
number, or with two views a 2 × 2 block, as both views of a sample move together. K is split into the parts that the
permutations of B samples do not mix (irreducible representations of the symmetric group): its means; one vector of
numbers φ_i per sample, from diagonal and row sums; and remainders of zero row sums, symmetric (dimension B(B−3)/2) and
antisymmetric ((B−1)(B−2)/2). Parts are uncorrelated, and within a part Schur's lemma gives
Var Σ_c⟨E^c, πF^c⟩ = Σ_cc' ⟨E^c, E^c'⟩⟨F^c, F^c'⟩ / dimension. For one view this is Mantel's (1967) variance without a
diagonal and Kazi-Aoual et al.'s (1995) with one; for a U-centred K it is 2/(n(n−3)) of the squared norms.
Formulas: docs/theory.md (51) to (53).

Shapes: x (…, V·B, d), view 1 first, V views of B samples. Of one view, sums over the samples are enough.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from coupled.theory.moments import Cross, Moments
from coupled.theory.scale import unit_rows


class Matrix(NamedTuple):
    """K_ab = z_a·z_b + f_a + f_b for rows a ≠ b, K_aa = diagonal_a."""

    z: Tensor  # (…, VB, d)
    f: Tensor  # (…, VB)
    diagonal: Tensor  # (…, VB)


class Chance(NamedTuple):
    """Mean and standard deviation of a measure over all permutations of the samples, both (…)."""

    mean: Tensor
    sd: Tensor


class _Parts(NamedTuple):
    """K in the parts that permutations of samples do not mix; C symmetric components: 1, or 3 for two views."""

    traces: Tensor  # (…, C)
    totals: Tensor  # (…, C)  Σ_{i≠j}
    linear: Tensor  # (…, P, P)  Gram matrix of φ over samples
    symmetric: Tensor  # (…, C, C)  Gram matrix of the remainders
    antisymmetric: Tensor  # (…)  squared norm of the antisymmetric remainder
    square: Tensor  # (…)  ‖K‖²


def chance(measure: str, x: Tensor, y: Tensor, *, views: int = 1) -> Chance:
    """Mean and sd of "cka", "cka_biased" or "rsa" of x (…, VB, d) and y (…, VB, e) over all re-pairings of samples.

    Exact for every data set; NaN below four samples, and where the measure is undefined.
    """
    a, b = (_parts(_MATRICES[measure](side.double()), views) for side in (x, y))
    return _chance(a, b, x.shape[-2] // views)


def chance_of(measure: str, moments: Moments) -> Chance:
    """The same of one view, from sums (38) about the samples' own means: no sample is looked at again.

    "rsa" needs moments of unit rows. All that (52) takes is quadratic in z_i, q_i = ‖z_i‖², p_i = c·z_i (c the mean)
    and 1.
    """
    a, b = (_parts_of(measure, own) for own in (moments.of_x, moments.of_y))
    return _chance(a, b, moments.n)


def _chance(a: _Parts, b: _Parts, B: int) -> Chance:
    if B < 4:
        return Chance(*torch.full((2, *a.square.shape), torch.nan, dtype=torch.float64))
    mean = (a.traces * b.traces).sum(-1) / B + (a.totals * b.totals).sum(-1) / (B * (B - 1))
    variance = (a.linear * b.linear).sum((-2, -1)) / (B - 1)
    variance = variance + 2 * (a.symmetric * b.symmetric).sum((-2, -1)) / (B * (B - 3))
    variance = variance + 2 * a.antisymmetric * b.antisymmetric / ((B - 1) * (B - 2))
    scale = (a.square * b.square).sqrt()
    return Chance(mean / scale, variance.clamp(min=0).sqrt() / scale)


def _biased_cka(x: Tensor) -> Matrix:
    z = x - x.mean(-2, keepdim=True)
    square = z.square().sum(-1)
    return Matrix(z, torch.zeros_like(square), square)


def _debiased_cka(x: Tensor) -> Matrix:
    """The U-centred Gram matrix (Székely & Rizzo 2014): debiased HSIC is the inner product of two of them."""
    z = x - x.mean(-2, keepdim=True)
    n, square = z.shape[-2], z.square().sum(-1)
    # Rows of the zero-diagonal Gram matrix of centred features sum to −‖z_a‖².
    f = square / (n - 2) - square.sum(-1, keepdim=True) / (2 * (n - 1) * (n - 2))
    return Matrix(z, f, torch.zeros_like(f))


def _rsa(x: Tensor) -> Matrix:
    """Cosines minus their off-diagonal mean; about the mean row, as in `coupled.theory.alignment`, nothing cancels."""
    x = unit_rows(x)
    shift = x.mean(-2, keepdim=True)
    z, n = x - shift, x.shape[-2]
    f = (z @ shift.mT)[..., 0] + z.square().sum((-2, -1))[..., None] / (2 * n * (n - 1))
    return Matrix(z, f, torch.zeros_like(f))


_MATRICES = {"cka": _debiased_cka, "cka_biased": _biased_cka, "rsa": _rsa}


def _parts(k: Matrix, views: int) -> _Parts:
    inner, diagonal, rows = _components(k, views)
    B, C = rows.shape[-1], 3 if views == 2 else 1
    totals = rows[..., :C, :].sum(-1)
    means = totals / (B * (B - 1))
    # φ is scaled so that its Gram matrix holds what a part adds to Σ_ij: K_ij = mean + r_i + r_j, or r_i − r_j.
    r = (rows[..., :C, :] - (B - 1) * means[..., None]) / (B - 2) * math.sqrt(2 * (B - 2))
    a = diagonal[..., :C, :] - diagonal[..., :C, :].mean(-1, keepdim=True)
    skew = rows[..., C:, :] / B * math.sqrt(2 * B)
    phi = torch.cat([a, r, skew], -2)
    symmetric = inner[..., :C, :C] - r @ r.mT - B * (B - 1) * means[..., :, None] * means[..., None, :]
    antisymmetric = inner[..., C:, C:].sum((-2, -1)) - skew.square().sum((-2, -1))
    square = inner.diagonal(dim1=-2, dim2=-1).sum(-1) + diagonal.square().sum((-2, -1))
    return _Parts(
        traces=diagonal[..., :C, :].sum(-1),
        totals=totals,
        linear=phi @ phi.mT,
        symmetric=symmetric,
        antisymmetric=antisymmetric,
        square=square,
    )


def _parts_of(measure: str, own: Cross) -> _Parts:
    """`_parts` of one view from sums: numbers of samples are rows of coefficients (…, 3) of q_i, p_i and 1."""
    n, gram = own.n, _gram(own)
    q, one = torch.eye(3, dtype=torch.float64, device=gram.device)[[0, 2]]
    f, diagonal = _COEFFICIENTS[measure](own, q, one)

    def product(u: Tensor, v: Tensor) -> Tensor:
        return (u * (gram @ v[..., None])[..., 0]).sum(-1)

    total = product(one, f)
    raw = q + 2 * f  # z_i·z_i + f_i + f_i, which is not on the diagonal
    # Σ_ij (z_i·z_j + f_i + f_j)²: Σ z_i is 0.
    inner = own.xy.square().sum((-2, -1)) + 2 * n * product(f, f) + 2 * total.square() - product(raw, raw)
    rows = (n - 2) * f + total[..., None] * one - q
    totals = product(one, rows)
    mean = totals / (n * (n - 1))
    r = (rows - (n - 1) * mean[..., None] * one) / (n - 2) * math.sqrt(2 * (n - 2))
    a = diagonal - product(one, diagonal)[..., None] / n * one
    linear = torch.stack([product(u, v) for u in (a, r) for v in (a, r)], -1).unflatten(-1, (2, 2))
    symmetric = inner - product(r, r) - n * (n - 1) * mean.square()
    return _Parts(
        traces=product(one, diagonal)[..., None],
        totals=totals[..., None],
        linear=linear,
        symmetric=symmetric[..., None, None],
        antisymmetric=torch.zeros_like(symmetric),
        square=inner + product(diagonal, diagonal),
    )


def _gram(own: Cross) -> Tensor:
    """Σ_i of all products of q_i, p_i and 1: (…, 3, 3)."""
    c = own.shift_x
    along = (own.xy @ c[..., None])[..., 0]
    qp, pp, p = ((side * c).sum(-1) for side in (own.ux, along, own.x))
    rows = (own.qu, qp, own.q, qp, pp, p, own.q, p, torch.full_like(p, own.n))
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


def _of_debiased_cka(own: Cross, q: Tensor, one: Tensor) -> tuple[Tensor, Tensor]:
    n = own.n
    return q / (n - 2) - own.q[..., None] / (2 * (n - 1) * (n - 2)) * one, torch.zeros_like(one)


def _of_biased_cka(own: Cross, q: Tensor, one: Tensor) -> tuple[Tensor, Tensor]:
    return torch.zeros_like(one), q


def _of_rsa(own: Cross, q: Tensor, one: Tensor) -> tuple[Tensor, Tensor]:
    p = 1 - q - one
    return p + own.q[..., None] / (2 * own.n * (own.n - 1)) * one, torch.zeros_like(one)


# f_i and K_ii of docs/theory.md (53), as `_MATRICES` has them by sample.
_COEFFICIENTS = {"cka": _of_debiased_cka, "cka_biased": _of_biased_cka, "rsa": _of_rsa}


def _components(k: Matrix, views: int) -> tuple[Tensor, Tensor, Tensor]:
    """Gram matrix (…, C, C) off the diagonal, diagonals (…, C, B), off-diagonal row sums (…, C, B) of K's components.

    One view: K itself. Two: K¹¹, K²², (K¹²+K²¹)/√2, which are symmetric over samples, and (K¹²−K²¹)/√2, which is not.
    """
    one = torch.ones_like(k.f)
    # K^vw = left_v right_wᵀ: the two last columns carry f_a + f_b.
    left, right = (_by_view(torch.cat([k.z, torch.stack(last, -1)], -1), views) for last in ([k.f, one], [one, k.f]))
    lefts, rights = (_between_views(t) for t in (left, right))
    inner = torch.einsum("...acij,...bdij->...abcd", lefts, rights).flatten(-4, -3).flatten(-2, -1)
    diagonal = torch.einsum("...vbk,...wbk->...vwb", left, right)
    rows = torch.einsum("...vbk,...wk->...vwb", left, right.sum(-2)) - diagonal
    flat = diagonal.flatten(-3, -2)
    inner = inner - flat @ flat.mT
    own = _by_view(k.diagonal[..., None], views)[..., 0]
    same = torch.eye(views, dtype=torch.bool, device=own.device)[..., None]
    flat = torch.where(same, own[..., :, None, :], diagonal).flatten(-3, -2)
    mix = _MIX[views].to(own)
    return mix @ inner @ mix.T, mix @ flat, mix @ rows.flatten(-3, -2)


def _between_views(rows: Tensor) -> Tensor:
    """rows_vᵀ rows_w (…, V, V, k, k) of rows (…, V, B, k), as one product."""
    side_by_side = rows.transpose(-3, -2).flatten(-2)
    shape = (rows.shape[-3], rows.shape[-1]) * 2
    return (side_by_side.mT @ side_by_side).unflatten(-1, shape[:2]).unflatten(-3, shape[:2]).transpose(-3, -2)


_HALF = math.sqrt(0.5)
_MIX = {
    1: torch.ones(1, 1),
    2: torch.tensor([[1, 0, 0, 0], [0, 0, 0, 1], [0, _HALF, _HALF, 0], [0, _HALF, -_HALF, 0]], dtype=torch.float64),
}


def _by_view(rows: Tensor, views: int) -> Tensor:
    return rows.unflatten(-2, (views, -1))
