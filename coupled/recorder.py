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

from coupled.arms import Arm
from coupled.certificate import Link, pixel_digests
from coupled.config import Config
from coupled.layout import SHARED, STREAMS, Column, Layout, boundaries, crossed, has_positive_gap, schedule_of
from coupled.measures import LayerGeometry, batch_scalars, state_columns
from coupled.panels import Panels
from coupled.runtime import one_thread
from coupled.source import Batch
from coupled.store import RunDirectory, StoreError, TensorFile, shard_name, to_bytes
from coupled.store.errors import one_line
from coupled.writer import Writer

Row = Mapping[str, Tensor | np.ndarray]
Rows = dict[str, list[np.ndarray]]


class Recorder:
    """Observes every step's state and batch by the streams' schedules, and has `writer` commit shards to `run`."""

    def __init__(
        self,
        config: Config,
        streams: Layout,
        arms: Mapping[str, Arm],
        panels: Panels,
        run: RunDirectory,
        writer: Writer,
        fingerprint: str,
    ) -> None:
        self.streams, self.arms, self.panels, self.fingerprint = streams, arms, panels, fingerprint
        self.run, self.writer = run, writer
        self.due = {stream: frozenset(schedule_of(config, stream)) for stream in STREAMS}
        self.closing = {stream: frozenset(boundaries(config, streams, stream)) for stream in STREAMS}
        self.crossed = [arms[name] for name in crossed(config)]
        self.with_positive = has_positive_gap(config)
        self.geometry = LayerGeometry(next(iter(arms.values())).state)
        self._rows: dict[tuple[str, str], Rows] = defaultdict(lambda: defaultdict(list))
        self._first: dict[str, int] = dict.fromkeys(STREAMS, 0)
        self._before: dict[str, Tensor] = {}

    def observe(self, step: int, batch: Batch, link: Link) -> None:
        """State and batch of `step`, after every arm's backward and before any update."""
        self.observe_state(step)
        with one_thread():
            self._observe_batch(step, batch, link)

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
        if self._is_due("pixels", step):
            self._put("pixels", SHARED, step, {"batch.pixels_digest": pixel_digests(batch.pixels)})

    def observe_update(self, step: int) -> None:
        """What the update from `step` to `step` + 1 moved."""
        if self._is_due("layers", step):
            with one_thread():
                norms = {n: self.geometry.norms(a.state.weights - self._before[n]) for n, a in self.arms.items()}
            self._put_each("layers", step, {name: {"update.norm": norm} for name, norm in norms.items()})
            self._before = {}

    def observe_last(self, step: int) -> None:
        """The last state: weights and panels only, in shards of their own, after the last checkpoint."""
        self.observe_state(step)
        self._seal(STREAMS, step, step)

    def seal(self, step: int) -> None:
        """Commit the shards that close at `step`, in the order of stream and owner."""
        closing = [stream for stream in STREAMS if step in self.closing[stream]]
        self._seal(closing, step - 1, step)

    def observe_state(self, step: int) -> None:
        """Weights and panels of the state after `step` updates, which needs no batch."""
        if self._is_due("scalars", step) or self._is_due("layers", step):
            with one_thread():
                scalars, layers = state_columns(self.geometry, self.arms)
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
        spec, rows = self.streams[stream][owner], self._rows[stream, owner]
        for column, value in row.items():
            array = value.cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
            assert (str(array.dtype), array.shape) == (spec[column].dtype, spec[column].shape), (stream, owner, column)
            rows[column].append(array)
        for group in {column.partition(".")[0] for column in row}:
            steps = rows[f"{group}.step"]
            if not steps or steps[-1] != step:
                steps.append(np.int64(step))  # type: ignore[reportArgumentType]

    def _seal(self, streams: Sequence[str], last: int, boundary: int) -> None:
        for stream in sorted(streams):
            owners = {owner: self._rows.pop((stream, owner), {}) for owner in sorted(self.streams[stream])}
            first, self._first[stream] = self._first[stream], boundary
            if not any(owners.values()):
                continue
            for owner, rows in owners.items():
                fixed = self.panels.fixed(stream) if owner == SHARED else {}
                if rows or fixed:
                    size = sum(value.nbytes for values in (*rows.values(), fixed.values()) for value in values)
                    name = shard_name(stream, owner, first, last)
                    self.writer.put(size, partial(self._commit, name, rows, fixed, first, last))

    def _commit(self, name: str, rows: Rows, fixed: Mapping[str, np.ndarray], first: int, last: int) -> None:
        data = to_bytes({**_stacked(rows), **fixed}, {"fingerprint": self.fingerprint})
        self.run.commit_shard(name, data, first, last)

    def open_rows(self) -> tuple[dict[str, np.ndarray], dict[str, int]]:
        """The rows of shards that have not closed, as `stream/owner/column`, and the step each stream's shard began."""
        rows = {
            f"{stream}/{owner}/{column}": array
            for (stream, owner), kept in sorted(self._rows.items())
            for column, array in _stacked(kept).items()
        }
        return rows, dict(self._first)

    def begin_at(self, step: int) -> None:
        """Go on from a checkpoint at `step`, where every shard closed."""
        self._first = dict.fromkeys(STREAMS, step)

    def load_open_rows(self, file: TensorFile, first: Mapping[str, Any]) -> None:
        """Go on from what `open_rows` gave. Raises StoreError if these are not rows of this run."""
        if first.keys() != self._first.keys() or not all(type(step) is int for step in first.values()):
            raise StoreError(file.path, "the steps at which its shards began are not those of the run's streams")
        for name, array in file.items():
            stream, owner, column = [*name.split("/"), "", ""][:3]
            self._check_rows(file.path, name, self.streams.get(stream, {}).get(owner, {}), column, array)
            self._rows[stream, owner][column] = list(array)
        self._first = dict(first)

    @staticmethod
    def _check_rows(path: Path, name: str, spec: Mapping[str, Column], column: str, array: np.ndarray) -> None:
        known = spec.get(column)
        if known is None and column.endswith(".step"):
            known = Column("int64")
        if known is None or (str(array.dtype), array.shape[1:]) != (known.dtype, known.shape) or not array.ndim:
            raise StoreError(path, f"{one_line(name)} is no column of this run")


def _stacked(rows: Rows) -> dict[str, np.ndarray]:
    return {name: np.stack(values) for name, values in rows.items()}
