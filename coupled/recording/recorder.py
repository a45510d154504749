"""The recorder: looks at each step's state, stacks rows, seals them into shards.

It only looks: no training forward, no draw. What it measures on the arms' device comes to the host in one transfer
a stream. Every stream's bytes are independent of which others are on.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from coupled.arms.arm import Arm
from coupled.config import Arm as ArmConfig
from coupled.config import Config
from coupled.config.arms import objective_of
from coupled.inputs.certificate import Link
from coupled.inputs.source import Batch
from coupled.objectives.registry import Objective
from coupled.ranks.exchange import whole_views
from coupled.recording.commits import Commits
from coupled.recording.layout import (
    GROUPS,
    SHARED,
    STREAMS,
    Column,
    Layout,
    crossed,
    dependents,
    has_positive_gap,
)
from coupled.recording.observers.panels import Panels
from coupled.recording.observers.pixels import pixel_digests
from coupled.recording.observers.scalars import Crossed, batch_scalars
from coupled.recording.observers.weights import LayerGeometry, state_columns
from coupled.recording.schedule import OF_LAST, boundaries, due, shard_owners
from coupled.recording.writer import Writer
from coupled.runtime import one_thread
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

Row = Mapping[str, Tensor | np.ndarray]
Rows = dict[str, list[np.ndarray]]


class Recorder:
    """Observes every step's state and batch by the streams' schedules, and has `writer` commit shards.

    It records the arms that live here and, on rank 0, what arms share; on ranks that share an arm with another before
    them, nothing.
    """

    def __init__(
        self,
        config: Config,
        streams: Layout,
        arms: Mapping[str, Arm],
        panels: Panels,
        commits: Commits,
        writer: Writer,
        fingerprint: str,
    ) -> None:
        self.streams, self.arms, self.panels, self.fingerprint = streams, arms, panels, fingerprint
        self.commits, self.writer, self.mesh = commits, writer, commits.mesh
        self.due = {stream: frozenset(due(config, stream)) for stream in STREAMS}
        self.closing = {stream: frozenset(boundaries(config, streams, stream)) for stream in STREAMS}
        self.crossed = [Crossed(name, *_measured(config.arms[name])) for name in crossed(config)]
        self.with_positive = has_positive_gap(config)
        self.dependents = dependents(config)
        self.geometry = LayerGeometry(next(iter(arms.values())).state)
        self._rows: dict[tuple[str, str], Rows] = defaultdict(lambda: defaultdict(list))
        self._first: dict[str, int] = dict.fromkeys(STREAMS, 0)
        self._before: dict[str, Tensor] = {}

    def observe(self, step: int, batch: Batch, link: Link) -> None:
        """State and batch of `step`, after every arm's backward and before any update."""
        if self.mesh.writes:
            self.observe_state(step)
            with one_thread():
                self._observe_batch(step, batch, link)
        if self.mesh.arms.index == 0 and self._is_due("pixels", step):
            digests = whole_views(torch.tensor(pixel_digests(batch.pixels)), self.mesh.data)
            self._put("pixels", SHARED, step, {"batch.pixels_digest": digests})

    def _observe_batch(self, step: int, batch: Batch, link: Link) -> None:
        if self._is_due("scalars", step):
            self._observe_scalars(step, batch, link)
        if self._is_due("layers", step):
            norms = {name: self.geometry.norms(arm.state.gradient) for name, arm in self.arms.items()}
            self._put_each("layers", step, {name: {"batch.gradient_norm": norm} for name, norm in norms.items()})
            self._before = {name: arm.state.weights.clone() for name, arm in self.arms.items()}
        if self._is_due("similarity", step):
            self._put_each("similarity", step, {name: {"batch.z": arm.z} for name, arm in self.arms.items()})
            labels = {f"batch.labels.{name}": values for name, values in batch.labels.items()}
            self._put("similarity", SHARED, step, {"batch.ids": batch.ids, "batch.visits": batch.visits, **labels})

    def observe_update(self, step: int) -> None:
        """What the update from `step` to `step` + 1 moved."""
        if self._is_due("layers", step) and self.mesh.writes:
            with one_thread():
                norms = {n: self.geometry.norms(a.state.weights - self._before[n]) for n, a in self.arms.items()}
            self._put_each("layers", step, {name: {"update.norm": norm} for name, norm in norms.items()})
            self._before = {}

    def observe_last(self, step: int) -> None:
        """The last state: weights and panels only, in shards of their own, after the last checkpoint."""
        if self.mesh.writes:
            self.observe_state(step)
        self._seal(STREAMS, step, step, OF_LAST)

    def seal(self, step: int) -> None:
        """Commit the shards that close at `step`, in the order of stream and owner."""
        closing = [stream for stream in STREAMS if step in self.closing[stream]]
        self._seal(closing, step - 1, step)

    def observe_state(self, step: int) -> None:
        """Weights and panels of the state after `step` updates, which needs no batch."""
        if self._is_due("scalars", step) or self._is_due("layers", step):
            with one_thread():
                scalars, layers = state_columns(self.geometry, self.arms, self.mesh, self.dependents)
            for stream, columns in (("scalars", scalars), ("layers", layers)):
                if self._is_due(stream, step):
                    self._put_each(stream, step, columns)
        if self._is_due("panel", step):
            self._put_each("panel", step, self.panels.panel(self.arms))
        if self._is_due("surrogate", step):
            self._put_each("surrogate", step, self.panels.surrogate(self.arms))

    def _observe_scalars(self, step: int, batch: Batch, link: Link) -> None:
        rows = {
            name: batch_scalars(arm, batch, self.crossed, with_positive=self.with_positive)
            for name, arm in self.arms.items()
        }
        self._put_each("scalars", step, rows)
        digests = {"ids_digest": link.ids, "draws_digest": link.draws, "chain": link.chain}
        row = {f"batch.{name}": np.frombuffer(value, np.uint8) for name, value in digests.items()}
        self._put("scalars", SHARED, step, {"batch.learning_rate": np.array(link.learning_rate), **row})

    def _is_due(self, stream: str, step: int) -> bool:
        return step in self.due[stream]

    def _put_each(self, stream: str, step: int, rows: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Rows of every arm. Equal-dtype tensors travel to the host together."""
        flat = [(arm, column, value) for arm, row in rows.items() for column, value in row.items()]
        host = torch.cat([value.detach().reshape(-1) for _, _, value in flat]).cpu().numpy()
        start = 0
        arrays: dict[str, dict[str, np.ndarray]] = defaultdict(dict)
        for arm, column, value in flat:
            arrays[arm][column] = host[start : start + value.numel()].reshape(value.shape)
            start += value.numel()
        for arm, row in arrays.items():
            self._put(stream, arm, step, row)

    def _put(self, stream: str, owner: str, step: int, row: Row) -> None:
        if not self.mesh.holds(owner):
            return
        spec, rows = self.streams[stream][owner], self._rows[stream, owner]
        for column, value in row.items():
            array = value.cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
            assert (str(array.dtype), array.shape) == (spec[column].dtype, spec[column].shape), (stream, owner, column)
            rows[column].append(array)
        for group in {column.partition(".")[0] for column in row}:
            steps = rows[f"{group}.step"]
            if not steps or steps[-1] != step:
                steps.append(np.int64(step))  # type: ignore[reportArgumentType]

    def _seal(self, streams: Sequence[str], last: int, boundary: int, groups: tuple[str, ...] = GROUPS) -> None:
        for stream in sorted(streams):
            first, self._first[stream] = self._first[stream], boundary
            if self.mesh.writes and any(step in self.due[stream] for step in range(first, last + 1)):
                self._seal_stream(stream, first, last, groups)

    def _seal_stream(self, stream: str, first: int, last: int, groups: tuple[str, ...]) -> None:
        """Have this rank's shards of the stream written, and all ranks' committed."""
        names = {owner: shard_name(stream, owner, first, last) for owner in shard_owners(self.streams[stream], groups)}
        kept: dict[str, Rows] = {}
        for owner, name in names.items():
            rows = self._rows.pop((stream, owner), {})
            if self.mesh.holds(owner):
                fixed = self.panels.fixed(stream) if owner == SHARED else {}
                kept[name] = {**rows, **{column: [value] for column, value in fixed.items()}}
        size = sum(value.nbytes for rows in kept.values() for values in rows.values() for value in values)

        def put(objects: Objects) -> list[Committed]:
            return [objects.put(name, self._shard(rows)) for name, rows in kept.items()]

        def line(directory: RunDirectory, done: Sequence[Committed]) -> None:
            for committed in done:
                directory.append_shard(committed, first, last)

        self.writer.put(size, partial(self.commits.commit, list(names.values()), put, line))

    def _shard(self, rows: Rows) -> memoryview | bytes:
        return to_bytes(_stacked(rows), {"fingerprint": self.fingerprint})

    def open_rows(self) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, int]]:
        """The rows of shards that have not closed, by owner, as `stream/owner/column`; and the step at which each
        stream's shard began. Every owner that is recorded here is there, if with no rows.
        """
        rows: dict[str, dict[str, np.ndarray]] = {owner: {} for owner in (*self.arms, SHARED) if self.mesh.holds(owner)}
        for (stream, owner), kept in sorted(self._rows.items()):
            rows[owner] |= {f"{stream}/{owner}/{column}": array for column, array in _stacked(kept).items()}
        return rows, dict(self._first)

    def begin_at(self, step: int) -> None:
        """Go on from a checkpoint at `step`, where every shard closed."""
        self._first = dict.fromkeys(STREAMS, step)

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
            stream, found, column = [*name.split("/"), "", ""][:3]
            spec = self.streams.get(stream, {}).get(owner, {}) if found == owner else {}
            self._check_rows(file.path, name, spec, column, array)
            self._rows[stream, owner][column] = list(array)

    @staticmethod
    def _check_rows(path: Path, name: str, spec: Mapping[str, Column], column: str, array: np.ndarray) -> None:
        known = spec.get(column)
        if known is None and column.endswith(".step"):
            known = Column("int64")
        if known is None or (str(array.dtype), array.shape[1:]) != (known.dtype, known.shape) or not array.ndim:
            raise StoreError(path, f"{one_line(name)} is no column of this run")


def _stacked(rows: Rows) -> dict[str, np.ndarray]:
    """Rows as tensors along their steps; what is fixed, as it is."""
    return {name: values[0] if name.startswith("fixed.") else np.stack(values) for name, values in rows.items()}


def _measured(arm: ArmConfig) -> tuple[Objective, str | None, float]:
    """What an arm's loss is made of."""
    assert arm.temperature is not None
    return objective_of(arm), arm.labelling, arm.temperature
