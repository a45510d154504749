"""The recorder: has observers look at each step, stacks their rows, seals them into shards.

It only looks: no training forward, no draw. What is measured on the arms' device comes to the host in one transfer a
step, and is stacked a step later. Every stream's bytes are independent of which others are on.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from coupled.arms.arm import Arm
from coupled.config import Config
from coupled.graphs import OFF, Graphs
from coupled.inputs.certificate import Links
from coupled.inputs.source import Batch
from coupled.recording.commits import Commits
from coupled.recording.layout import GROUPS, SHARED, Column, Layout, dependents
from coupled.recording.observation import Observation, Observer, Rows, StepObservation
from coupled.recording.schedule import OF_LAST, boundaries, due, shard_owners
from coupled.recording.transfer import Transfer, send
from coupled.recording.weights import LayerGeometry
from coupled.recording.writer import Writer
from coupled.store import (
    Committed,
    Objects,
    RunDirectory,
    StoreError,
    TensorFile,
    shard_name,
    to_bytes,
)
from coupled.store.errors import one_line

Stacks = dict[str, list[np.ndarray]]


class Beside(Protocol):
    """What comes to the host together with what a step records, and is read before any of that is kept."""

    @property
    def coming(self) -> Sequence[Transfer]: ...

    def read(self) -> None: ...


class Recorder:
    """Has `observers`, one a stream, look by the streams' schedules, and `writer` commit shards of what they see.

    It records the arms that live here and, on rank 0, what arms share; on ranks that share an arm with another before
    them, nothing.
    """

    def __init__(
        self,
        config: Config,
        streams: Layout,
        arms: Mapping[str, Arm],
        observers: Sequence[Observer],
        commits: Commits,
        writer: Writer,
        fingerprint: str,
        beside: Beside | None = None,
        graphs: Graphs = OFF,
    ) -> None:
        self.streams, self.arms, self.fingerprint, self._beside = streams, arms, fingerprint, beside
        self.observers = {observer.stream: observer for observer in observers}
        assert self.observers.keys() == streams.keys(), "every stream has an observer"
        self.commits, self.writer, self.mesh, self._graphs = commits, writer, commits.mesh, graphs
        self.due = {stream: frozenset(due(config, stream)) for stream in streams}
        self.closing = {stream: frozenset(boundaries(config, streams, stream)) for stream in streams}
        self.dependents = dependents(config)
        self.geometry = LayerGeometry(next(iter(arms.values())).state, config)
        self._stacks: dict[tuple[str, str], Stacks] = defaultdict(lambda: defaultdict(list))
        self._coming: list[tuple[str, int, Transfer]] = []
        self._sums: list[Transfer] = []
        self._first: dict[str, int] = dict.fromkeys(streams, 0)
        self._seen: StepObservation | None = None
        # The last rows of the stream scalars that came to the host: (step, values by owner and column).
        self.newest: tuple[int, Mapping[tuple[str, str], np.ndarray]] | None = None

    def observe(self, step: int, batch: Batch, links: Links) -> None:
        """State and batch of `step`, after every arm's backward and before any update. UserError on all ranks where a
        user's own stream fails on one.
        """
        looking = self._looking(step)
        graphs = self._graphs if batch.in_place else OFF
        seen = StepObservation(
            step, self.arms, self.mesh, self.geometry, self.dependents, looking, batch, links, graphs
        )
        for observer in looking:
            self._put(observer.stream, step, _joined(observer.state(seen), observer.batch(seen)))
        self._seen, self._sums = seen, seen.sums()
        self._heed(step)

    def observe_update(self, step: int) -> None:
        """What the update from `step` to `step` + 1 moved."""
        seen, self._seen = self._seen, None
        assert seen is not None and seen.step == step, "the step was observed before its update"
        for observer in seen.looking:
            self._put(observer.stream, step, observer.update(seen))
        self._send()

    def observe_state(self, step: int) -> None:
        """The state after `step` updates, without a batch."""
        looking = self._looking(step)
        seen = Observation(step, self.arms, self.mesh, self.geometry, self.dependents, looking)
        for observer in looking:
            self._put(observer.stream, step, observer.state(seen))
        self._sums = seen.sums()
        self._heed(step)
        self._send()

    def observe_last(self, step: int) -> None:
        """The last state, which has no batch, in shards of their own, after the last checkpoint."""
        self.observe_state(step)
        self._seal(self.streams, step, step, OF_LAST)

    def seal(self, step: int) -> None:
        """Commit the shards that close at `step`, in the order of stream and owner."""
        if closing := [stream for stream in self.streams if step in self.closing[stream]]:
            self._seal(closing, step - 1, step)

    def _looking(self, step: int) -> list[Observer]:
        """The observers that look at a step on this rank."""
        return [
            observer
            for stream, observer in self.observers.items()
            if step in self.due[stream] and (self.mesh.writes or observer.on_every_data_rank)
        ]

    def _heed(self, step: int) -> None:
        """What went wrong in a user's own function stops all ranks: a meeting of them, where any such is due."""
        may_fail = [observer for observer in self.observers.values() if observer.may_fail]
        if not any(step in self.due[observer.stream] for observer in may_fail):
            return
        error = next((observer.error for observer in may_fail if observer.error is not None), None)
        if any(self.mesh.most(error is not None)):
            if self._beside is not None:
                self._beside.read()  # a function that was given what is not finite is not to blame
            self.mesh.agree(error)

    def _put(self, stream: str, step: int, rows: Rows) -> None:
        held = {owner: row for owner, row in rows.items() if self.mesh.holds(owner)}
        self._coming.append((stream, step, Transfer(held)))

    def _send(self) -> None:
        """Start on its way all that the step has put on a GPU, together."""
        beside = () if self._beside is None else self._beside.coming
        send([*self._sums, *beside, *(transfer for _, _, transfer in self._coming)])
        self._sums = []

    def settle(self) -> None:
        """Stack the rows that are still coming, once what comes beside them was read: those of the step before, to be
        called when the device has the next one's backward to do.
        """
        self._send()  # what nothing has followed yet
        if self._beside is not None:
            self._beside.read()
        coming, self._coming = self._coming, []
        for stream, step, transfer in coming:
            arrays = transfer.arrays()
            if stream == "scalars" and arrays:
                self.newest = step, arrays
            for (owner, name), array in arrays.items():
                column, stacks = self.streams[stream][owner][name], self._stacks[stream, owner]
                assert (str(array.dtype), array.shape) == (column.dtype, column.shape), (stream, owner, name)
                stacks[name].append(array)
                steps = stacks[f"{name.partition('.')[0]}.step"]
                if not steps or steps[-1] != step:
                    steps.append(np.int64(step))  # type: ignore[reportArgumentType]

    def _seal(self, streams: Iterable[str], last: int, boundary: int, groups: tuple[str, ...] = GROUPS) -> None:
        self.settle()
        for stream in sorted(streams):
            first, self._first[stream] = self._first[stream], boundary
            if self.mesh.writes and any(step in self.due[stream] for step in range(first, last + 1)):
                self._seal_stream(stream, first, last, groups)

    def _seal_stream(self, stream: str, first: int, last: int, groups: tuple[str, ...]) -> None:
        """Have this rank's shards of the stream written, and all ranks' committed."""
        names = {owner: shard_name(stream, owner, first, last) for owner in shard_owners(self.streams[stream], groups)}
        kept: dict[str, Stacks] = {}
        for owner, name in names.items():
            stacks = self._stacks.pop((stream, owner), {})
            if self.mesh.holds(owner):
                fixed = self.observers[stream].fixed() if owner == SHARED else {}
                kept[name] = {**stacks, **{column: [value] for column, value in fixed.items()}}
        size = sum(value.nbytes for stacks in kept.values() for values in stacks.values() for value in values)

        def put(objects: Objects) -> list[Committed]:
            return [objects.put(name, self._shard(stacks)) for name, stacks in kept.items()]

        def line(directory: RunDirectory, done: Sequence[Committed]) -> None:
            for committed in done:
                directory.append_shard(committed, first, last)

        self.writer.put(size, partial(self.commits.commit, list(names.values()), put, line))

    def _shard(self, stacks: Stacks) -> memoryview | bytes:
        return to_bytes(_stacked(stacks), {"fingerprint": self.fingerprint})

    def open_rows(self) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, int]]:
        """The rows of shards that have not closed, by owner, as `stream/owner/column`; and the step at which each
        stream's shard began. Every owner that is recorded here is there, if with no rows.
        """
        self.settle()
        rows: dict[str, dict[str, np.ndarray]] = {owner: {} for owner in (*self.arms, SHARED) if self.mesh.holds(owner)}
        for (stream, owner), kept in sorted(self._stacks.items()):
            rows[owner] |= {f"{stream}/{owner}/{column}": array for column, array in _stacked(kept).items()}
        return rows, dict(self._first)

    def open_fixed(self) -> dict[str, np.ndarray]:
        """What is the same at every step of the streams with such rows, named like them: who reads them needs it."""
        streams = sorted({stream for (stream, _), kept in self._stacks.items() if kept})
        fixed = {stream: self.observers[stream].fixed() for stream in streams}
        return {f"{stream}/{SHARED}/{name}": array for stream, of in fixed.items() for name, array in of.items()}

    def begin_at(self, step: int) -> None:
        """Go on from a checkpoint at `step`, where every shard closed."""
        self._first = dict.fromkeys(self.streams, step)

    def begin_shards(self, path: Path, first: Any) -> None:
        """Go on between checkpoints: the steps at which each stream's shard began, as `open_rows` gave them.

        Raises StoreError, naming `path`, if they are not of this run's streams.
        """
        whole = isinstance(first, dict) and first.keys() == self._first.keys()
        if not whole or not all(type(step) is int for step in first.values()):
            raise StoreError(path, "the steps at which its shards began are not those of the run's streams")
        self._first = dict(first)

    def load_open_rows(self, owner: str, file: TensorFile) -> None:
        """An owner's rows as `open_rows` gave them. Raises StoreError if these are not rows of this run."""
        for name, array in file.items():
            stream, named, column = [*name.split("/"), "", ""][:3]
            columns = self.streams.get(stream, {}).get(owner, {}) if named == owner else {}
            if column in columns and column.startswith("fixed."):
                continue  # for those who read: the observers have it
            self._check_rows(file.path, name, columns, column, array)
            self._stacks[stream, owner][column] = list(array)

    @staticmethod
    def _check_rows(path: Path, name: str, columns: Mapping[str, Column], column: str, array: np.ndarray) -> None:
        known = columns.get(column)
        if known is None and column.endswith(".step"):
            known = Column("int64")
        if known is None or (str(array.dtype), array.shape[1:]) != (known.dtype, known.shape) or not array.ndim:
            raise StoreError(path, f"{one_line(name)} is no column of this run")


def _stacked(stacks: Stacks) -> dict[str, np.ndarray]:
    """Rows as tensors along their steps; what is fixed, as it is."""
    return {name: values[0] if name.startswith("fixed.") else np.stack(values) for name, values in stacks.items()}


def _joined(state: Rows, batch: Rows) -> Rows:
    """The rows of both, by owner."""
    return {owner: {**state.get(owner, {}), **batch.get(owner, {})} for owner in dict.fromkeys([*state, *batch])}
