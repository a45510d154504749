"""When each stream records, when shards close, and when checkpoints are committed."""

import heapq
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from typing import Final

from coupled.config import Config, Schedule
from coupled.recording.layout import SHARED, Column, Layout

STACKED: Final = ("state", "batch", "update")
# The groups of columns that a step records, and that the last state does, which has no batch.
OF_STEPS = ("state", "batch", "update")
OF_LAST = ("state",)
SHARD_BYTES = 256 << 20
# The streams that look at the last state, T, which has no batch.
OF_LAST_STATE = ("scalars", "layers", "panel", "surrogate")


def due(config: Config, stream: str, group: str, first: int = 0, last: int | None = None) -> Iterator[int]:
    """The steps in first … last (default: all) at which `group` of `stream` is recorded, ascending.

    One at a time: a run.json from elsewhere may plan millions of steps that no shard ever holds.
    """
    schedule: Schedule = getattr(config.record, stream)
    end = config.train.steps
    if stream not in OF_LAST_STATE or group != "state":
        end -= 1  # the last state has no batch and no update
    points = [step for step in replace(schedule, every=0).upto(config.train.steps) if first <= step]
    regular = range(-(-first // schedule.every) * schedule.every, end + 1, schedule.every) if schedule.every else ()
    stop = end if last is None else min(end, last)
    for step, _ in groupby(heapq.merge(points, regular)):
        if step > stop:
            return
        yield step


def shard_owners(owners: dict[str, dict[str, Column]], groups: tuple[str, ...] = OF_STEPS) -> list[str]:
    """Those of a stream's owners that have a shard where columns of these groups are recorded, in order."""
    kept = {owner: {column.partition(".")[0] for column in columns} for owner, columns in owners.items()}
    return [owner for owner in sorted(kept) if kept[owner] & {*groups, *(("fixed",) if owner == SHARED else ())}]


def schedule_of(config: Config, stream: str) -> list[int]:
    """The steps at which a stream records, without T for streams that need a batch."""
    schedule: Schedule = getattr(config.record, stream)
    steps = schedule.upto(config.train.steps)
    return steps if stream in OF_LAST_STATE else [step for step in steps if step < config.train.steps]


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


def row_bytes(columns: dict[str, Column]) -> int:
    """Bytes of one recorded step of one owner."""
    return sum(column.bytes for name, column in columns.items() if not name.startswith("fixed."))


def boundaries(config: Config, streams: Layout, stream: str) -> list[int]:
    """The steps at which the shards of `stream` close: a shard closed at step b holds only steps below b.

    Every scheduled checkpoint step, and between them after as many rows as SHARD_BYTES hold in the largest owner.
    The last state T comes after the last boundary, in a shard of its own.
    """
    limit = max(1, SHARD_BYTES // max(map(row_bytes, streams[stream].values())))
    closing = set(checkpoint_steps(config)) | {config.train.steps}
    rows = 0
    for step in (step for step in schedule_of(config, stream) if step < config.train.steps):
        rows = 0 if step in closing else rows
        if rows == limit:
            closing.add(step)
            rows = 0
        rows += 1
    return sorted(closing - {0})


def kept_steps(config: Config) -> frozenset[int]:
    """The steps whose checkpoints are permanent."""
    return frozenset(config.checkpoints.keep.upto(config.train.steps))
