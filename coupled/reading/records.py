"""The records of a run, checked before they are believed: hash, fingerprint, columns, steps. Arrays are mapped."""

from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping
from copy import copy
from pathlib import Path
from threading import Lock
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from coupled.config import Arm, Config
from coupled.errors import UserError, printable, unknown
from coupled.reading.open_rows import OpenRows, open_rows
from coupled.reading.shard_rules import check_shard
from coupled.recording.layout import GROUPS, SHARED, train_layout
from coupled.recording.schedule import due
from coupled.store import (
    Entry,
    Manifest,
    StoreError,
    TensorFile,
    open_tensors,
    shard_name,
    verify_object,
)
from coupled.store.errors import one_line
from coupled.store.manifest import MANIFEST

T = TypeVar("T")
Block = tuple[NDArray[np.int64], NDArray[Any]]


class Records:
    """What the committed shards of one run hold.

    `path` the run directory, `config` the resolved config, `facts` the whole run.json. The manifest is read when the
    run is opened: of a run that is still written, this is its state at that moment. `shards`: its committed shards by
    stream and owner, in the order of their steps. `verified`: the hashes of all of them were checked already; otherwise
    each is before it is first believed.
    """

    def __init__(
        self, path: Path, config: Config, facts: Mapping[str, Any], manifest: Manifest, *, verified: bool = False
    ) -> None:
        self.path, self.config, self.facts = path, config, facts
        self.fingerprint: str = facts["fingerprint"]
        self.layout = train_layout(config)
        self._verified = verified
        self._take_in(manifest)

    def _take_in(self, manifest: Manifest) -> None:
        self.manifest, self.finished = manifest, manifest.finished
        self.shards: dict[tuple[str, str], list[Entry]] = {}
        self._files: dict[str, TensorFile] = {}
        self._open_rows: dict[str, OpenRows] = {}
        self._opening = Lock()
        self._remembered: dict[Hashable, Any] = {}
        self._last: int | None = None
        for entry in manifest.entries:
            if entry.kind == "shard":
                self._add(entry)
        if self.finished and manifest.entries[-1].last != self.planned_steps:
            last = manifest.entries[-1].last
            raise StoreError(self.path / MANIFEST, f"finished at step {last}, train.steps is {self.planned_steps}")

    def grown(self, manifest: Manifest) -> Self:
        """These records with what the run has committed since: shards that were opened, and are still committed as they
        were, are not read again.
        """
        later = copy(self)
        later._take_in(manifest)
        before = {entry.name: entry.sha256 for entries in self.shards.values() for entry in entries}
        for entry in (entry for entries in later.shards.values() for entry in entries):
            name = str(entry.name)
            if name in self._files and before[name] == entry.sha256:
                later._files[name] = self._files[name]
        return later

    def take_open_rows(self) -> None:
        """Takes in what the run, asked to stop between two checkpoints, has saved in preempt/: rows that are not
        committed yet, and will be with the same bytes. They are read as shards behind the others. StoreError for a
        damaged state.
        """
        for rows in open_rows(self.path, self.manifest, self.layout):
            self._open_rows[str(rows.entry.name)] = rows
            self._append(rows.stream, rows.owner, rows.entry)

    @property
    def name(self) -> str:
        """The folder's name, for people."""
        return printable(self.path.resolve().name)

    @property
    def arms(self) -> dict[str, Arm]:
        """The arms in the config's order, controls resolved to the objective they copy."""
        return self.config.arms

    @property
    def precision(self) -> str:
        return self.config.train.precision

    @property
    def steps(self) -> int | None:
        """The last step that the records reach: train.steps of a finished run, None before the first shard."""
        return self._last

    @property
    def planned_steps(self) -> int:
        return self.config.train.steps

    def arm(self, name: str) -> Arm:
        """The arm of that name; UserError with the nearest name if there is none."""
        if name not in self.arms:
            raise unknown("arm", name, self.arms)
        return self.arms[name]

    def remembered(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` gives, made once: what is committed does not change."""
        if key not in self._remembered:
            self._remembered[key] = make()
        return self._remembered[key]

    def columns(self, stream: str) -> list[str]:
        """The columns that every arm has in a stream, by the config."""
        return list(self.layout[stream][next(iter(self.arms))])

    def row_shape(self, stream: str, owner: str, column: str) -> tuple[int, ...]:
        """Shape of one recorded step of a column."""
        return self.layout[stream][owner][column].shape

    def schedules(self, stream: str, group: str = "state") -> bool:
        """Does the config record `group` (state, batch, update) of `stream` at any step? Default: anything of it."""
        if stream not in self.layout:
            raise unknown("stream", stream, self.layout)
        return next(due(self.config, stream, group), None) is not None

    def awaits(self, stream: str, *owners: str) -> bool:
        """Will the run, still written, have records of `stream` of these owners, but of one of them has none yet?"""
        missing = any((stream, owner) not in self.shards for owner in owners)
        return missing and not self.finished and self.schedules(stream)

    def stream(self, stream: str, owner: str) -> Iterator[TensorFile]:
        """The committed shards of a stream and owner (an arm or "shared") in step order, each verified on first use.

        A shard maps tensor names (`group.column`) to read-only, memory-mapped arrays. Raises UserError if the run has
        no such records, StoreError (while iterating) for a shard that is damaged, of another run, or holds anything but
        the columns and steps that the config says.
        """
        if stream not in self.layout:
            raise unknown("stream", stream, self.layout)
        if owner != SHARED:
            self.arm(owner)
        if not self.schedules(stream):
            raise UserError(
                f"{self.path} records no {stream}",
                f"its config has an empty schedule record.{stream}",
                "train with one",
            )
        shards = self.shards.get((stream, owner), [])
        if not shards:
            raise self._nothing(stream, owner)
        return map(self.open, shards)

    def verify(self) -> None:
        """Checks every committed shard now, before anything is made of one of them. Raises StoreError."""
        for stream, owners in self.layout.items():
            for owner in owners:
                if self.schedules(stream) and not self.awaits(stream, owner):
                    deque(self.stream(stream, owner), maxlen=0)

    def blocks(self, stream: str, owner: str, column: str) -> Iterator[Block]:
        """(steps (k,), values (k, …)) of a column such as "batch.z", shard by shard, values memory-mapped.

        Raises like `stream`; StoreError too where steps between shards or, of a finished run, at the end are lacking.
        """
        files = self.stream(stream, owner)
        group, known = column.partition(".")[0], self.layout[stream].get(owner, {})
        names = [name for name in known if name.partition(".")[0] in GROUPS]
        if column not in names:
            raise unknown(f"column of {stream}/{owner}", column, names)
        if not self.schedules(stream, group):
            raise UserError(f"{self.path} records no {group} of {stream}", "the last state has none", "train with one")
        return self._in_order(stream, owner, column, files)

    def column(self, stream: str, owner: str, column: str) -> Block:
        """All recorded steps, int64 (k,), and values (k, …) of a column that fits in memory. Raises like `blocks`."""
        blocks = list(self.blocks(stream, owner, column))
        return np.concatenate([steps for steps, _ in blocks]), np.concatenate([values for _, values in blocks])

    def fixed(self, stream: str, column: str) -> NDArray[Any]:
        """A column that is the same at every step, such as "fixed.ids" of the panel. Raises like `stream`."""
        shards = self.stream(stream, SHARED)
        names = [name for name in self.layout[stream][SHARED] if name.startswith("fixed.")]
        if column not in names:
            raise unknown(f"column of {stream}", column, names)
        return next(shards)[column]

    def committed(self, stream: str, owner: str, column: str) -> Iterator[Block]:
        """The blocks of a column that are committed so far, which may be none: nothing is said of what is lacking."""
        group = column.partition(".")[0]
        for file in map(self.open, self.shards.get((stream, owner), [])):
            if column in file:
                yield file[f"{group}.step"], file[column]

    def committed_steps(self, stream: str, owner: str, group: str) -> NDArray[np.int64]:
        """The steps of a group that are committed so far, int64 (k,)."""
        steps = [values for _, values in self.committed(stream, owner, f"{group}.step")]
        return np.concatenate([np.empty(0, np.int64), *steps])

    def shard_at(self, stream: str, owner: str, step: int) -> Entry | None:
        """The committed shard that a step lies in; None where there is none (yet)."""
        shards = self.shards.get((stream, owner), [])
        return next((shard for shard in shards if shard.first <= step <= shard.last), None)

    def row(self, stream: str, owner: str, column: str, step: int) -> NDArray[Any] | None:
        """The values of one step; None where that step is not recorded (yet)."""
        shard = self.shard_at(stream, owner, step)
        file = {} if shard is None else self.open(shard)
        if column not in file:
            return None
        rows = np.flatnonzero(file[f"{column.partition('.')[0]}.step"] == step)
        return file[column][rows[0]] if len(rows) else None

    def path_of(self, stream: str, owner: str, step: int) -> Path:
        """The shard that holds a step, to name it; the run where there is none."""
        shard = self.shard_at(stream, owner, step)
        return self.path if shard is None else self.path / str(shard.name)

    def _in_order(self, stream: str, owner: str, column: str, files: Iterator[TensorFile]) -> Iterator[Block]:
        """The blocks of shards that are good each by itself: no step is left out between them."""
        group, after, holds_any = column.partition(".")[0], 0, False
        for shard, file in zip(self.shards[stream, owner], files, strict=True):
            self._check_gap(stream, owner, group, after, shard.first - 1)
            after = shard.last + 1
            if column in file:
                holds_any = True
                yield file[f"{group}.step"], file[column]
        if self.finished:
            self._check_gap(stream, owner, group, after, self.planned_steps)
        if not holds_any:
            raise self._nothing(stream, owner)

    def _check_gap(self, stream: str, owner: str, group: str, first: int, last: int) -> None:
        missing = next(due(self.config, stream, group, first=first, last=last), None)
        if missing is not None:
            raise StoreError(self.path, f"{stream}/{owner} lacks step {missing}, which is scheduled")

    def open(self, shard: Entry) -> TensorFile:
        """One committed shard, checked at its first use: hash, fingerprint, columns, steps. Raises StoreError."""
        # Arms are read side by side: a shard that two of them need is verified once.
        with self._opening:
            name = str(shard.name)
            if name not in self._files:
                self._files[name] = self._checked(shard)
            return self._files[name]

    @property
    def opened(self) -> int:
        """How many shards were opened so far."""
        return len(self._files)

    def _checked(self, shard: Entry) -> TensorFile:
        rows = self._open_rows.get(str(shard.name))
        if rows is not None:
            file = rows.opened(self.path)
        else:
            committed = shard.committed()
            file = open_tensors(self.path / committed.name if self._verified else verify_object(self.path, committed))
        fingerprint = file.metadata.get("fingerprint")
        if fingerprint != self.fingerprint:
            raise StoreError(
                file.path, f"its fingerprint is {fingerprint}, the run's is {self.fingerprint}; it is of another run"
            )
        stream, owner = self._owner(shard) if rows is None else (rows.stream, rows.owner)
        check_shard(file, self.layout[stream][owner], self.config, stream, shard.first, shard.last)
        return file

    def _add(self, shard: Entry) -> None:
        """Take in a line of the manifest. StoreError if it is no shard of this run, or not behind those before it."""
        self._append(*self._owner(shard), shard)

    def _append(self, stream: str, owner: str, shard: Entry) -> None:
        before = self.shards.setdefault((stream, owner), [])
        if before and shard.first <= before[-1].last:
            raise StoreError(
                self.path / MANIFEST,
                f"{shard.name} begins at step {shard.first}, the shard before it ends at {before[-1].last}",
            )
        before.append(shard)
        self._last = max(shard.last, self._last or 0)

    def _owner(self, shard: Entry) -> tuple[str, str]:
        """Stream and owner of a shard; StoreError if the run has no such, or none of these steps."""
        name = shard.committed().name
        stream, owner = [*name.split("/"), "", ""][1:3]
        named = shard_name(stream, owner, shard.first, shard.last)
        if owner not in self.layout.get(stream, {}) or name != named or shard.last > self.planned_steps:
            raise StoreError(self.path / MANIFEST, f"{one_line(name)} is no shard of this run")
        return stream, owner

    def _nothing(self, stream: str, owner: str) -> UserError | StoreError:
        if owner not in self.layout[stream]:
            return UserError(f"no stream {stream}/{owner}", "there is " + ", ".join(self.layout[stream]))
        if self.finished:
            return StoreError(self.path, f"has no records {stream}/{owner}, which its config schedules")
        return UserError(
            f"{self.path} has no step of {stream}/{owner} yet",
            "records are committed shard by shard",
            "try again later",
        )
