"""A run directory as its one writer sees it: created by one process alone, then grown by committed objects."""

import hashlib
import socket
import stat
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from coupled.errors import UserError
from coupled.store.canonical import canonical_json, strict_json
from coupled.store.errors import INTACT, StoreError, naming
from coupled.store.fs import REAL, FileSystem
from coupled.store.lock import LOCK, RunLock
from coupled.store.manifest import MANIFEST, MAX_ENTRIES, MAX_LINE, RUN_JSON, Entry, ManifestWriter
from coupled.store.objects import TEMPORARY, Committed, Objects, commit_object

EVENTS: Final = "log/events.jsonl"
STATE: Final = "state.json"
PREEMPT: Final = "preempt"
DROPPED: Final = "log/dropped.jsonl"
MAX_RUN_JSON: Final = 4 << 20  # bytes
# the files that a creation can leave if it is killed before its commit point, run.json
BEGINNINGS: Final = frozenset({LOCK, MANIFEST, RUN_JSON + TEMPORARY})


class RunDirectory(Objects):
    """The open run: holds the lock and the end of the manifest. Only `log` may be used by two threads at a time.

    `keeps(step)`: is the checkpoint of that step permanent? The others are retired by the next checkpoint and removed
    by the one after it, so that two of them are on disk. `checkpoints`: the steps of those committed, ascending.
    `expected`: SHA-256 by name of objects that were dropped and must come back as they were.
    """

    def __init__(
        self,
        root: Path,
        fs: FileSystem,
        lock: RunLock,
        manifest: ManifestWriter,
        keeps: Callable[[int], bool],
        checkpoints: Sequence[int] = (),
        expected: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(root, fs)
        self._lock = lock
        self._manifest = manifest
        self._keeps = keeps
        self._checkpoints = list(checkpoints)
        self._expected = expected or {}

    @classmethod
    def create(
        cls, root: Path, run_json: bytes, fs: FileSystem = REAL, keeps: Callable[[int], bool] = lambda step: True
    ) -> Self:
        """Makes a run where there is nothing, or only an empty folder; its commit point is run.json.

        Of several processes exactly one succeeds. Raises UserError if the place is taken, StoreError if the
        operating system refuses; then nothing is left behind.
        """
        config_digest(run_json)
        _refuse_taken(root, fs)
        with naming(root):
            new = fs.status(root) is None
            fs.ensure_directory(root)
        lock = RunLock(root, fs)
        try:
            fs.point("run.locked")
            _refuse_taken(root, fs)  # again: only under the lock does the answer hold
            _begin(root, run_json, fs, new)
        except BaseException:
            lock.release()
            raise
        return cls(root, fs, lock, ManifestWriter(fs, root / MANIFEST, 1), keeps)

    def append_shard(self, done: Committed, first: int, last: int) -> Entry:
        """Commits a sealed shard of the steps [first, last] that was put: its line. Raises StoreError."""
        return self._manifest.append("shard", first, last, self._expected_again(done))

    def append_checkpoint(self, step: int, files: Sequence[Committed], state: Mapping[str, Any]) -> Entry:
        """Commits a checkpoint whose files were put: its state.json, then its line.

        state.json is canonical JSON {"files": {file: {"sha256", "size"}}, "state": state, "step": step}; file names
        are relative to the checkpoint's folder. Raises StoreError.
        """
        folder = checkpoint_folder(step)
        self._fs.point("checkpoint.files")
        text = canonical_json({"files": _listed(files), "state": dict(state), "step": step})
        done = self._expected_again(commit_object(self._fs, self.root, f"{folder}/{STATE}", text))
        entry = self._manifest.append("checkpoint", step, step, done)
        self._fs.point("checkpoint.committed")
        self._checkpoints.append(step)
        self.settle(retired=False)
        return entry

    def settle(self, *, retired: bool) -> None:
        """After a checkpoint: retire the one before it, unless that is done (`retired`); remove the one before that."""
        for previous in self._checkpoints[-2:-1]:
            if not retired and not self._keeps(previous):
                self._manifest.append("retire", previous, previous, f"{checkpoint_folder(previous)}/{STATE}")
                self._fs.point("checkpoint.retired")
        for spare in self._checkpoints[-3:-2]:
            if not self._keeps(spare):
                self._remove(checkpoint_folder(spare))
        self._remove(PREEMPT)

    def append_preempt(self, step: int, files: Sequence[Committed], state: Mapping[str, Any]) -> None:
        """Makes the state after `step` updates durable in preempt/, outside the manifest, until the next checkpoint.

        Its files were put. Its state.json is like a checkpoint's, with "manifest": how many lines there were and the
        SHA-256 of their bytes, and ends in a CRC-32 as a manifest line does. Raises StoreError.
        """
        folder = preempt_folder(step)
        with naming(self.root / MANIFEST):
            lines = self._fs.read(self.root / MANIFEST, MAX_ENTRIES * MAX_LINE)
        behind = {"entries": lines.count(b"\n"), "sha256": hashlib.sha256(lines).hexdigest()}
        text = canonical_json({"files": _listed(files), "manifest": behind, "state": dict(state), "step": step})
        self._fs.point("preempt.files")
        commit_object(self._fs, self.root, f"{folder}/{STATE}", b"%s %08x\n" % (text, zlib.crc32(text)))
        self._fs.point("preempt.committed")
        with naming(self.root / PREEMPT):
            others = [name for name in self._fs.names(self.root / PREEMPT) if f"{PREEMPT}/{name}" != folder]
        for name in others:
            self._remove(f"{PREEMPT}/{name}")

    def commit_drift(self, step: int, facts: Mapping[str, Any]) -> Entry:
        """Commits the facts that had changed when the run was resumed at `step`. Raises StoreError."""
        name = f"drift/step-{step:09d}.json"
        done = commit_object(self._fs, self.root, name, canonical_json(dict(facts)))
        return self._manifest.append("drift", step, step, done)

    def _expected_again(self, done: Committed) -> Committed:
        """The object, if it is not one that was dropped with other bytes: then the replay is another computation."""
        before = self._expected.get(done.name, done.sha256)
        if before != done.sha256:
            self.log({"event": "determinism alarm", "name": done.name, "before": before, "now": done.sha256})
            raise StoreError(
                self.root / done.name,
                f"its SHA-256 was {before[:12]}… before the run was resumed and is {done.sha256[:12]}… now: the same "
                "steps gave other bytes, and nothing was overwritten; look for what changed on this machine, or resume "
                "with --allow-drift, which accepts it",
            )
        return done

    def _remove(self, name: str) -> None:
        """Removes a superseded folder. If a kill leaves a part of it, recovery removes that."""
        path = self.root / name
        with naming(path, INTACT):
            if self._fs.status(path) is not None:
                self._fs.remove_tree(path)
                self._fs.point("folder.removed")
                self._fs.sync_directory(path.parent)

    def finish(self, step: int) -> Entry:
        """Commits the end of the run: `step` is its last. Nothing can be committed afterwards."""
        entry = self._manifest.append("finish", 0, step)
        self._remove(PREEMPT)
        with naming(self.root / DROPPED):
            self._fs.unlink(self.root / DROPPED)  # whatever was dropped has come back as it was
        return entry

    def log(self, event: Mapping[str, Any]) -> None:
        """Appends an event with the time (seconds since 1970, UTC) and host to log/events.jsonl, outside every hash."""
        path = self.root / EVENTS
        assert not {"time", "host"} & event.keys()
        line = canonical_json({**event, "time": time.time(), "host": socket.gethostname()}) + b"\n"
        with naming(path):
            if self._fs.status(path) is None:
                self._fs.ensure_directory(path.parent)
                self._fs.write_new(path, (), "log")
                self._fs.sync_directory(path.parent)
            self._fs.append(path, line, "log")

    def close(self) -> None:
        """Releases the lock."""
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _listed(files: Sequence[Committed]) -> dict[str, dict[str, str | int]]:
    """Committed files as state.json lists them, by their names in their folder."""
    return {done.name.rpartition("/")[2]: {"sha256": done.sha256, "size": done.size} for done in files}


def shard_name(stream: str, arm: str, first: int, last: int) -> str:
    """The name of the shard of one stream and arm ("shared" for cross-arm values) with the steps [first, last]."""
    return f"records/{stream}/{arm}/steps-{first:09d}-{last:09d}.safetensors"


def checkpoint_folder(step: int) -> str:
    """The folder of the checkpoint of the state after `step` updates."""
    return f"checkpoints/step-{step:09d}"


def preempt_folder(step: int) -> str:
    """The folder of the state after `step` updates at which a run was asked to stop."""
    return f"{PREEMPT}/step-{step:09d}"


def begin_entry(run_json: bytes) -> Entry:
    """The first line of a manifest: it commits run.json."""
    return Entry(0, "begin", 0, 0, RUN_JSON, len(run_json), hashlib.sha256(run_json).hexdigest())


def config_digest(run_json: bytes) -> str:
    """The "config_digest" of a run.json; ValueError if it has none."""
    parsed = strict_json(run_json)
    digest = parsed.get("config_digest") if isinstance(parsed, dict) else None
    if not isinstance(digest, str) or not digest:
        raise ValueError("no text under the key config_digest")
    return digest


def read_config_digest(root: Path, fs: FileSystem = REAL) -> str:
    """The digest of the config a run was made from; StoreError if its run.json is missing or damaged."""
    path = root / RUN_JSON
    with naming(path):
        data = fs.read(path, MAX_RUN_JSON)
    try:
        return config_digest(data)
    except ValueError as error:
        raise StoreError(path, f"not the run.json of a run: {error}") from None


def is_vacant(root: Path, fs: FileSystem = REAL) -> bool:
    """Is there nothing at `root`, an empty folder, or only what a killed creation left?"""
    status = fs.status(root)
    if status is None:
        return True
    if not stat.S_ISDIR(status.st_mode) or not BEGINNINGS.issuperset(fs.names(root)):
        return False
    manifest = fs.status(root / MANIFEST)
    return manifest is None or (manifest.st_size <= MAX_LINE and _is_beginning(fs.read(root / MANIFEST, MAX_LINE)))


def _is_beginning(data: bytes) -> bool:
    """Are these bytes the first line of a manifest, whole or torn (cut, or ending in zeros), and nothing else?"""
    opening = b'{"first":0,"kind":"begin","last":0,"name":"run.json","seq":0,'
    data = data.rstrip(b"\0")
    return data[: len(opening)] == opening[: len(data)] and b"\n" not in data[:-1]


def _refuse_taken(root: Path, fs: FileSystem) -> None:
    with naming(root):
        vacant = is_vacant(root, fs)
    if not vacant:
        raise UserError(
            f"{root} exists already", "a run is made in a new or empty folder", "choose another name with --set name=…"
        )


def _begin(root: Path, run_json: bytes, fs: FileSystem, new: bool) -> None:
    """Writes the manifest's first line, then run.json; the caller holds the lock, and the place is vacant.

    `new`: the folder was made for this run, and is removed if an error ends this.
    """
    try:
        with naming(root):
            for name in (MANIFEST, RUN_JSON + TEMPORARY):
                fs.unlink(root / name)
            fs.write_new(root / MANIFEST, (begin_entry(run_json).line(),), "manifest")
            fs.sync_directory(root)
        fs.point("run.manifest")
        commit_object(fs, root, RUN_JSON, run_json)
    except Exception:
        # as far as the operating system lets us: the first error is the one to report
        with suppress(OSError):
            for name in (RUN_JSON, RUN_JSON + TEMPORARY, MANIFEST, LOCK):
                fs.unlink(root / name)
            if new:
                fs.rmdir(root)
        raise
