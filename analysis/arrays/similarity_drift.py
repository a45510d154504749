"""How far two similarity matrices are apart, from moments: no n × n matrix, and no cancellation for near-equal ones.

Shapes: x and y (…, n, d) are rows of Σ_x = x xᵀ and Σ_y = y yᵀ as given; they are not normalised here.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from coupled.theory import rounding
from coupled.theory.scale import exponent, largest, shifted


class SimilarityDrift(NamedTuple):
    """docs/theory.md (18), (32), (33): each float64 (…) or a number; NaN where a norm below is 0."""

    drift: Tensor  # ‖Σ_x − Σ_y‖_F, in [0, ∞)
    rho: Tensor  # ‖K_x − K_y‖_F / ‖K_x‖_F, K = HΣH
    rho_star: Tensor  # the same over the larger of ‖K_x‖_F and ‖K_y‖_F
    r: Tensor  # ‖b − a‖/‖a‖, a and b the strict upper triangles of the RDMs 1 − Σ, each minus its mean
    r_star: Tensor  # the same over the larger of ‖a‖ and ‖b‖


def similarity_drift(x: Tensor, y: Tensor) -> SimilarityDrift:
    """See `analysis.similarity_drift`. Columns that one side lacks count as zeros."""
    width = max(x.shape[-1], y.shape[-1])
    x, y = (F.pad(t.double(), (0, width - t.shape[-1])) for t in (x, y))
    # Σ is compared at the size of the larger side, but each norm is taken at its own: Σ grows with twice the exponent.
    sizes = largest(x), largest(y)
    own, both = [exponent(size) for size in sizes], exponent(torch.maximum(*sizes))
    norms = [_own_norms(_sized(t, e)) for t, e in zip((x, y), own, strict=True)]
    x, y = _sized(x, both), _sized(y, both)
    # With M = (x + y)/2 and D = x − y, Σ_x − Σ_y = MDᵀ + DMᵀ: differences are taken before anything is squared.
    drift, centred, off_diagonal = _norms((x + y) / 2, x - y)
    k, a = ([_unless_rounding(norm[i], norm[0], x.shape[-2]) for norm in norms] for i in (1, 2))

    def relative(distance: Tensor, norms: list[Tensor]) -> tuple[Tensor, Tensor]:
        larger = torch.maximum(*(shifted(norm, 2 * (e - both)) for norm, e in zip(norms, own, strict=True)))
        return shifted(distance / norms[0], 2 * (both - own[0])), distance / larger

    return SimilarityDrift(shifted(drift, 2 * both), *relative(centred, k), *relative(off_diagonal, a))


def _sized(x: Tensor, e: Tensor) -> Tensor:
    return shifted(x, -e[..., None, None])


def _unless_rounding(norm: Tensor, whole: Tensor, n: int) -> Tensor:
    return torch.where(norm > rounding.of_sum(n) * whole, norm, torch.nan)


def _norms(m: Tensor, d: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of S = m dᵀ + d mᵀ: ‖S‖_F, ‖HSH‖_F, and the norm of its strict upper triangle minus its mean.

    With means c and e and centred rows μ and η: S_ij = 2c·e + g_i + g_j + W_ij, g_i = c·η_i + e·μ_i, W = μηᵀ + ημᵀ. The
    rows of W and g sum to zero, so that the three parts are orthogonal and their squares add.
    """
    n = m.shape[-2]
    c, e = m.mean(-2, keepdim=True), d.mean(-2, keepdim=True)
    mu, eta = m - c, d - e
    g = (mu @ e.mT + eta @ c.mT)[..., 0]
    product = eta.mT @ mu
    w = 2 * ((mu.mT @ mu) * (eta.mT @ eta)).sum((-2, -1)) + 2 * (product * product.mT).sum((-2, -1))
    linear, constant = 2 * n * g.square().sum(-1), (2 * n * (c * e).sum((-2, -1))).square()
    diagonal = 2 * (g + (mu * eta).sum(-1))
    return _joined(n, constant, linear, w, diagonal=diagonal, least=rounding.of_sum(n) * (linear + w))


def _own_norms(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The same of S = x xᵀ, with a third of the products."""
    n, c = x.shape[-2], x.mean(-2, keepdim=True)
    mu = x - c
    g, squares = (mu @ c.mT)[..., 0], mu.square().sum(-1)
    w = (mu.mT @ mu).square().sum((-2, -1))
    linear, constant = 2 * n * g.square().sum(-1), (n * c.square().sum((-2, -1))).square()
    diagonal = 2 * g + squares
    # Also where g_i is 0 in truth it is rounded, at the size of ‖c‖‖μ_i‖, and as c is: ‖c‖². So is what it multiplies.
    shift = c.norm(dim=(-2, -1))
    size = shift * (squares.sum(-1).sqrt() + math.sqrt(n) * shift)
    terms = linear + w + 4 * size * (n * g.norm(dim=-1) + diagonal.norm(dim=-1))
    return _joined(n, constant, linear, w, diagonal=diagonal, least=rounding.of_sum(n + x.shape[-1]) * terms)


def _joined(
    n: int, constant: Tensor, linear: Tensor, w: Tensor, *, diagonal: Tensor, least: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The three norms from the squares of the parts, and S's diagonal less its constant (…, n).

    The square of the third is 0 where it is no more than `least`, its rounding: a simplex has no spread.
    """
    off = linear + w - diagonal.square().sum(-1) - diagonal.sum(-1).square() / (n * (n - 1))
    off = torch.where(off <= least, 0.0, off)
    return (constant + linear + w).clamp(min=0).sqrt(), w.clamp(min=0).sqrt(), (off / 2).sqrt()
