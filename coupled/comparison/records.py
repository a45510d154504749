"""The records of two runs side by side: what both have, and the first step at which it differs."""

from collections.abc import Iterator, Sequence
from itertools import chain, pairwise

import numpy as np
from numpy.typing import NDArray

from coupled.comparison.rows import RowDifference, row_difference
from coupled.config import Config
from coupled.reading.shards import Shards
from coupled.recording.layout import SHARED
from coupled.recording.schedule import due
from coupled.store import Entry, StoreError
from coupled.store.manifest import MANIFEST

_CHUNK = 8 << 20  # bytes compared at a time
# The smallest rows first: what they tell bounds the search of the others.
_ORDER = ("scalars", "pixels", "layers", "similarity", "surrogate", "panel")
Steps = NDArray[np.int64]


class Records:
    """The records of two runs. `layers`: names of the rows of per-layer columns; None where the networks differ, so
    that there are no rows to pair. Raises StoreError where a manifest's shards are not in the order of their steps.
    """

    def __init__(self, a: Shards, b: Shards, configs: Sequence[Config], layers: Sequence[str] | None) -> None:
        self.sides, self.configs, self.layers = (a, b), configs, layers
        self._common: dict[tuple[str, str, str], Steps] = {}
        for side in self.sides:
            for entries in side.entries.values():
                for earlier, later in pairwise(entries):
                    if later.first <= earlier.last:
                        raise StoreError(side.path / MANIFEST, f"{later.name} begins before {earlier.name} ends")

    def pairs(self) -> list[tuple[str, str]]:
        """(stream, owner) that both have shards of and that can be compared."""
        both = self.sides[0].entries.keys() & self.sides[1].entries.keys()
        return sorted(
            (pair for pair in both if self.layers is not None or pair[0] != "layers"),
            key=lambda pair: (_ORDER.index(pair[0]), pair[1]),
        )

    def columns(self, stream: str, owner: str, *, fixed: bool = False) -> list[str]:
        """Columns of equal dtype and shape that both record: those stacked along steps, or with `fixed` the others."""
        one, other = (side.layout[stream][owner] for side in self.sides)
        return [name for name in one if one[name] == other.get(name) and name.startswith("fixed.") == fixed]

    def only(self) -> Iterator[str]:
        """What one of them records alone, and what cannot be compared."""
        a, b = self.sides
        for here, there, letter in ((a, b, "A"), (b, a, "B")):
            for stream, owner in sorted(here.entries.keys() - there.entries.keys()):
                yield f"only in {letter}: {stream}/{owner}"
        if self.layers is None:
            yield "not comparable: layers, as the networks differ"
        for stream, owner in self.pairs():
            one, other = a.layout[stream][owner], b.layout[stream][owner]
            for name in dict.fromkeys([*one, *other]):
                if one.get(name) != other.get(name):
                    yield f"not comparable: {name} of {stream}/{owner}"

    def differing(self, stream: str, owner: str) -> Iterator[tuple[Entry, Entry]]:
        """The shards that have steps in common, ascending, without those whose hashes say that they are equal."""
        ours, theirs = (side.entries[stream, owner] for side in self.sides)
        i = j = 0
        while i < len(ours) and j < len(theirs):
            mine, other = ours[i], theirs[j]
            if mine.first <= other.last and other.first <= mine.last and mine.sha256 != other.sha256:
                yield mine, other
            if mine.last <= other.last:
                i += 1
            else:
                j += 1

    def rows(self, stream: str, owner: str, column: str, step: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Both rows of a step; None where one has none, or where the hashes of the shards say that they are equal."""
        found = [
            next((entry for entry in side.entries[stream, owner] if entry.first <= step <= entry.last), None)
            for side in self.sides
        ]
        if found[0] is None or found[1] is None or found[0].sha256 == found[1].sha256:
            return None
        one, other = (side.row(stream, owner, column, step) for side in self.sides)
        return None if one is None or other is None else (one, other)

    def common_steps(self, stream: str, owner: str, group: str) -> Steps:
        """The steps at which both recorded a group, by their schedules and what is committed: no shard is opened."""
        key = (stream, owner, group)
        if key not in self._common:
            entries = [side.entries.get((stream, owner), []) for side in self.sides]
            one, other = (_recorded(c, e, stream, group) for c, e in zip(self.configs, entries, strict=True))
            self._common[key] = np.intersect1d(one, other, assume_unique=True)
        return self._common[key]

    def step_before(self, step: int) -> int | None:
        """The last step before `step` at which both recorded the same group of anything."""
        groups = {(s, o, name.partition(".")[0]) for s, o in self.pairs() for name in self.columns(s, o)}
        steps = (self.common_steps(*group) for group in groups)
        return max((int(found[at - 1]) for found in steps if (at := np.searchsorted(found, step)) > 0), default=None)


def _recorded(config: Config, entries: Sequence[Entry], stream: str, group: str) -> Steps:
    """The steps at which the config records a group, of those that lie in committed shards, which ascend."""
    steps = (due(config, stream, group, first=entry.first, last=entry.last) for entry in entries)
    return np.fromiter(chain.from_iterable(steps), np.int64)


def first_difference(records: Records) -> tuple[int | None, list[RowDifference]]:
    """The first step at which any row differs, and all that differs there, causes first; (None, []) where none does.

    Every two shards are either equal by their hashes or compared row by row, up to the best step found so far: nothing
    is assumed about what happens between.
    """
    best: int | None = None
    for stream, owner in records.pairs():
        found = _first_of(records, stream, owner, best)
        best = best if found is None else found
    if best is None:
        return None, []
    rows = [
        row
        for stream, owner in records.pairs()
        for column in records.columns(stream, owner)
        if (both := records.rows(stream, owner, column, best)) is not None
        and (row := row_difference(stream, owner, column, *both, records.layers or ())) is not None
    ]
    return best, sorted(rows, key=lambda row: (row.rank, row.column != "batch.loss", row.stream, row.owner, row.column))


def fixed_differences(records: Records) -> list[RowDifference]:
    """How the panels themselves differ: their ids, labels and draws, which are of no step."""
    found: dict[tuple[str, str], RowDifference] = {}
    for stream, owner in records.pairs():
        columns = records.columns(stream, owner, fixed=True) if owner == SHARED else []
        for entries in records.differing(stream, owner) if columns else ():
            one, other = (side.open(stream, owner, e) for side, e in zip(records.sides, entries, strict=True))
            for column in columns:
                if column in one and column in other and (stream, column) not in found:
                    row = row_difference(stream, owner, column, one[column], other[column], ())
                    found |= {} if row is None else {(stream, column): row}
    return list(found.values())


def _first_of(records: Records, stream: str, owner: str, before: int | None) -> int | None:
    """The first step, below `before`, at which a column of a stream and owner differs."""
    columns = records.columns(stream, owner)
    for entries in records.differing(stream, owner):
        if before is not None and max(entry.first for entry in entries) >= before:
            return None
        found = None
        for column in columns:
            one, other = (
                _stacked(side, stream, owner, e, column) for side, e in zip(records.sides, entries, strict=True)
            )
            if one is not None and other is not None:
                bound = before if found is None else found
                found = first if (first := first_row(*one, *other, bound)) is not None else found
        if found is not None:
            return found
    return None


def _stacked(side: Shards, stream: str, owner: str, entry: Entry, column: str) -> tuple[Steps, np.ndarray] | None:
    """Steps and mapped values of a column of one shard, its steps checked to be what a search takes them for."""
    file = side.open(stream, owner, entry)
    if column not in file:
        return None
    index = f"{column.partition('.')[0]}.step"
    steps = file[index]
    if len(steps) and (steps[0] < entry.first or steps[-1] > entry.last or (steps[1:] <= steps[:-1]).any()):
        raise StoreError(file.path, f"{index} does not ascend within the steps {entry.first} to {entry.last}")
    return steps, file[column]


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
