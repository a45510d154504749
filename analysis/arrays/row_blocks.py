"""Σ = z zᵀ of all samples of a split, reduced in blocks of rows: the matrix itself is never in memory.

Samples are sorted by class, so that the columns of a row's class are one slice in each view, and no mask is needed.
Products and exponentials have z's precision, sums and all that comes of them is float64.

Shapes: z (A, d), A = 2n anchors, view 1 of every sample first; labels (n,); a block (R, 2, n): rows by views by
samples. Sets N_i, N_i⁻, S_i: objectives/masks.py.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Final

import torch
from torch import Tensor

_BLOCK_BYTES: Final = 4 << 20  # larger blocks leave the processor's cache
_LEAST_ROWS: Final = 32  # with fewer the products are slow
_ADDED: Final = 16  # numbers that are added in z's precision


@dataclass(frozen=True)
class Rows:
    """Reductions of the row of Σ/τ of every anchor, float64 (A,), and counts, int64 (A,).

    positive: s_ip/τ. others, same, different: log Σ e^{s/τ} over N_i, S_i and N_i⁻, each summed by itself; −∞ over an
    empty set. highest: the largest s/τ of S_i, −∞ where it is empty. same_total, different_total: Σ s/τ over S_i and
    N_i⁻. same_count, different_count: |S_i|, |N_i⁻|.
    """

    positive: Tensor
    others: Tensor
    same: Tensor
    different: Tensor
    highest: Tensor
    same_total: Tensor
    different_total: Tensor
    same_count: Tensor
    different_count: Tensor


@torch.no_grad()
def reduce_rows(z: Tensor, labels: Tensor, temperature: float) -> Rows:
    """The rows of z (2n, d), used as given (not re-normalised), for labels int (n,), n ≥ 2: docs/theory.md (81), (82).

    O(n² d) time: a second or two for n = 10 000 and d = 64 in float32. In memory are z sorted, in its own precision
    (float32 or better), and a block of rows.
    """
    assert z.ndim == 2 and len(z) == 2 * len(labels) >= 4, (z.shape, labels.shape)
    by_class = _ByClass(z if z.dtype.itemsize >= 4 else z.float(), labels, temperature)
    values = z.new_empty(len(fields(Rows)), len(z), dtype=torch.float64)
    places = by_class.order.split(by_class.starts.step)
    for view in (0, 1):
        for first, samples in zip(by_class.starts, places, strict=True):
            # Each block's into their place: kept apart till the end, they would leave holes in the memory of blocks.
            values[:, view * len(labels) + samples] = by_class.reduced(view, first)
    floats, counts = values[:-2], values[-2:].long()
    return Rows(*floats, *counts)


def joined(parts: Sequence[Rows]) -> Rows:
    """The anchors of several matrices, one after the other."""
    return Rows(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(Rows)))


class _ByClass:
    """The samples sorted by class, and what of them every block needs."""

    def __init__(self, z: Tensor, labels: Tensor, temperature: float) -> None:
        labels = labels.to(z.device)
        self.order, self._temperature = labels.argsort(stable=True), temperature
        # (2, n, d), samples of one class side by side.
        self._views = torch.stack([view[self.order] for view in z.chunk(2)])
        self._own, sizes = torch.unique_consecutive(labels[self.order], return_inverse=True, return_counts=True)[1:]
        self._sizes, self._ends = sizes, sizes.cumsum(0).tolist()
        sums = z.new_zeros((len(sizes), z.shape[1]), dtype=torch.float64)
        for view in self._views:
            sums.index_add_(0, self._own, view.double())
        self._sums = sums
        n = len(labels)
        self._size = min(n, max(_LEAST_ROWS, _BLOCK_BYTES // (len(z) * z.dtype.itemsize)))
        self._buffer = z.new_empty(self._size, len(z))
        self.starts = range(0, n, self._size)

    def reduced(self, view: int, first: int) -> Tensor:
        """The fields of `Rows`, float64 (9, R), of a block of samples in one view."""
        last = min(first + self._size, self._views.shape[1])
        block = self._logits(view, first, last)
        same, highest = (block.new_full((last - first,), -torch.inf, dtype=torch.float64) for _ in range(2))
        for rows, columns in self._classes(first, last):
            highest[rows] = block[rows, :, columns].amax((1, 2)).double()
        top = block.flatten(1).amax(1)
        block.sub_(top[:, None, None]).exp_()
        others = _sum(block)
        for rows, columns in self._classes(first, last):
            same[rows] = _sum(block[rows, :, columns])
            block[rows, :, columns] = 0
        different = _sum(block)
        positive, same_total, different_total, counts = self._totals(view, first, last)
        # A sum of terms far below the top of its row has lost digits, or all of itself.
        least = torch.finfo(block.dtype).tiny ** 0.5
        far = ((same < least) & (counts[0] > 0)) | ((different < least) & (counts[1] > 0))
        others, same, different = (total.log() + top.double() for total in (others, same, different))
        if far.any():
            same, different = self._apart(view, first, last)
        return torch.stack([positive, others, same, different, highest, same_total, different_total, *counts.double()])

    def _logits(self, view: int, first: int, last: int) -> Tensor:
        """The block of Σ/τ, (R, 2, n), −∞ for the sample's own two views."""
        columns = self._views.flatten(0, 1)
        rows = self._views[view, first:last] / self._temperature
        block = torch.mm(rows, columns.T, out=self._buffer[: last - first]).unflatten(1, (2, -1))
        block[:, :, first:last].diagonal(dim1=0, dim2=2).fill_(-torch.inf)
        return block

    def _classes(self, first: int, last: int) -> Iterator[tuple[slice, slice]]:
        """For every class of the samples first … last − 1: its rows of the block, and its columns."""
        for k in range(int(self._own[first]), int(self._own[last - 1]) + 1):
            end = self._ends[k]
            start = self._ends[k - 1] if k else 0
            yield slice(max(start, first) - first, min(end, last) - first), slice(start, end)

    def _totals(self, view: int, first: int, last: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """s_ip/τ, Σ s/τ over S_i and over N_i⁻, (R,), and both counts (2, R): from the sums of classes."""
        rows, other = (self._views[v, first:last].double() for v in (view, 1 - view))
        own, n = self._own[first:last], self._views.shape[1]
        sizes = self._sizes[own]
        positive, itself = (rows * other).sum(1), rows.square().sum(1)
        of_class = (rows * self._sums[own]).sum(1)
        same = torch.where(sizes > 1, of_class - itself - positive, 0.0)
        different = torch.where(sizes < n, rows @ self._sums.sum(0) - of_class, 0.0)
        counts = torch.stack([2 * (sizes - 1), 2 * (n - sizes)])
        return positive / self._temperature, same / self._temperature, different / self._temperature, counts

    def _apart(self, view: int, first: int, last: int) -> tuple[Tensor, Tensor]:
        """log Σ e^{s/τ} over S_i and over N_i⁻, each from its own top, (R,)."""
        block = self._logits(view, first, last)
        same = block.new_empty(last - first, dtype=torch.float64)
        for rows, columns in self._classes(first, last):
            same[rows] = block[rows, :, columns].flatten(1).double().logsumexp(1)
            block[rows, :, columns] = -torch.inf
        return same, block.flatten(1).double().logsumexp(1)


def _sum(block: Tensor) -> Tensor:
    """The sums of rows (R,) of a block (R, 2, m). Groups of a few numbers are added in the block's own precision, their
    sums in float64: each number to float64 by itself takes three times as long.
    """
    flat = block.flatten(1)
    whole = flat.shape[1] // _ADDED * _ADDED
    groups = flat[:, :whole].unflatten(1, (_ADDED, -1)).sum(1)
    return groups.sum(1, dtype=torch.float64) + flat[:, whole:].sum(1, dtype=torch.float64)
