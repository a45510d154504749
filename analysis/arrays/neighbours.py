"""Nearest neighbours by cosine among shots, and the class that most of them have.

Shapes: queries (q, d), candidates (n, d), shots (s,) positions of candidates, k neighbours. Neighbours come in the
order of their cosine; those whose cosines differ by rounding alone are equally near, and come in the order of their
positions. A zero row has the cosine 0 with every row: docs/theory.md (88). scikit-learn searches; where neighbours are
equally near, their order is settled here.
"""

import math
from functools import cached_property
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.extra import alone, extra
from coupled.errors import UserError
from coupled.theory import rounding
from coupled.theory.scale import largest, unit_rows

Numbers = NDArray[Any]

NEED: Final = "kNN"
_AMONG_ALL: Final = 330  # neighbours of each query that are sought once, among all candidates
_NUMBERS: Final = 1 << 21  # numbers that a block of rows makes


class Neighbours:
    """A search for the neighbours of queries (q, d) among shots, which are some of the candidates (n, d).

    Of many shots, it looks among the nearest of all candidates, which are found once. UserError for features that are
    not finite, and where scikit-learn is not installed.
    """

    def __init__(self, queries: Tensor, candidates: Tensor) -> None:
        if not (largest(queries).isfinite() and largest(candidates).isfinite()):
            raise UserError(f"{NEED}: features that are not finite", "no cosine is defined on them")
        self._search = extra("sklearn.neighbors", "scikit-learn", NEED).NearestNeighbors
        self._queries, self._candidates = _directions(queries, candidates)
        self._equal = rounding.of_cosines(queries.shape[1])
        # A squared distance is 2 − 2·cosine; it is off by the norms of both rows and by a root as well.
        self._doubtful = 4 * self._equal

    def nearest(self, shots: Tensor, k: int, *, rows: Tensor | None = None) -> Tensor:
        """Positions (q, k), int64, of the k nearest shots of every query, or of `rows` of them; the nearest come first.

        `shots`: any shape and order, k of them at least.
        """
        places = shots.flatten().sort().values.numpy()
        assert 1 <= k <= len(places), f"{k} neighbours among {len(places)} shots"
        of_rows = np.arange(len(self._queries)) if rows is None else rows.numpy()
        # One more than is asked for, to see whether it is equally near.
        count = min(k + 1, len(places))
        columns = self._columns(count, len(places) / len(self._candidates))
        if columns:
            nearest, squares = self._from_all(places, count, of_rows, columns)
        else:
            nearest, squares = self._among(places, count, of_rows)
        doubtful = (np.diff(squares, axis=1) <= self._doubtful).any(1)
        nearest = nearest[:, :k]
        if doubtful.any():
            nearest[doubtful] = self._settled(places, k, of_rows[doubtful])
        return torch.from_numpy(nearest)

    def _columns(self, count: int, share: float) -> int:
        """How many of the nearest of all candidates have `count` shots among them, but for one query in forty.

        0 where more are needed than are sought.
        """
        expected = (1 + math.sqrt(1 + count)) ** 2  # two standard deviations, the roots of what is expected, are spare
        columns = math.ceil(expected / share)
        return columns if columns <= min(_AMONG_ALL, len(self._candidates)) else 0

    @cached_property
    def _all(self) -> tuple[Numbers, Numbers]:
        """The nearest of all candidates, of every query: their positions and squared distances."""
        everything = np.arange(len(self._candidates))
        return self._among(everything, min(_AMONG_ALL, len(everything)), np.arange(len(self._queries)))

    def _from_all(self, places: Numbers, count: int, rows: Numbers, columns: int) -> tuple[Numbers, Numbers]:
        """The `count` nearest shots, found among the first `columns` of all candidates."""
        positions, squares = self._all
        is_shot = np.zeros(len(self._candidates), dtype=bool)
        is_shot[places] = True
        whole = len(rows) == len(positions)
        here = is_shot.take(positions[:, :columns] if whole else positions[rows, :columns])
        counts = np.count_nonzero(here, axis=1)
        enough = counts >= count
        # The shots of all queries in one line: each query's begin where the ones before it end.
        line = np.flatnonzero(here)
        begin = counts.cumsum() - counts
        row, column = np.divmod(line[begin[enough][:, None] + np.arange(count)], columns)
        nearest = np.empty((len(rows), count), dtype=np.int64)
        apart = np.empty((len(rows), count))
        nearest[enough] = positions[rows[row], column]
        apart[enough] = squares[rows[row], column]
        if not enough.all():
            nearest[~enough], apart[~enough] = self._among(places, count, rows[~enough])
        return nearest, apart

    def _among(self, places: Numbers, count: int, rows: Numbers) -> tuple[Numbers, Numbers]:
        """The same, found among the shots."""
        with alone(NEED):
            search = self._search(n_neighbors=count, algorithm="brute").fit(self._candidates[places])
            distances, which = search.kneighbors(self._queries[rows])
        return places[which], np.square(distances, out=distances)

    def _settled(self, places: Numbers, k: int, rows: Numbers) -> Numbers:
        """The k nearest shots, from all cosines."""
        shots = torch.from_numpy(self._candidates[places])
        queries = torch.from_numpy(self._queries[rows]).split(max(1, _NUMBERS // len(places)))
        return places[torch.cat([_first(block @ shots.T, k, self._equal) for block in queries]).numpy()]


def votes(nearest: Tensor, index: Tensor, classes: int) -> Tensor:
    """The class (q,) that most of the neighbours have; of equally many the first.

    nearest: positions (q, k); index: the class (n,) of each candidate, 0 … C−1.
    """
    blocks = []
    for block in nearest.split(max(1, _NUMBERS // classes)):
        at = torch.arange(len(block))[:, None] * classes + index[block]
        blocks.append(at.flatten().bincount(minlength=len(block) * classes).view(-1, classes).argmax(1))
    return torch.cat(blocks)


def _first(cosines: Tensor, k: int, equal: float) -> Tensor:
    """Columns (q, k) of the k largest of cosines (q, s); those that are `equal` at most below the next are equal to it,
    and come in the order of columns.
    """
    count = cosines.shape[1]
    top, columns = cosines.topk(k)
    group = torch.nn.functional.pad((top[:, :-1] - top[:, 1:] > equal).cumsum(1), (1, 0))
    whole = (group < group[:, -1:]).sum(1, keepdim=True)  # how many come before the last group, which may go on
    first, least = top.gather(1, whole), top[:, -1:]
    while True:
        lower = cosines.where(cosines >= least - equal, torch.inf).amin(1, keepdim=True)
        if torch.equal(lower, least):
            break
        least = lower
    last = (cosines >= least) & (cosines <= first)
    rank = last.cumsum(1)
    slot = torch.arange(k).expand_as(columns)
    ordered = (group * count + columns).where(slot < whole, group.new_tensor(torch.iinfo(torch.int64).max))
    ordered = ordered.sort(1).values % count
    row, column = (last & (rank <= k - whole)).nonzero(as_tuple=True)
    ordered[row, whole[row, 0] + rank[row, column] - 1] = column
    return ordered


def _directions(queries: Tensor, candidates: Tensor) -> tuple[Numbers, Numbers]:
    """Rows of norm 1; a zero row becomes one that is at right angles to all rows of the other side."""
    sides = unit_rows(queries), unit_rows(candidates)
    zero = [(side == 0).all(1) for side in sides]
    if any(rows.any() for rows in zero):
        beside = [torch.zeros(len(side), 2, dtype=torch.float64) for side in sides]
        for i, rows in enumerate(zero):
            beside[i][rows, i] = 1
        sides = tuple(torch.cat([side, more], 1) for side, more in zip(sides, beside, strict=True))
    return sides[0].numpy(), sides[1].numpy()
