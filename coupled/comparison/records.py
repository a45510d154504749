"""The records of two runs side by side: what both have, and the first step at which it differs."""

from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from coupled.comparison.rows import RowDifference, row_difference
from coupled.reading.records import Records
from coupled.recording.layout import SHARED, row_bytes
from coupled.recording.schedule import due
from coupled.store import Entry, TensorFile

_CHUNK = 8 << 20  # bytes compared at a time
Steps = NDArray[np.int64]


class RecordPair:
    """The records of two runs. `layers`: names of the rows of per-layer columns; None where the networks differ, so
    that there are no rows to pair.
    """

    def __init__(self, a: Records, b: Records) -> None:
        self.sides = a, b
        layers = [layer["name"] for layer in a.facts["layers"]]
        self.layers = layers if a.facts["layers"] == b.facts["layers"] else None
        self._common: dict[tuple[str, str, str], Steps] = {}
        # The smallest rows first: what they tell bounds the search of the others.
        self._both = sorted(a.shards.keys() & b.shards.keys(), key=lambda pair: (self._row_bytes(*pair), *pair))

    def pairs(self) -> list[tuple[str, str]]:
        """(stream, owner) that both have shards of and that can be compared."""
        return [pair for pair in self._both if self.columns(*pair) or self.columns(*pair, fixed=True)]

    def columns(self, stream: str, owner: str, *, fixed: bool = False) -> list[str]:
        """Columns of equal dtype and shape that both record: those stacked along steps, or with `fixed` the others."""
        one, other = (side.layout[stream][owner] for side in self.sides)
        return [
            name
            for name, column in one.items()
            if column == other.get(name)
            and name.startswith("fixed.") == fixed
            and (self.layers is not None or not column.by_layer)
        ]

    def names_of(self, stream: str, owner: str, column: str) -> Sequence[str]:
        """The layers that the elements of a row are of; none of other columns."""
        return self.layers or () if self.sides[0].layout[stream][owner][column].by_layer else ()

    def _row_bytes(self, stream: str, owner: str) -> int:
        return max(row_bytes(side.layout[stream][owner]) for side in self.sides)

    def only(self) -> Iterator[str]:
        """What one of them records alone, and what cannot be compared."""
        a, b = self.sides
        for side, other, letter in ((a, b, "A"), (b, a, "B")):
            for stream, owner in sorted(side.shards.keys() - other.shards.keys()):
                yield f"only in {letter}: {stream}/{owner}"
        if self.layers is None:
            yield "not comparable: layers, as the networks differ"
        for stream, owner in self._both:
            one, other = a.layout[stream][owner], b.layout[stream][owner]
            for name, column in (one | other).items():
                if one.get(name) != other.get(name) and not (self.layers is None and column.by_layer):
                    yield f"not comparable: {name} of {stream}/{owner}"

    def differing(self, stream: str, owner: str) -> Iterator[tuple[Entry, Entry]]:
        """The shards that have steps in common, ascending, without those whose hashes say that they are equal."""
        ours, theirs = (side.shards[stream, owner] for side in self.sides)
        i = j = 0
        while i < len(ours) and j < len(theirs):
            mine, other = ours[i], theirs[j]
            if mine.first <= other.last and other.first <= mine.last and mine.sha256 != other.sha256:
                yield mine, other
            if mine.last <= other.last:
                i += 1
            else:
                j += 1

    def opened(self, shards: tuple[Entry, Entry]) -> tuple[TensorFile, TensorFile]:
        """One shard of each, checked."""
        return self.sides[0].open(shards[0]), self.sides[1].open(shards[1])

    def rows(self, stream: str, owner: str, column: str, step: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Both rows of a step; None where one has none, or where the hashes of the shards say that they are equal."""
        shards = [side.shard_at(stream, owner, step) for side in self.sides]
        if shards[0] is None or shards[1] is None or shards[0].sha256 == shards[1].sha256:
            return None
        one, other = (side.row(stream, owner, column, step) for side in self.sides)
        return None if one is None or other is None else (one, other)

    def common_steps(self, stream: str, owner: str, group: str) -> Steps:
        """The steps at which both recorded a group, by their schedules and what is committed: no shard is opened."""
        key = (stream, owner, group)
        if key not in self._common:
            one, other = (_recorded(side, stream, owner, group) for side in self.sides)
            self._common[key] = np.intersect1d(one, other, assume_unique=True)
        return self._common[key]

    def step_before(self, step: int) -> int | None:
        """The last step before `step` at which both recorded the same group of anything."""
        groups = {(s, o, name.partition(".")[0]) for s, o in self.pairs() for name in self.columns(s, o)}
        steps = (self.common_steps(*group) for group in groups)
        return max((int(of[at - 1]) for of in steps if (at := np.searchsorted(of, step)) > 0), default=None)


def _recorded(side: Records, stream: str, owner: str, group: str) -> Steps:
    """The steps at which a run's config records a group, of those that lie in its committed shards."""
    shards = side.shards.get((stream, owner), [])
    steps = (due(side.config, stream, group, first=shard.first, last=shard.last) for shard in shards)
    return np.fromiter(chain.from_iterable(steps), np.int64)


def first_difference(records: RecordPair) -> tuple[int | None, list[RowDifference]]:
    """The first step at which the records of two runs differ, and all that differs there, causes first.

    (None, []) where they do not.

    Every two shards are either equal by their hashes or compared row by row, up to the best step found so far: nothing
    is assumed about what happens between.
    """
    best: int | None = None
    for stream, owner in records.pairs():
        first = _first_of(records, stream, owner, best)
        best = best if first is None else first
    if best is None:
        return None, []
    rows = [
        row
        for stream, owner in records.pairs()
        for column in records.columns(stream, owner)
        if (both := records.rows(stream, owner, column, best)) is not None
        and (row := row_difference(stream, owner, column, *both, records.names_of(stream, owner, column))) is not None
    ]
    return best, sorted(
        rows, key=lambda row: (row.cause, row.column != "batch.loss", row.stream, row.owner, row.column)
    )


def fixed_differences(records: RecordPair) -> list[RowDifference]:
    """How the panels themselves differ: their ids, labels and draws, which are of no step."""
    differences: dict[tuple[str, str], RowDifference] = {}
    for stream, owner in records.pairs():
        columns = records.columns(stream, owner, fixed=True) if owner == SHARED else []
        for shards in records.differing(stream, owner) if columns else ():
            one, other = records.opened(shards)
            for column in columns:
                if (stream, column) not in differences:
                    row = row_difference(stream, owner, column, one[column], other[column], ())
                    differences |= {} if row is None else {(stream, column): row}
    return list(differences.values())


def _first_of(records: RecordPair, stream: str, owner: str, before: int | None) -> int | None:
    """The first step, below `before`, at which a column of a stream and owner differs."""
    columns = records.columns(stream, owner)
    for shards in records.differing(stream, owner):
        if before is not None and max(shard.first for shard in shards) >= before:
            return None
        one, other = records.opened(shards)
        first = None
        for column in columns:
            if column in one and column in other:
                index, bound = f"{column.partition('.')[0]}.step", before if first is None else first
                earlier = first_row(one[index], one[column], other[index], other[column], bound)
                first = first if earlier is None else earlier
        if first is not None:
            return first
    return None


def first_row(a_steps: Steps, a: np.ndarray, b_steps: Steps, b: np.ndarray, before: int | None = None) -> int | None:
    """The first common step, below `before`, whose rows differ in a byte, comparing a few megabytes at a time.

    Steps ascend; values are (k, …) of equal row shape and dtype.
    """
    steps, at, there = np.intersect1d(a_steps, b_steps, assume_unique=True, return_indices=True)
    count = len(steps) if before is None else int(np.searchsorted(steps, before))
    size = max(1, int(np.prod(a.shape[1:], dtype=np.int64)) * a.dtype.itemsize)
    rows = max(1, _CHUNK // size)
    for start in range(0, count, rows):
        stop = min(start + rows, count)
        one, two = (
            np.ascontiguousarray(values[index[start:stop]]).reshape(-1).view(np.uint8).reshape(-1, size)
            for values, index in ((a, at), (b, there))
        )
        differing = np.flatnonzero((one != two).any(axis=1))
        if len(differing):
            return int(steps[start + differing[0]])
    return None
