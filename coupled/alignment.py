"""Linear CKA, RSA and the weight gap: the formulas that training's display and the analysis both need.

Shapes: x (…, n, d) and y (…, n, d'): n samples of two representations, leading axes are batched (steps, say).
Everything runs in float64 from d×d' moments: no n×n matrix is formed.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

# A hundred float64 roundings: what is smaller than this, relative to its terms, is not a measurement.
_ROUNDING = 1e-14


def linear_cka(x: Tensor, y: Tensor, *, debiased: bool = True) -> Tensor:
    """Linear centred kernel alignment of x (…, n, d) and y (…, n, d'), float64 (…).

    debiased: HSIC of Song et al. 2012, range [−1, 1], negative is legal, n ≥ 4. biased: Kornblith et al. 2019, range
    [0, 1]. NaN where a representation is constant over samples (0/0), so that it cannot pass for a value.
    """
    assert x.shape[-2] == y.shape[-2] and (x.shape[-2] >= 4 or not debiased), (x.shape, y.shape)
    # HSIC is translation-invariant; centred features keep the sums small enough for float64.
    (x, x_varies), (y, y_varies) = _centred(x), _centred(y)
    hsic = _debiased_hsic if debiased else _biased_hsic
    xy, xx, yy = hsic(x, y), hsic(x, x), hsic(y, y)
    # Equal off-diagonals (a simplex, say) leave a debiased HSIC of nothing but the rounding of its terms.
    x_varies = x_varies & (xx > _ROUNDING * _biased_hsic(x, x))
    y_varies = y_varies & (yy > _ROUNDING * _biased_hsic(y, y))
    return _correlation(xy, xx, yy, x_varies & y_varies)


def _centred(x: Tensor) -> tuple[Tensor, Tensor]:
    """x minus its mean over samples, float64, and whether more than rounding is left (…)."""
    x = x.double()
    centred = x - x.mean(-2, keepdim=True)
    return centred, centred.square().sum((-2, -1)) > _ROUNDING**2 * x.square().sum((-2, -1))


def _correlation(xy: Tensor, xx: Tensor, yy: Tensor, defined: Tensor) -> Tensor:
    """xy/√(xx·yy) where defined, else NaN."""
    one = torch.ones_like(xx)
    scale = torch.where(defined, xx, one).sqrt() * torch.where(defined, yy, one).sqrt()
    return torch.where(defined, xy / scale, torch.nan)


def _biased_hsic(x: Tensor, y: Tensor) -> Tensor:
    return (x.mT @ y).square().sum((-2, -1))


def _debiased_hsic(x: Tensor, y: Tensor) -> Tensor:
    """tr(K̃L̃) + (1ᵀK̃1)(1ᵀL̃1)/((n−1)(n−2)) − 2/(n−2)·1ᵀK̃L̃1, K̃ and L̃ with zero diagonals, for centred x and y.

    Its constant factor 1/(n(n−3)) cancels in CKA. Centred: K1 = L1 = 0, so 1ᵀK̃1 = −Σq and K̃1 = −q.
    """
    n = x.shape[-2]
    q, u = x.square().sum(-1), y.square().sum(-1)
    diagonal = (q * u).sum(-1)
    trace = (x.mT @ y).square().sum((-2, -1)) - diagonal
    return trace + q.sum(-1) * u.sum(-1) / ((n - 1) * (n - 2)) - 2 / (n - 2) * diagonal


def rsa(x: Tensor, y: Tensor, *, comparison: str = "pearson") -> Tensor:
    """Representational similarity: Pearson correlation of the two cosine-similarity matrices' off-diagonal entries.

    x (…, n, d), y (…, n, d'), float64 (…), range [−1, 1]; 1 − cosine as dissimilarity gives the same value (P2). From
    moments, exact in O(n d d'). A zero row has similarity 0 with every other. NaN where all entries are equal.
    """
    assert comparison == "pearson", comparison
    assert x.shape[-2] == y.shape[-2] >= 3, (x.shape, y.shape)
    n = x.shape[-2]
    x, y = (F.normalize(t.double(), dim=-1, eps=1e-300) for t in (x, y))
    xy, xx, yy = _covariance(x, y, n), _covariance(x, x, n), _covariance(y, y, n)
    # Entries are cosines, of order 1: a variance below this is the rounding of equal entries.
    noise = n * (n - 1) * _ROUNDING
    return _correlation(xy, xx, yy, (xx > noise) & (yy > noise))


def _covariance(x: Tensor, y: Tensor, n: int) -> Tensor:
    """Σ_{i≠j} S_ij T_ij − (Σ_{i≠j} S_ij)(Σ_{i≠j} T_ij)/(n(n−1)) of S = x xᵀ, T = y yᵀ with unit (or zero) rows."""
    q, u = x.square().sum(-1), y.square().sum(-1)
    products = (x.mT @ y).square().sum((-2, -1)) - (q * u).sum(-1)
    sums = [t.sum(-2).square().sum(-1) - t.square().sum((-2, -1)) for t in (x, y)]
    return products - sums[0] * sums[1] / (n * (n - 1))


def weight_gap(norms: Tensor, other_norms: Tensor, distances: Tensor) -> Tensor:
    """Mean over layers of ‖w−w'‖_F / (½(‖w‖_F+‖w'‖_F)), range [0, 2] (P2's code).

    Layers with two zero norms are left out. All (…, layers), over encoder weights: convolutions, linear maps and BN
    scales; no biases, no projector.
    """
    mean_norm = (norms + other_norms) / 2
    counted = mean_norm > 0
    relative = distances / torch.where(counted, mean_norm, 1.0)
    return torch.where(counted, relative, 0.0).sum(-1) / counted.sum(-1)
