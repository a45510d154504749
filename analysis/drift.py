"""How far two similarity matrices are apart, from moments: no n × n matrix, and no cancellation for near-equal ones.

Shapes: x and y (…, n, d) are rows of Σ_x = x xᵀ and Σ_y = y yᵀ as given; they are not normalised here.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

# A hundred float64 roundings: a norm below this, relative to its terms, is not a measurement.
_ROUNDING = 1e-14


class SimilarityDrift(NamedTuple):
    """Distances of similarity matrices (theory: §5), each float64 (…) or a number; NaN where a norm below is 0."""

    drift: Tensor  # ‖Σ_x − Σ_y‖_F, in [0, ∞)
    rho: Tensor  # ‖K_x − K_y‖_F / ‖K_x‖_F, K = HΣH
    rho_star: Tensor  # the same over the larger of ‖K_x‖_F and ‖K_y‖_F
    r: Tensor  # ‖b − a‖/‖a‖, a and b the strict upper triangles of the RDMs 1 − Σ, each minus its mean
    r_star: Tensor  # the same over the larger of ‖a‖ and ‖b‖


def similarity_drift(x: Tensor, y: Tensor) -> SimilarityDrift:
    """See `analysis.similarity_drift`. Columns that one side lacks count as zeros."""
    width = max(x.shape[-1], y.shape[-1])
    x, y = (F.pad(t.double(), (0, width - t.shape[-1])) for t in (x, y))
    # With M = (x + y)/2 and D = x − y, Σ_x − Σ_y = MDᵀ + DMᵀ: differences are taken before anything is squared.
    drift, centred, off_diagonal = _norms((x + y) / 2, x - y)
    own = [_own_norms(t) for t in (x, y)]
    k, a = ([_unless_rounding(norms[i], norms[0]) for norms in own] for i in (1, 2))
    return SimilarityDrift(
        drift, centred / k[0], centred / torch.maximum(*k), off_diagonal / a[0], off_diagonal / torch.maximum(*a)
    )


def unit_rows(z: Tensor) -> Tensor:
    """Rows of norm 1 in float64; a zero row stays zero."""
    return F.normalize(z.double(), dim=-1, eps=1e-300)


def _unless_rounding(norm: Tensor, whole: Tensor) -> Tensor:
    return torch.where(norm > _ROUNDING * whole, norm, torch.nan)


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
    return _joined(n, constant, linear, w, 2 * (g + (mu * eta).sum(-1)))


def _own_norms(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The same of S = x xᵀ, with a third of the products."""
    n, c = x.shape[-2], x.mean(-2, keepdim=True)
    mu = x - c
    g = (mu @ c.mT)[..., 0]
    w = (mu.mT @ mu).square().sum((-2, -1))
    linear, constant = 2 * n * g.square().sum(-1), (n * c.square().sum((-2, -1))).square()
    return _joined(n, constant, linear, w, 2 * g + mu.square().sum(-1))


def _joined(n: int, constant: Tensor, linear: Tensor, w: Tensor, diagonal: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The three norms from the squares of the parts, and S's diagonal less its constant (…, n)."""
    off = linear + w - diagonal.square().sum(-1) - diagonal.sum(-1).square() / (n * (n - 1))
    # A hundred roundings of its terms are no spread: a simplex has none.
    off = torch.where(off <= _ROUNDING * (linear + w), 0.0, off)
    return (constant + linear + w).clamp(min=0).sqrt(), w.clamp(min=0).sqrt(), (off / 2).sqrt()
