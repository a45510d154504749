"""A run as the loop sees it: its arms, its inputs, what records it, and its checkpoints."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from coupled.arms.arm import Arm
from coupled.arms.audits import Audits
from coupled.arms.moves import Moves
from coupled.config import Config
from coupled.driver.guard import Guard
from coupled.driver.mirrors import Mirrors
from coupled.errors import RunStopped
from coupled.graphs import OFF, Graphs
from coupled.inputs.certificate import Chains
from coupled.inputs.in_place import InPlace
from coupled.inputs.source import Batch, Source, Stream
from coupled.ranks.faults import RankLost
from coupled.ranks.mesh import Mesh
from coupled.recording import checkpoints
from coupled.recording.commits import Commits
from coupled.recording.layout import SHARED, open_rows_of
from coupled.recording.ledger import Ledger
from coupled.recording.recorder import Recorder
from coupled.recording.writer import Writer
from coupled.store import (
    checkpoint_folder,
    preempt_folder,
)

_TRACKERS_S: Final = 8.0  # for trackers to end, of a run that ends by itself or was asked to


@dataclass(kw_only=True)
class Run:
    """A run as one of its processes sees it, ready to step from `start`. Closing releases the directory's lock.

    `arms`: those that live here; `directory`: None but on rank 0. `restored`: the run goes on from a state that was
    saved, and not from its beginning.
    """

    config: Config
    root: Path
    arms: dict[str, Arm]
    audits: Audits
    ledger: Ledger
    moves: Moves
    source: Source
    stream: Stream
    recorder: Recorder
    guard: Guard
    chains: Chains
    commits: Commits
    writer: Writer
    mirrors: Mirrors
    fingerprint: str
    checkpoint_steps: frozenset[int]
    graphs: Graphs = OFF
    in_place: InPlace = field(default_factory=InPlace)
    start: int = 0
    restored: bool = False

    @property
    def mesh(self) -> Mesh:
        return self.commits.mesh

    def log(self, event: Mapping[str, Any]) -> None:
        """An event into the run's log, by rank 0."""
        if self.commits.directory is not None:
            self.commits.directory.log(event)

    def is_behind(self, step: int) -> bool:
        """May the host take `step` without waiting for its flags? What changes a state that no flag masks may not: a
        ledger, nudges and kicks.
        """
        audited = bool(self.ledger.reference_of) and step in self.recorder.due["ledger"]
        return not (audited or self.moves.are_due(step + 1))

    def batch_at(self, step: int) -> Batch:
        """The batch of `step`."""
        batch = self.stream.at(step)
        return self.in_place(batch) if self.graphs.is_on else batch

    def begin(self) -> None:
        """Commit the shared start."""
        if not self.restored:
            self.checkpoint(0)

    def checkpoint(self, step: int) -> None:
        """Seal what closes at `step` and, on schedule, commit a checkpoint of the state after `step` updates."""
        self.recorder.seal(step)
        if step not in self.checkpoint_steps:
            return
        self.guard.read()
        if self.mesh.writes:
            arms = self._captured()
            size = sum(array.nbytes for arrays in arms.values() for array in arrays.values())
            self.writer.put(size, partial(self._commit_checkpoint, step, arms, self._state()))

    def _commit_checkpoint(self, step: int, arms: Mapping[str, checkpoints.Arrays], state: Mapping[str, Any]) -> None:
        folder = checkpoint_folder(step)
        self.commits.commit(
            [f"{folder}/{name}.safetensors" for name in sorted((*self.config.arms, *self.ledger.files))],
            lambda objects: objects.put_files(folder, checkpoints.saved_bytes(arms, self.fingerprint)),
            lambda directory, files: directory.append_checkpoint(step, files, state),
        )

    def preempt(self, step: int) -> None:
        """Save the state after `step` updates, between two steps. Shards stay open: all else is committed as if the run
        had not been stopped.
        """
        self.guard.read()
        self.drain()
        if step in self.checkpoint_steps or step == self.start:
            return
        self.mesh.together(lambda: self._save(step) if self.mesh.writes else None)

    def _save(self, step: int) -> None:
        rows, first = self.recorder.open_rows()
        if SHARED in rows:
            rows[SHARED] |= self.recorder.open_fixed()
        arrays = self._captured()
        arrays |= {open_rows_of(owner): columns for owner, columns in rows.items()}
        folder, state = preempt_folder(step), {**self._state(), "first": first}
        names = [*self.config.arms, *self.ledger.files, *map(open_rows_of, (*self.config.arms, SHARED))]
        self.commits.commit(
            [f"{folder}/{name}.safetensors" for name in sorted(names)],
            lambda objects: objects.put_files(folder, checkpoints.saved_bytes(arrays, self.fingerprint)),
            lambda directory, files: directory.append_preempt(step, files, state),
        )

    def _captured(self) -> dict[str, checkpoints.Arrays]:
        """The files of a checkpoint from this rank."""
        return {name: checkpoints.captured(arm) for name, arm in self.arms.items()} | self.ledger.captured()

    def finish(self) -> None:
        """Observe the last state by weights and panels, and commit the end."""
        steps = self.config.train.steps
        self.recorder.observe_last(steps)
        self.mirrors.finish()
        if (directory := self.commits.directory) is not None:
            self.writer.put(0, partial(directory.finish, steps))
        self.drain()

    def drain(self) -> None:
        """Wait until all that is to be written is, on every rank."""
        self.mesh.together(self.writer.drain)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End threads and processes and release the lock. A run that stopped by itself commits what it still can."""
        try:
            if error is None or (isinstance(error, RunStopped) and not isinstance(error, RankLost)):
                with suppress(RunStopped):  # the first error is the one to tell
                    self.writer.drain()
        finally:
            try:
                self.mirrors.close(_TRACKERS_S if error is None or isinstance(error, RunStopped) else 0.0)
            finally:
                self.writer.close()
                self.stream.close()
                self.graphs.forget()
                if self.commits.directory is not None:
                    self.commits.directory.close()

    def _state(self) -> dict[str, Any]:
        return {**self.chains.state(), "fingerprint": self.fingerprint}
