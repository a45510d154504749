"""Decision axes of two labellings of the same samples, and how far from orthogonal they can be at most.

Shapes: f (n, d) features, first and second (n,) labels. Of each labelling two classes are compared, on the samples that
are in one of the two in both labellings: four cells, such as (red, small), (red, large), (blue, small), (blue, large).
"""

import math
from collections.abc import Sequence
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
_AT_ONCE: Final = 100  # pairs that one pass over the features serves


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
        self.sizes = self._filled.shape  # classes of either labelling
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
    h: Array, first: Array, second: Array, *, pairs: Sequence[tuple[Pair, Pair]] | None = None
) -> list[Axes]:
    """The axes of pairs of classes of two labellings of features h (n, d): docs/theory.md (79), (80).

    first, second: integers (n,). pairs: ((two classes of first), (two of second)), None: all that `ClassPairs`
    has. What is undefined (a cell without samples, two classes with one centre, features that are not
    finite) is NaN with its reason. Raises UserError for shapes that do not fit.
    """
    f, of_first = labelled(h, first, _NAME)
    of_second = labelled(h, second, _NAME)[1]
    every = ClassPairs(of_first, of_second) if pairs is None else pairs
    for a, b in (classes for pair in every for classes in pair):
        if a == b:
            raise UserError(f"{_NAME} of class {a} and itself", "two different classes are needed")
    cells = _Cells(f, of_first, of_second)
    return [axes for start in range(0, len(every), _AT_ONCE) for axes in cells.axes(every[start : start + _AT_ONCE])]


class _Cells(Samples):
    """The features by cell, a class of either labelling: sizes (K,) and means (K, d) about the mean of all samples."""

    def __init__(self, f: Tensor, of_first: NDArray[Any], of_second: NDArray[Any]) -> None:
        super().__init__(f)
        (first, i), (second, j) = (np.unique(of_rows, return_inverse=True) for of_rows in (of_first, of_second))
        # Of all combinations only those that are there: no more than samples.
        there, index = np.unique(i * len(second) + j, return_inverse=True)
        named = zip(first[there // len(second)].tolist(), second[there % len(second)].tolist(), strict=True)
        self._numbers = {names: number for number, names in enumerate(named)}
        self._index = torch.from_numpy(index)
        self._sizes = self._index.bincount().double()
        sums = self.mean.new_zeros(len(there), self.d)
        for part, rows in self.parts():
            sums.index_add_(0, self._index[rows], part)
        self._means = sums / self._sizes[:, None]

    def axes(self, pairs: Sequence[tuple[Pair, Pair]]) -> list[Axes]:
        """The axes of Q pairs of classes."""
        numbers = torch.tensor([[[self._numbers.get((a, b), -1) for b in v] for a in u] for u, v in pairs])
        cells = numbers.clamp(min=0)
        counts = torch.where(numbers < 0, 0.0, self._sizes[cells])
        n = counts.sum((1, 2))
        sums = self._means[cells] * counts[..., None]
        # Centres (Q, labelling, class, d), and what is between those of a labelling (Q, labelling, d).
        centres = torch.stack([sums.sum(2) / counts.sum(2)[..., None], sums.sum(1) / counts.sum(1)[..., None]], 1)
        between = centres[:, :, 1] - centres[:, :, 0]
        distances = between.norm(dim=2)
        units = between / distances[..., None]
        along = (self._squares_along(units, cells, counts, centres) / n[:, None]).sqrt()
        shares = counts / n[:, None, None]
        columns = (units.prod(1).sum(1).abs().clamp(max=1), *_bounds(distances, along, shares))
        uneven = (shares - 0.25).abs().amax((1, 2))
        same = distances <= (rounding.of_sum(n) * self.spread + self.rounding_of_rows)[:, None]
        every = []
        for q, pair in enumerate(pairs):
            undefined = self._undefined(pair, counts[q], same[q])
            values = [math.nan if undefined else column[q].item() for column in columns]
            every.append(Axes(*pair, int(n[q]), values[0], values[1], values[2], uneven[q].item(), undefined))
        return every

    def _squares_along(self, units: Tensor, cells: Tensor, counts: Tensor, centres: Tensor) -> Tensor:
        """Σ⟨f − μ, u⟩² (Q, labelling) over the samples of the four cells, μ the centre of the own class."""
        lines = units.flatten(0, 1).T
        of_means = self._means @ lines
        squares = torch.zeros_like(of_means)
        for part, rows in self.parts(lines.shape[1]):
            own = self._index[rows]
            squares.index_add_(0, own, (part @ lines - of_means[own]).square())
        sums = []
        for k in (0, 1):
            # Of each cell (Q, 2, 2): its squares about its mean, and its mean along the axis.
            own = torch.arange(k, lines.shape[1], 2)[:, None, None]
            of_centres = (centres[:, k] * units[:, k, None]).sum(-1).unsqueeze(2 - k)
            off = of_means[cells, own] - of_centres
            sums.append((squares[cells, own] + counts * off.square()).sum((1, 2)))
        return torch.stack(sums, 1)

    def _undefined(self, pair: tuple[Pair, Pair], counts: Tensor, same: Tensor) -> str:
        if not self.finite:
            return "features that are not finite"
        if not bool(counts.all()):
            i, j = (counts == 0).nonzero()[0].tolist()
            return f"no sample is in classes {pair[0][i]} and {pair[1][j]}"
        if bool(same.any()):
            a, b = pair[int(same.nonzero()[0])]
            return f"classes {a} and {b} have one centre"
        return ""


def _bounds(distances: Tensor, along: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
    """docs/theory.md (79) and (80) of distances d_ℓ and standard deviations σ_ℓ = d_ℓ√Ṽ_ℓ (Q, 2), shares (Q, 2, 2)."""
    balanced, every = [], []
    for k, by_class in ((0, shares), (1, shares.mT)):
        own, other, of_class = distances[:, k], 1 - k, by_class.sum(2)
        # How much more of the other labelling's second class there is in this one's second class than in its first.
        dependence = (by_class[:, :, 1] / of_class).diff(dim=1)[:, 0].abs()
        balanced.append(2 * along[:, other] / own)
        every.append((along[:, other] / of_class.prod(1).sqrt() + distances[:, other] * dependence) / own)
    return torch.minimum(*balanced), torch.minimum(*every)
