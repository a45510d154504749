"""Alignment measures that need more than sums over samples: Spearman RSA, neighbours in common, Procrustes distance.

Each prepares the two representations apart and then compares what it prepared, so that pairing the samples anew
(`reorder`) costs no second preparation.

Shapes: x (…, n, d), float64. Everything is batched over leading axes and NaN where undefined.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

_CHUNK_NUMBERS = 4 << 20  # similarities of neighbour candidates held at a time: 32 MiB
_NOISE = 1e-14  # a spread of cosines below this is rounding


class Pairwise(NamedTuple):
    """A measure in three steps; `reorder(prepared, rows)` is what `prepare(x[rows])` would give."""

    prepare: Callable[[Tensor], Tensor]
    reorder: Callable[[Tensor, Tensor], Tensor]
    compare: Callable[[Tensor, Tensor], Tensor]


def spearman() -> Pairwise:
    """Rank correlation of the two cosine-similarity matrices' off-diagonal entries; ties get their average rank."""

    def prepare(x: Tensor) -> Tensor:
        """Ranks minus their mean over their norm, (…, n, n) with zero diagonal."""
        unit, n = F.normalize(x, dim=-1, eps=1e-300), x.shape[-2]
        i, j = torch.triu_indices(n, n, 1, device=x.device)
        entries = (unit @ unit.mT).flatten(-2).index_select(-1, i * n + j)
        centred = _average_ranks(entries) - (len(i) - 1) / 2
        spread = entries.amax(-1) - entries.amin(-1) > _NOISE
        norm = torch.where(spread, centred.square().sum(-1).sqrt(), torch.nan)
        ranks = x.new_zeros((*x.shape[:-2], n * n)).index_copy_(-1, i * n + j, centred / norm[..., None])
        ranks = ranks.unflatten(-1, (n, n))
        return ranks + ranks.mT

    def reorder(ranks: Tensor, rows: Tensor) -> Tensor:
        return ranks[..., rows[:, None], rows]

    return Pairwise(prepare, reorder, lambda a, b: (a * b).sum((-2, -1)) / 2)


def _average_ranks(entries: Tensor) -> Tensor:
    """Ranks from 0 along the last axis; equal entries share the mean of theirs."""
    ordered, order = entries.sort(-1)
    at = torch.arange(entries.shape[-1], dtype=torch.float64, device=entries.device)
    change = ordered[..., 1:] != ordered[..., :-1]
    edge = torch.ones_like(change[..., :1])
    first = torch.where(torch.cat([edge, change], -1), at, 0.0).cummax(-1).values
    last = torch.where(torch.cat([change, edge], -1), at, torch.inf).flip(-1).cummin(-1).values.flip(-1)
    return torch.empty_like(entries).scatter_(-1, order, (first + last) / 2)


def knn_overlap(k: int) -> Pairwise:
    """The share of a sample's k nearest others by cosine that are the same in both, mean over samples."""

    def prepare(x: Tensor) -> Tensor:
        """The neighbours of every row in the order of their index, (…, n, k); −1 where x is not finite."""
        finite = x.isfinite().all(-1).all(-1)[..., None, None]
        unit, n = F.normalize(torch.where(finite, x, 0.0), dim=-1, eps=1e-300), x.shape[-2]
        size = max(1, _CHUNK_NUMBERS // max(1, math.prod(x.shape[:-2]) * n))
        found = [_nearest(unit, torch.arange(i, min(i + size, n), device=x.device), k) for i in range(0, n, size)]
        return torch.where(finite, torch.cat(found, -2), -1)

    def reorder(neighbours: Tensor, rows: Tensor) -> Tensor:
        # Index j is now where rows holds it.
        return torch.where(neighbours < 0, -1, rows.argsort()[neighbours[..., rows, :].clamp(min=0)])

    def compare(a: Tensor, b: Tensor) -> Tensor:
        same = (a[..., :, None] == b[..., None, :]).flatten(-3).double().sum(-1)
        known = ((a >= 0) & (b >= 0)).flatten(-2).all(-1)
        return torch.where(known, same / (a.shape[-2] * k), torch.nan)

    return Pairwise(prepare, reorder, compare)


def _nearest(unit: Tensor, rows: Tensor, k: int) -> Tensor:
    """The k nearest others of some rows; of equally near ones those of the lowest index."""
    near = unit[..., rows, :] @ unit.mT
    near[..., torch.arange(len(rows), device=rows.device), rows] = -torch.inf
    last = near.topk(k, dim=-1).values[..., -1:]
    above, tied = near > last, near == last
    taken = above | (tied & (tied.cumsum(-1) <= k - above.sum(-1, keepdim=True)))
    return taken.nonzero()[:, -1].view(*taken.shape[:-1], k)


def procrustes() -> Pairwise:
    """The least ‖XQ − Y‖_F over orthogonal Q of centred X and Y of unit Frobenius norm."""

    def prepare(x: Tensor) -> Tensor:
        centred = x - x.mean(-2, keepdim=True)
        norm = centred.square().sum((-2, -1))
        varies = norm > _NOISE**2 * x.square().sum((-2, -1))
        return centred / torch.where(varies, norm.sqrt(), torch.nan)[..., None, None]

    def compare(x: Tensor, y: Tensor) -> Tensor:
        if x.shape[-1] < y.shape[-1]:
            x, y = y, x
        product = x.mT @ y
        defined = product.isfinite().all(-1).all(-1)
        left, _, right = torch.linalg.svd(torch.where(defined[..., None, None], product, 0.0), full_matrices=False)
        turned = x @ (left @ right)
        # 2 − 2‖XᵀY‖_* without its cancellation at small distances; the last two terms are what y has no axes for.
        square = (turned - y).square().sum((-2, -1)) + x.square().sum((-2, -1)) - turned.square().sum((-2, -1))
        return torch.where(defined, square.clamp(min=0).sqrt(), torch.nan)

    return Pairwise(prepare, lambda x, rows: x[..., rows, :], compare)
