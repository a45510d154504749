"""When each stream records, when shards close, and when checkpoints are committed."""

import heapq
from collections.abc import Iterator
from dataclasses import fields, replace
from functools import lru_cache
from typing import Final

from coupled.config import Config, Schedule
from coupled.config.own_streams import own_stream
from coupled.recording.layout import GROUPS, SHARED, Column, Layout, row_bytes

OF_LAST: Final = ("state",)  # the groups of columns that the last state has: it has no batch and no update
SHARD_BYTES = 256 << 20


def due(config: Config, stream: str, group: str = "state", *, first: int = 0, last: int | None = None) -> Iterator[int]:
    """The steps in first … last (default: all) at which `stream` records `group`, ascending.

    A stream of batches, which has no state, records nothing at the last one; of other streams, the default group is due
    whenever any is. The steps come one at a time: a run.json from elsewhere may plan millions that no shard ever holds.
    """
    schedule = schedule_of(config, stream)
    has_last = group in OF_LAST and looks_at_last(config, stream)
    end = config.train.steps - (not has_last)
    stop = end if last is None else min(end, last)
    every = schedule.every
    points = (step for step in _points(schedule, config.train.steps) if first <= step <= stop)
    if not every:
        return iter(points)
    regular = range(-(-first // every) * every, stop + 1, every)
    return heapq.merge((step for step in points if step % every), regular)


def schedule_of(config: Config, stream: str) -> Schedule:
    """When a stream records."""
    own = own_stream(config, stream)
    return getattr(config.record, stream) if own is None else own.schedule


def looks_at_last(config: Config, stream: str) -> bool:
    """Does a stream look at states, and so at the last one too, which has no batch?"""
    if (own := own_stream(config, stream)) is not None:
        return own.of == "panel"
    return next(field.metadata["states"] for field in fields(config.record) if field.name == stream)


@lru_cache
def _points(schedule: Schedule, last: int) -> tuple[int, ...]:
    """The steps that a schedule names one by one, beside every k-th."""
    return tuple(replace(schedule, every=0).upto(last))


def shard_owners(owners: dict[str, dict[str, Column]], groups: tuple[str, ...] = GROUPS) -> list[str]:
    """The owners for whom a stream, where columns of these groups are due, has a shard, in order."""
    kept = {owner: {column.partition(".")[0] for column in columns} for owner, columns in owners.items()}
    return [owner for owner in sorted(kept) if kept[owner] & {*groups, *(("fixed",) if owner == SHARED else ())}]


def checkpoint_steps(config: Config) -> list[int]:
    """The steps at which a checkpoint is committed, permanent or for recovery, ascending."""
    every = (config.checkpoints.keep, config.checkpoints.recovery)
    return sorted({step for schedule in every for step in schedule.upto(config.train.steps)})


def manifest_lines(config: Config, streams: Layout) -> int:
    """At most how many lines the run's manifest will have: beginning, shards, checkpoints, retirements, end."""
    shards = sum(len(owners) * (len(boundaries(config, streams, stream)) + 1) for stream, owners in streams.items())
    checkpoints = len(checkpoint_steps(config))
    retired = checkpoints - len(config.checkpoints.keep.upto(config.train.steps))
    return 1 + shards + checkpoints + retired + 1


def boundaries(config: Config, streams: Layout, stream: str) -> list[int]:
    """The steps at which the shards of `stream` close: a shard closed at step b holds only steps below b.

    Every scheduled checkpoint step, and between them after as many rows as SHARD_BYTES hold in the largest owner.
    The last state T comes after the last boundary, in a shard of its own.
    """
    # A stream may have no owner: of an arm that is compared with none, say.
    limit = max(1, SHARD_BYTES // max([1, *map(row_bytes, streams[stream].values())]))
    closing = set(checkpoint_steps(config)) | {config.train.steps}
    rows = 0
    for step in due(config, stream, last=config.train.steps - 1):
        rows = 0 if step in closing else rows
        if rows == limit:
            closing.add(step)
            rows = 0
        rows += 1
    return sorted(closing - {0})


def kept_steps(config: Config) -> frozenset[int]:
    """The steps whose checkpoints are permanent."""
    return frozenset(config.checkpoints.keep.upto(config.train.steps))
