"""Alignment measures that need more than sums over samples: Spearman RSA, neighbours in common, Procrustes distance.

Each prepares the two representations apart and then compares what it prepared, so that pairing the samples anew
(`reorder`) costs no second preparation.

Cosines that differ by less than their rounding are equal (`coupled.theory.rounding`).

Shapes: x (…, n, d), in the precision it was given in, which says how far it is rounded. All is computed in float64,
batched over leading axes, and NaN where undefined.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from analysis.arrays.turning import nearest_turn
from coupled.theory import rounding
from coupled.theory.scale import scaled, unit_rows

_CHUNK_NUMBERS = 4 << 20  # similarities of neighbour candidates held at a time: 32 MiB


class Pairwise(NamedTuple):
    """A measure in three steps; `reorder(prepared, rows)` is what `prepare(x[rows])` would give."""

    prepare: Callable[[Tensor], Any]
    reorder: Callable[[Any, Tensor], Any]
    compare: Callable[[Any, Any], Tensor]


def spearman() -> Pairwise:
    """Rank correlation of the two cosine-similarity matrices' off-diagonal entries; ties get their average rank.

    docs/theory.md (45).
    """

    def prepare(x: Tensor) -> Tensor:
        """Ranks minus their mean over their norm, (…, n, n) with zero diagonal."""
        unit, n = unit_rows(x), x.shape[-2]
        i, j = torch.triu_indices(n, n, 1, device=x.device)
        entries = (unit @ unit.mT).flatten(-2).index_select(-1, i * n + j)
        centred = _ranks(entries, partial(rounding.tie, d=x.shape[-1], given=x.dtype))
        norm = centred.square().sum(-1).sqrt()
        defined = (norm > 0) & entries.isfinite().all(-1)
        norm = torch.where(defined, norm, torch.nan)
        ranks = entries.new_zeros((*x.shape[:-2], n * n)).index_copy_(-1, i * n + j, centred / norm[..., None])
        ranks = ranks.unflatten(-1, (n, n))
        return ranks + ranks.mT

    def reorder(ranks: Tensor, rows: Tensor) -> Tensor:
        return ranks[..., rows[:, None], rows]

    return Pairwise(prepare, reorder, lambda a, b: (a * b).sum((-2, -1)) / 2)


Width = Callable[[Tensor], Tensor]  # how far from each of some similarities those lie that equal it


def _ranks(entries: Tensor, width: Width) -> Tensor:
    """Average ranks along the last axis, minus their mean; entries within `width` of each other are equal.

    The rank of an entry is how many are below it and half of how many equal it. Where equal ones form groups that is
    the average rank of the group. It needs no groups, though: in a long run of entries, each close to the next, every
    one is compared with those close to itself, so that the two ends of the run are told apart.
    """
    ordered, order = entries.sort(-1)
    ranks = torch.arange(entries.shape[-1], dtype=torch.float64, device=entries.device).expand_as(entries)
    apart = width(ordered)
    if (ordered.diff() <= apart[..., 1:]).any():
        below = torch.searchsorted(ordered, ordered - apart)
        up_to = torch.searchsorted(ordered, ordered + apart, right=True)
        ranks = (below + up_to).double() / 2
    return torch.empty_like(entries).scatter_(-1, order, ranks - ranks.mean(-1, keepdim=True))


class Neighbours(NamedTuple):
    """The k nearest others of every row, and the rows among which they were looked for."""

    nearest: Tensor  # (…, n, k) indices, ascending; −1 where undefined
    unit: Tensor  # (…, n, d) rows of norm 1
    width: Width
    tied: bool  # for some row the order of equally near ones decided


def knn_overlap(k: int) -> Pairwise:
    """The share of a sample's k nearest others by cosine that are the same in both, mean over samples.

    NaN where all cosines of a representation are equal: then there is no nearest. docs/theory.md (46).
    """

    def prepare(x: Tensor) -> Neighbours:
        finite = x.isfinite().all(-1).all(-1)[..., None, None]
        # Rows of zeros are all equally near: undefined as well.
        return _neighbours(
            unit_rows(torch.where(finite, x, 0.0)), k, partial(rounding.tie, d=x.shape[-1], given=x.dtype)
        )

    def reorder(of: Neighbours, rows: Tensor) -> Neighbours:
        if of.tied:
            return _neighbours(of.unit[..., rows, :], k, of.width)
        # Index j is now where rows holds it.
        rows = rows.to(of.nearest.device)
        index = rows.argsort()[of.nearest[..., rows, :].clamp(min=0)].sort(-1).values
        return of._replace(nearest=torch.where(of.nearest < 0, -1, index), unit=of.unit[..., rows, :])

    def compare(a: Neighbours, b: Neighbours) -> Tensor:
        same = (a.nearest[..., :, None] == b.nearest[..., None, :]).flatten(-3).double().sum(-1)
        known = ((a.nearest >= 0) & (b.nearest >= 0)).flatten(-2).all(-1)
        return torch.where(known, same / (a.nearest.shape[-2] * k), torch.nan)

    return Pairwise(prepare, reorder, compare)


def _neighbours(unit: Tensor, k: int, width: Width) -> Neighbours:
    n = unit.shape[-2]
    size = max(1, _CHUNK_NUMBERS // max(1, math.prod(unit.shape[:-2]) * n))
    parts = [_nearest(unit, torch.arange(i, min(i + size, n), device=unit.device), k, width) for i in range(0, n, size)]
    index, least, most, tied = (torch.cat(column, -1) for column in zip(*parts, strict=True))
    least, most = least.amin(-1), most.amax(-1)
    some = most - least > torch.maximum(width(least), width(most))
    index = torch.where(some[..., None, None], index.mT, -1)
    return Neighbours(index, unit, width, bool(tied.any()))


def _nearest(unit: Tensor, rows: Tensor, k: int, width: Width) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of some rows: the k nearest others (…, k, rows), of equally near ones those of the lowest index; least and most
    similarity to another, and whether there were more equally near ones than were taken, (…, rows)."""
    near = unit[..., rows, :] @ unit.mT
    least = near.amin(-1)  # no row is less similar to itself than to another
    near[..., torch.arange(len(rows), device=rows.device), rows] = -torch.inf
    last = near.topk(k, dim=-1).values[..., -1:]
    apart = width(last)
    above = near > last + apart
    tied = (near >= last - apart) & ~above
    wanted = k - above.sum(-1, keepdim=True)
    count = tied.cumsum(-1)
    taken = above | (tied & (count <= wanted))
    index = taken.nonzero()[:, -1].view(*taken.shape[:-1], k)
    return index.mT, least, near.amax(-1), count[..., -1] > wanted[..., 0]


def procrustes() -> Pairwise:
    """The least ‖XQ − Y‖_F over orthogonal Q of centred X and Y of unit Frobenius norm: docs/theory.md (47)."""

    def prepare(x: Tensor) -> Tensor:
        x = scaled(x.double())
        centred = x - x.mean(-2, keepdim=True)
        norm = centred.square().sum((-2, -1))
        varies = norm > rounding.of_sum(x.shape[-2]) ** 2 * x.square().sum((-2, -1))
        return centred / torch.where(varies, norm.sqrt(), torch.nan)[..., None, None]

    def compare(x: Tensor, y: Tensor) -> Tensor:
        if x.shape[-1] < y.shape[-1]:
            x, y = y, x
        product = x.mT @ y
        defined = product.isfinite().all(-1).all(-1)
        turn = nearest_turn(torch.where(defined[..., None, None], product, 0.0))
        turned = x @ turn
        # 2 − 2‖XᵀY‖_* without its cancellation at small distances: what is left beside y, and what y has no axes for.
        square = (turned - y).square().sum((-2, -1)) + (x - turned @ turn.mT).square().sum((-2, -1))
        return torch.where(defined, square.sqrt(), torch.nan)

    return Pairwise(prepare, lambda x, rows: x[..., rows, :], compare)
