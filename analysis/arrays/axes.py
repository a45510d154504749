"""Decision axes of two labellings of the same samples, and how far from orthogonal they can be at most.

Shapes: f (n, d) features, first and second (n,) labels. Of each labelling two classes are compared, on the samples that
are in one of the two in both labellings: four cells, such as (red, small), (red, large), (blue, small), (blue, large).
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.arrays.classes import Samples
from analysis.arrays.conversion import Array, integers, labelled
from coupled.errors import UserError
from coupled.theory import rounding

Pair = tuple[int, int]
_NAME: Final = "decision axes"


@dataclass(frozen=True)
class Axes:
    """Two decision axes: the unit vectors u₁, u₂ between the centres of two classes of either labelling.

    `cosine` |u₁ᵀu₂| in [0, 1] and its bounds are NaN where `undefined` says why. `bound` is that of the third paper's
    Proposition 4.2, which assumes that all cells are equal; `bound_any` holds for every sample, and is `bound` there.
    """

    first: Pair
    second: Pair
    n: int
    cosine: float
    bound: float
    bound_any: float
    uneven: float  # largest deviation of a cell's share of the samples from ¼; 0: balanced and independent
    undefined: str = ""


class ClassPairs(Sequence[tuple[Pair, Pair]]):
    """All pairs of two classes of either labelling that have samples in all four cells, by their classes' labels.

    They are counted, and made one by one: of large labellings there are millions.
    """

    def __init__(self, first: Array, second: Array) -> None:
        """Of two labellings, integers (n,); raises UserError for anything else."""
        labels = [integers(of_rows, _NAME) for of_rows in (first, second)]
        if labels[0].ndim != 1 or labels[0].shape != labels[1].shape:
            raise UserError(f"{_NAME} of labels {labels[0].shape} and {labels[1].shape}", "(n,) and (n,) are needed")
        (self._first, i), (self._second, j) = (np.unique(of_rows, return_inverse=True) for of_rows in labels)
        self._filled = np.zeros((len(self._first), len(self._second)), np.bool_)
        self._filled[i, j] = True
        self._rows = np.triu_indices(len(self._first), 1)
        # Of two classes of the first labelling: the classes of the second that both have samples in.
        common = (self._filled.astype(np.int64) @ self._filled.T.astype(np.int64))[self._rows]
        self._ends = np.cumsum(common * (common - 1) // 2)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        k = int(np.searchsorted(self._ends, number, side="right"))
        a, b = (int(row[k]) for row in self._rows)
        columns = np.flatnonzero(self._filled[a] & self._filled[b])
        # Counted from the end, where the cumulative counts are.
        i, j = (axis[number - int(self._ends[k])] for axis in np.triu_indices(len(columns), 1))
        names = self._first[[a, b]].tolist(), self._second[columns[[i, j]]].tolist()
        return tuple(map(tuple, names))


def decision_axes(
    h: Array, first: Array, second: Array, *, pairs: Iterable[tuple[Pair, Pair]] | None = None
) -> list[Axes]:
    """The axes of pairs of classes of two labellings of features h (n, d): docs/theory.md (84), (85).

    first, second: integers (n,). pairs: ((two classes of first), (two of second)), None: all that `ClassPairs`
    has. What is undefined (a cell without samples, two classes with one centre, features that are not
    finite) is NaN with its reason. Raises UserError for shapes that do not fit.
    """
    f, of_first = labelled(h, first, _NAME)
    _, of_second = labelled(h, second, _NAME)
    every = ClassPairs(of_first, of_second) if pairs is None else pairs
    return [_axes(f, of_first, of_second, pair) for pair in every]


def _axes(f: Tensor, of_first: NDArray[Any], of_second: NDArray[Any], pair: tuple[Pair, Pair]) -> Axes:
    for a, b in pair:
        if a == b:
            raise UserError(f"{_NAME} of class {a} and itself", "two different classes are needed")
    sides = [(of_first, pair[0]), (of_second, pair[1])]
    rows = np.flatnonzero(np.logical_and(*(np.isin(of_rows, classes) for of_rows, classes in sides)))
    which = torch.stack([torch.from_numpy(of_rows[rows] == classes[1]).long() for of_rows, classes in sides], 1)
    counts = (2 * which[:, 0] + which[:, 1]).bincount(minlength=4).double().view(2, 2)
    uneven = (counts / len(rows) - 0.25).abs().max().item() if len(rows) else math.nan
    try:
        (cosine, bound, bound_any), undefined = _of_cells(f[torch.from_numpy(rows)], which, counts, pair), ""
    except UserError as error:
        cosine = bound = bound_any = math.nan
        undefined = str(error)
    return Axes(*pair, len(rows), cosine, bound, bound_any, uneven, undefined)


def _of_cells(f: Tensor, which: Tensor, counts: Tensor, pair: tuple[Pair, Pair]) -> tuple[float, float, float]:
    """|u₁ᵀu₂| and its two bounds; which (n, 2): the class in either labelling, 0 or 1; counts (2, 2) of the cells."""
    if not bool(counts.all()):
        i, j = (counts == 0).nonzero()[0].tolist()
        raise UserError(f"no sample is in classes {pair[0][i]} and {pair[1][j]}", "all four cells are needed")
    samples = Samples(f)
    if not samples.finite:
        raise UserError("features that are not finite", "axes are undefined")
    sums = samples.mean.new_zeros(4, samples.d)
    for part, rows in samples.parts():
        sums.index_add_(0, 2 * which[rows, 0] + which[rows, 1], part)
    sums = sums.view(2, 2, -1)
    # Centres (labelling, class, d).
    centres = torch.stack([sums.sum(1 - k) / counts.sum(1 - k)[:, None] for k in (0, 1)])
    between = centres[:, 1] - centres[:, 0]
    distances = between.norm(dim=1)
    same = distances <= rounding.of_sum(len(f)) * samples.spread + samples.rounding_of_rows
    if bool(same.any()):
        a, b = pair[int(same.nonzero()[0])]
        raise UserError(f"classes {a} and {b} have one centre", "their axis is undefined at distance 0")
    axes = between / distances[:, None]
    squares = samples.mean.new_zeros(2)
    for part, rows in samples.parts():
        own = torch.stack([(part - centres[k, which[rows, k]]) @ axes[k] for k in (0, 1)])
        squares += own.square().sum(1)
    cosine = (axes[0] @ axes[1]).abs().clamp(max=1).item()
    return cosine, *_bounds(distances, (squares / len(f)).sqrt(), counts / len(f))


def _bounds(distances: Tensor, along: Tensor, shares: Tensor) -> tuple[float, float]:
    """docs/theory.md (84) and (85), of distances d_ℓ (2,), standard deviations σ_ℓ = d_ℓ√Ṽ_ℓ (2,), shares (2, 2)."""
    balanced, every = [], []
    for k, other in ((0, 1), (1, 0)):
        by_class = shares if k == 0 else shares.T
        of_class = by_class.sum(1)
        # How much more of the other labelling's second class there is in this one's second class than in its first.
        dependence = (by_class[:, 1] / of_class).diff().abs()
        balanced.append(2 * along[other] / distances[k])
        spread = along[other] / of_class.prod().sqrt()
        every.append(((spread + distances[other] * dependence) / distances[k]).squeeze())
    return torch.stack(balanced).min().item(), torch.stack(every).min().item()
