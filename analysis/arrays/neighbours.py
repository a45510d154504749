"""Nearest neighbours by cosine among shots, and the class that most of them have.

Shapes: queries (q, d), candidates (n, d), shots (s,) positions of candidates, k neighbours. Neighbours come in the
order of their cosine; those whose cosines differ by rounding alone are equally near, and come in the order of their
positions. A zero row has the cosine 0 with every row: docs/theory.md (88). scikit-learn searches; where neighbours are
equally near, their order is settled here. Among the shots of many draws a loop of ours searches, in one pass over the
cosines: scikit-learn, asked for every draw, took more than twice as long.
"""

from collections.abc import Iterator, Sequence
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
_NUMBERS: Final = 1 << 21  # numbers that a block of rows makes


class Neighbours:
    """A search for the neighbours of queries (q, d) among shots, which are some of the candidates (n, d).

    UserError for features that are not finite, and where scikit-learn is not installed.
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
        nearest, squares = self._among(places, min(k + 1, len(places)), of_rows)
        doubtful = np.flatnonzero((np.diff(squares, axis=1) <= self._doubtful).any(axis=1))
        nearest = nearest[:, :k]
        if len(doubtful):
            nearest[doubtful] = self._settled(places, k, of_rows[doubtful])
        return torch.from_numpy(nearest)

    def of_draws(self, orders: Tensor, ends: Sequence[int], k: int) -> Iterator[tuple[slice, Tensor]]:
        """For some queries at a time, which ones, and the nearest of the first `ends[e]` shots of every order.

        orders: positions (D, M), each once in a row; ends: ascending, up to M. Positions (D, E, queries, k) int64, in
        the order of `nearest`; −1 where there are fewer shots than k. Equal to `nearest` of each, in one pass.
        """
        from analysis.arrays.walked_neighbours import walk  # numba takes its time to load, and few commands need it

        # In 32 bits, as the walk is bound by what it reads.
        walked, of_ends = np.ascontiguousarray(orders.numpy().astype(np.uint32)), np.array(ends, np.int64)
        assert of_ends.size and (np.diff(of_ends) > 0).all() and 1 <= of_ends[0] <= of_ends[-1] <= walked.shape[1]
        candidates, size = torch.from_numpy(self._candidates), max(1, _NUMBERS // len(self._candidates))
        for start in range(0, len(self._queries), size):
            rows = np.arange(start, min(start + size, len(self._queries)))
            cosines = (torch.from_numpy(self._queries[rows]) @ candidates.T).numpy()
            nearest = np.full((len(walked), len(of_ends), len(rows), k), -1, np.int64)
            doubtful = np.zeros(nearest.shape[:3], np.uint8)
            walk(cosines, walked, of_ends, 2 * self._equal, nearest, doubtful)
            for draw, end in np.argwhere(doubtful.any(axis=2)):
                which, shots = doubtful[draw, end].nonzero()[0], np.sort(walked[draw, : of_ends[end]]).astype(np.int64)
                count = min(k, len(shots))
                nearest[draw, end, which, :count] = self._settled(shots, count, rows[which])
            yield slice(start, start + len(rows)), torch.from_numpy(nearest)

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


def votes(nearest: Tensor, index: Tensor, classes: int, ks: Sequence[int] = ()) -> Tensor:
    """The class (len(ks), …) that most of the first k of the neighbours have, for each of `ks`, ascending; of equally
    many the first. Without `ks`: (…), of all neighbours.

    nearest: positions (…, k), −1 where there is none; index: the class (n,) of each candidate, 0 … C−1.
    """
    from analysis.arrays.walked_neighbours import elect

    *shape, k = nearest.shape
    rows, of_ks = np.ascontiguousarray(nearest.reshape(-1, k).numpy()), np.array(ks or [k], np.int64)
    elected = np.empty((len(of_ks), len(rows)), np.int64)
    elect(rows, np.ascontiguousarray(index.numpy()), of_ks, classes, elected)
    of_each = torch.from_numpy(elected).view(len(of_ks), *shape)
    return of_each if ks else of_each[0]


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
