"""The lines that a run's manifest must have: its config determines them all but the hashes."""

from collections.abc import Iterator
from itertools import islice, pairwise
from typing import NamedTuple

from coupled.config import Config
from coupled.recording.layout import GROUPS, Column, Layout
from coupled.recording.schedule import OF_LAST, boundaries, checkpoint_steps, due, shard_owners
from coupled.store import Entry, Manifest, checkpoint_folder, shard_name
from coupled.store.manifest import MAX_ENTRIES, RUN_JSON
from coupled.store.rundir import STATE


class Line(NamedTuple):
    """A manifest line without its hash. `finish` has no name."""

    kind: str
    name: str | None
    first: int
    last: int

    def __str__(self) -> str:
        return f"{self.kind} {self.name or ''} of steps {self.first} to {self.last}"


def expected_lines(config: Config, streams: Layout) -> Iterator[Line]:
    """Every line of the whole run, in order."""
    steps, kept = config.train.steps, set(config.checkpoints.keep.upto(config.train.steps))
    closing = {stream: [0, *boundaries(config, streams, stream)] for stream in streams}
    shards = {stream: {b: a for a, b in pairwise(closing[stream])} for stream in streams}
    checkpoints = checkpoint_steps(config)
    before = dict(zip(checkpoints[1:], checkpoints, strict=False))
    yield Line("begin", RUN_JSON, 0, 0)
    for step in sorted({*checkpoints, *(b for ends in shards.values() for b in ends)}):
        for stream in sorted(streams):
            first = shards[stream].get(step)
            if first is not None and _records(config, stream, first, step - 1):
                yield from shard_lines(streams[stream], stream, first, step - 1)
        if step in checkpoints:
            yield Line("checkpoint", f"{checkpoint_folder(step)}/{STATE}", step, step)
            if step in before and before[step] not in kept:
                yield Line("retire", f"{checkpoint_folder(before[step])}/{STATE}", before[step], before[step])
    for stream in sorted(streams):
        if _records(config, stream, steps, steps):
            yield from shard_lines(streams[stream], stream, steps, steps, OF_LAST)
    yield Line("finish", None, 0, steps)


def _records(config: Config, stream: str, first: int, last: int) -> bool:
    """Does a stream record any of the steps first … last?"""
    return next(due(config, stream, first=first, last=last), None) is not None


def shard_lines(
    owners: dict[str, dict[str, Column]], stream: str, first: int, last: int, groups: tuple[str, ...] = GROUPS
) -> Iterator[Line]:
    """The shards of a stream that recorded some of the steps [first, last], in order."""
    for owner in shard_owners(owners, groups):
        yield Line("shard", shard_name(stream, owner, first, last), first, last)


class Surprise(NamedTuple):
    """A line that is not the one that the config has there, in words. `entry`: the line, if it belongs nowhere behind
    those before it; None where others before it are lacking.
    """

    reason: str
    entry: Entry | None


def surprises(config: Config, streams: Layout, manifest: Manifest) -> Iterator[Surprise]:
    """Where a manifest differs from the lines that its config determines.

    Lines of drift stand where the run was resumed; those of an unfinished run may end anywhere.
    """
    lines = _Lines(expected_lines(config, streams))
    reached, resumed = 0, -1  # steps that the lines before are about, and at which a drift just before was recorded
    for number, entry in enumerate(manifest.entries, 1):
        line = Line(entry.kind, entry.name, entry.first, entry.last)
        if entry.kind == "drift":
            if entry.first < max(reached, resumed):
                yield Surprise(f"line {number} is {line}, behind lines about later steps", entry)
                continue
            resumed = entry.first
        else:
            if line != (wanted := lines.next()):
                fits = lines.go_behind(line, wanted)
                reason = f"line {number} is {line}; the config has {wanted or 'no more'} there"
                yield Surprise(reason, None if fits else entry)
                if not fits:
                    continue
            end = entry.last + 1 if entry.kind == "shard" else entry.last
            if resumed >= 0 and (entry.kind == "retire" or end < resumed + (entry.kind != "finish")):
                reason = f"line {number} is {line}, behind a drift at step {resumed}, to which nothing leads"
                yield Surprise(reason, None)
            reached, resumed = max(reached, end), -1


class _Lines:
    """Lines that are expected, one at a time."""

    def __init__(self, lines: Iterator[Line]) -> None:
        self._lines = lines
        self._rest: list[Line] | None = None  # known from the first surprise on
        self._places: dict[Line, int] = {}
        self._at = 0

    def next(self) -> Line | None:
        if self._rest is None:
            return next(self._lines, None)
        self._at += 1
        return self._rest[self._at - 1] if self._at <= len(self._rest) else None

    def go_behind(self, line: Line, wanted: Line | None) -> bool:
        """Go on behind this line, if it is expected behind `wanted`, which came last; else `wanted` comes again."""
        if self._rest is None:
            self._rest = [*([wanted] if wanted else []), *islice(self._lines, MAX_ENTRIES)]
            self._places = {line: place for place, line in enumerate(self._rest)}
            self._at = 1
        place = self._places.get(line, -1)
        fits = place >= self._at
        self._at = place + 1 if fits else self._at - 1
        return fits
