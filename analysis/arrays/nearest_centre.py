"""The nearest-centre classifier: a sample belongs to the class whose centre, the mean of its shots, is nearest.

Shapes: f (n, d) features, index (n,) which of the C classes they are of; K sets of centres (K, C, d). In float64,
some rows at a time. Two distances that differ by no more than their rounding are equal.
"""

from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

import torch
from torch import Tensor

from coupled.theory import rounding

Ties = Literal["first", "errors"]
_NUMBERS: Final = 1 << 21  # float64 numbers that a block of rows makes


class Hits(NamedTuple):
    """How many samples of each class are put into their own: among all classes (K, C), and [k, i, j] against class j
    alone (K, C, C), where the diagonal counts all samples of class i.
    """

    among_all: Tensor
    against: Tensor


def centres(f: Tensor, shots: Tensor) -> Tensor:
    """The centres (C, d), float64, of f at the positions `shots` (C, m)."""
    return torch.stack([f[of_class].double().mean(0) for of_class in shots])


def nearest(f: Tensor, centres: Tensor) -> Tensor:
    """The class (n,) whose centre (C, d) is nearest to each sample; at equal distances the first of these."""
    near = [
        # The first that is no further than rounding from the least.
        (scores[0] <= scores[0].amin(1, keepdim=True) + off[0][:, None]).to(torch.uint8).argmax(1)
        for scores, off, _ in _scores(f, torch.zeros(len(f), dtype=torch.int64), centres[None])
    ]
    return torch.cat(near)


def hits(f: Tensor, index: Tensor, centres: Tensor, *, ties: Ties) -> Hits:
    """Counts of samples that lie nearest, by Euclidean distance, to the centre of their own class.

    ties: "first", a sample at equal distance from two centres belongs to the first of the two classes; "errors", such
    a sample is never put into its own.
    """
    sets, count, _ = centres.shape
    among_all = torch.zeros(sets, count, dtype=torch.int64)
    against = torch.zeros(sets, count, count, dtype=torch.int64)
    later = torch.arange(count)[None, :] > torch.arange(count)[:, None]  # [i, j]: j comes after i
    for scores, off, own in _scores(f, index, centres):
        of_own = own.expand(sets, -1)[:, :, None]
        lead = scores - scores.gather(2, of_own)  # of the own class over each, (K, rows, C)
        won = lead > off[:, :, None]
        if ties == "first":
            won |= later[own] & (lead >= -off[:, :, None])
        won.scatter_(2, of_own, True)
        among_all.index_add_(1, own, won.all(2).long())
        against.index_add_(1, own, won.long())
    return Hits(among_all, against)


def _scores(f: Tensor, index: Tensor, centres: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """For some rows at a time: ‖f − μ‖² − ‖f‖² (K, rows, C), how far the difference of two of these may be off
    (K, rows), and the classes of the rows.
    """
    sets, count, d = centres.shape
    middle = centres.mean((0, 1))  # about it numbers are small, and so is their rounding
    centres = centres - middle
    squares = centres.square().sum(2)  # (K, C)
    largest = squares.amax(1).sqrt()
    size = max(1, _NUMBERS // (sets * count))
    for rows, own in zip(f.split(size), index.split(size), strict=True):
        rows = rows.double() - middle
        # Off by the products here, and by the centres, whose numbers were rounded before the middle was taken off them.
        reach = largest[:, None] + rows.norm(dim=1)
        off = reach * (reach + middle.norm()) * 4 * rounding.of_sum(float(d))
        yield squares[:, None, :] - 2 * torch.einsum("nd,kcd->knc", rows, centres), off, own
