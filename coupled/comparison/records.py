"""The first recorded step at which two runs differ."""

from collections.abc import Iterator

import numpy as np

from coupled.comparison.rows import RowDifference, row_difference
from coupled.shards import Shards

_CHUNK = 8 << 20  # bytes compared at a time


class Records:
    """The records of two runs, side by side. `layers`: names of the rows of per-layer columns."""

    def __init__(self, a: Shards, b: Shards, layers: list[str]) -> None:
        self.a, self.b, self.layers = a, b, layers
        self.alike = a.fingerprint == b.fingerprint

    def pairs(self) -> list[tuple[str, str]]:
        """(stream, owner) that both have shards of; the smallest rows first, which bound the search of the others."""
        order = ("scalars", "pixels", "layers", "similarity", "surrogate", "panel")
        both = self.a.entries.keys() & self.b.entries.keys()
        return sorted(both, key=lambda pair: (order.index(pair[0]), pair[1]))

    def columns(self, stream: str, owner: str) -> list[str]:
        """Columns of equal dtype and shape that both record."""
        one, other = self.a.layout[stream][owner], self.b.layout[stream][owner]
        return [name for name in one if one[name] == other.get(name)]

    def only(self) -> Iterator[str]:
        """What one of them records alone."""
        for here, there, letter in ((self.a, self.b, "A"), (self.b, self.a, "B")):
            for stream, owner in sorted(here.entries.keys() - there.entries.keys()):
                yield f"only in {letter}: {stream}/{owner}"
        for stream, owner in self.pairs():
            one, other = self.a.layout[stream][owner], self.b.layout[stream][owner]
            for name in dict.fromkeys([*one, *other]):
                if one.get(name) != other.get(name):
                    yield f"not comparable: {name} of {stream}/{owner}"


def first_difference(records: Records, *, compare_layers: bool) -> tuple[int | None, list[RowDifference]]:
    """The step and all that differs there, causes first; (None, []) where all that both recorded is equal.

    Every pair of shards is either equal by its hash or compared row by row up to the best step found so far: nothing
    is assumed about what happens between.
    """
    best: int | None = None
    pairs = [pair for pair in records.pairs() if compare_layers or pair[0] != "layers"]
    for stream, owner in pairs:
        for column in records.columns(stream, owner):
            if not column.startswith("fixed."):
                found = _first_of(records, stream, owner, column, best)
                best = best if found is None else found
    if best is None:
        return None, []
    rows = [
        row
        for stream, owner in pairs
        for column in records.columns(stream, owner)
        if not column.startswith("fixed.") and (row := _at(records, stream, owner, column, best)) is not None
    ]
    return best, sorted(rows, key=lambda row: (row.rank, row.column != "batch.loss", row.stream, row.owner, row.column))


def _at(records: Records, stream: str, owner: str, column: str, step: int) -> RowDifference | None:
    one, other = records.a.row(stream, owner, column, step), records.b.row(stream, owner, column, step)
    if one is None or other is None:
        return None
    return row_difference(stream, owner, column, one, other, records.layers)


def _first_of(records: Records, stream: str, owner: str, column: str, before: int | None) -> int | None:
    """The first step, below `before`, at which a column differs."""
    theirs = {entry.name: entry for entry in records.b.entries[stream, owner]}
    for mine in records.a.entries[stream, owner]:
        if before is not None and mine.first >= before:
            return None
        twin = theirs.get(mine.name)
        if records.alike and twin is not None and twin.sha256 == mine.sha256:
            continue
        for other in theirs.values():
            if other.first <= mine.last and mine.first <= other.last:
                one, two = records.a.open(stream, owner, mine), records.b.open(stream, owner, other)
                if column in one and column in two:
                    group = column.partition(".")[0]
                    found = _first_row(one[f"{group}.step"], one[column], two[f"{group}.step"], two[column])
                    if found is not None and (before is None or found < before):
                        return found
    return None


def _first_row(a_steps: np.ndarray, a: np.ndarray, b_steps: np.ndarray, b: np.ndarray) -> int | None:
    """The first common step whose rows differ in a byte, comparing a few megabytes at a time."""
    steps, at, there = np.intersect1d(a_steps, b_steps, assume_unique=True, return_indices=True)
    size = max(1, int(np.prod(a.shape[1:], dtype=np.int64)) * a.dtype.itemsize)
    rows = max(1, _CHUNK // size)
    for start in range(0, len(steps), rows):
        one, two = (
            np.ascontiguousarray(values[index[start : start + rows]]).reshape(-1).view(np.uint8).reshape(-1, size)
            for values, index in ((a, at), (b, there))
        )
        differing = np.flatnonzero((one != two).any(axis=1))
        if len(differing):
            return int(steps[start + differing[0]])
    return None
