"""The committed shards of a run as columns over steps, their tensors checked against the run's layout."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from coupled.config import Config
from coupled.recording.layout import Column, train_layout
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

STEPS = Column("int64")


class Shards:
    """What the shards of one run hold. `verified`: their hashes were checked already, all of them; otherwise each is
    before it is first believed.
    """

    def __init__(self, path: Path, config: Config, manifest: Manifest, fingerprint: str, *, verified: bool) -> None:
        self.path, self.fingerprint, self._verified = path, fingerprint, verified
        self._opened: dict[str, TensorFile] = {}
        self.layout = train_layout(config)
        self.entries: dict[tuple[str, str], list[Entry]] = {}
        for entry in manifest.entries:
            if entry.kind == "shard":
                self.entries.setdefault(self._owner(entry), []).append(entry)

    def _owner(self, entry: Entry) -> tuple[str, str]:
        stream, owner = [*str(entry.name).split("/"), "", ""][1:3]
        known = owner in self.layout.get(stream, {})
        if not known or entry.name != shard_name(stream, owner, entry.first, entry.last):
            raise StoreError(self.path / MANIFEST, f"{one_line(str(entry.name))} is no shard of this run")
        return stream, owner

    def open(self, stream: str, owner: str, entry: Entry) -> TensorFile:
        """One shard: every tensor a column of the layout, stacked along its group's steps. Raises StoreError."""
        path, name = self.path / str(entry.name), str(entry.name)
        if name not in self._opened:
            self._opened[name] = self._checked(stream, owner, path, entry)
        return self._opened[name]

    def _checked(self, stream: str, owner: str, path: Path, entry: Entry) -> TensorFile:
        file = open_tensors(path if self._verified else verify_object(self.path, entry.committed()))
        found = file.metadata.get("fingerprint")
        if found != self.fingerprint:
            raise StoreError(path, f"its fingerprint is {found}, the run's is {self.fingerprint}")
        known = self.layout[stream][owner]
        for name, info in file.header.tensors.items():
            group = name.partition(".")[0]
            column = STEPS if name == f"{group}.step" else known.get(name)
            stacked = () if group == "fixed" else info.shape[:1]
            rows = () if group == "fixed" else self._rows(file, group)
            if column is None or info.shape != (*stacked, *column.shape) or stacked != rows:
                raise StoreError(path, f"{one_line(name)} is no column of {stream}/{owner}")
            if file[name].dtype != np.dtype(column.dtype):
                raise StoreError(path, f"{one_line(name)} is {file[name].dtype}, {column.dtype} is recorded")
        return file

    def _rows(self, file: TensorFile, group: str) -> tuple[int, ...]:
        steps = file.header.tensors.get(f"{group}.step")
        if steps is None:
            raise StoreError(file.path, f"does not say of which steps its {one_line(group)} rows are")
        return steps.shape

    def blocks(self, stream: str, owner: str, column: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(steps (k,), values (k, …)) of a stacked column, shard by shard, values mapped."""
        group = column.partition(".")[0]
        for entry in self.entries.get((stream, owner), []):
            file = self.open(stream, owner, entry)
            if column in file:
                yield file[f"{group}.step"], file[column]

    @property
    def opened(self) -> set[Path]:
        """The shards that were opened so far."""
        return {self.path / name for name in self._opened}

    def steps(self, stream: str, owner: str, group: str) -> np.ndarray:
        """The recorded steps of a group, int64 (k,)."""
        files = (self.open(stream, owner, entry) for entry in self.entries.get((stream, owner), []))
        return np.concatenate([np.empty(0, np.int64), *(f[f"{group}.step"] for f in files if f"{group}.step" in f)])

    def column(self, stream: str, owner: str, column: str) -> tuple[np.ndarray, np.ndarray]:
        """All recorded steps (k,) and values (k, …) of a column that fits in memory; both empty where none is."""
        blocks = list(self.blocks(stream, owner, column))
        if not blocks:
            spec = self.layout[stream][owner].get(column, STEPS)
            return np.empty(0, np.int64), np.empty((0, *spec.shape), spec.dtype)
        return np.concatenate([s for s, _ in blocks]), np.concatenate([v for _, v in blocks])

    def row(self, stream: str, owner: str, column: str, step: int) -> np.ndarray | None:
        """The values of one step; None where that step is not recorded (yet)."""
        for entry in self.entries.get((stream, owner), []):
            if entry.first <= step <= entry.last:
                file, group = self.open(stream, owner, entry), column.partition(".")[0]
                if column in file:
                    (at,) = np.nonzero(file[f"{group}.step"] == step)
                    if len(at):
                        return file[column][at[0]]
        return None

    def path_of(self, stream: str, owner: str, step: int) -> Path:
        """The shard that holds a step, to name it; the run where there is none."""
        entries = self.entries.get((stream, owner), [])
        found = [entry.name for entry in entries if entry.first <= step <= entry.last]
        return self.path / str(found[0]) if found else self.path

    def fixed(self, stream: str, owner: str) -> tuple[Path, dict[str, np.ndarray]] | None:
        """The columns that are the same at every step, of the first shard, and its path; None before there is one."""
        for entry in self.entries.get((stream, owner), [])[:1]:
            file = self.open(stream, owner, entry)
            return file.path, {name: file[name] for name in file if name.startswith("fixed.")}
        return None
