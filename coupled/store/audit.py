"""Is every byte of a run the one that was committed? Reads all of it once; changes nothing."""

import stat
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from coupled.store.errors import Faults, StoreError, naming
from coupled.store.fs import REAL, FileSystem
from coupled.store.manifest import MANIFEST, RUN_JSON, Entry, Manifest, read_manifest
from coupled.store.objects import Committed, verify_object
from coupled.store.rundir import PREEMPT, STATE, checkpoint_folder
from coupled.store.saved import Saved, read_preempted, read_saved

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Audit:
    """A run of `objects` committed files, of `size` bytes in all; `notes` on what is odd but no error.

    `folders`: those of the checkpoints on disk, a spare included. `preempted`: the states in preempt/ that can be read.
    """

    manifest: Manifest
    objects: int
    size: int
    notes: tuple[str, ...]
    folders: frozenset[str] = frozenset()
    preempted: tuple[Saved, ...] = ()


class SurplusError(StoreError):
    """A file in a finished run that was never committed: what was committed is none the worse for it."""


class DamageError(StoreError):
    """What is wrong with a run: `groups` of faults by the check that found them. `do`: what helps. `unproven`: which
    checks could not be made, and why, in words.
    """

    def __init__(self, groups: Mapping[str, Sequence[StoreError]], do: str = "", unproven: Sequence[str] = ()) -> None:
        self.unproven = tuple(unproven)
        self.groups = {check: tuple(faults) for check, faults in groups.items() if faults}
        first, *others = self.faults
        more = f" (and {len(others)} more {'fault' if len(others) == 1 else 'faults'})" if others else ""
        super().__init__(first.path or "", first.reason + more, do)

    @property
    def faults(self) -> tuple[StoreError, ...]:
        return tuple(fault for faults in self.groups.values() for fault in faults)


def audit(root: Path, fs: FileSystem = REAL, progress: Progress | None = None, faults: Faults | None = None) -> Audit:
    """Checks run.json, the manifest, every committed object, every checkpoint's files and preempt/.

    `progress(done, all)` counts bytes. `faults` takes every file that is not as committed, and of a finished run every
    one that was not committed; of an unfinished one, which may be at work, such files are noted. Without it, they are
    a DamageError. StoreError for a manifest that says nothing.
    """
    if faults is None:
        faults = Faults()
        whole = audit(root, fs, progress, faults)
        if faults.errors:
            raise DamageError({"bytes": faults.errors})
        return whole
    manifest = read_manifest(root / MANIFEST, fs, faults)
    lines_lost = bool(faults.errors)
    if not manifest.entries:
        raise StoreError(root / MANIFEST, f"has no whole first line, which commits {RUN_JSON}")
    notes = []
    if manifest.torn and manifest.finished:
        faults.add(StoreError(root / MANIFEST, "holds more after the line that finished the run"))
    elif manifest.torn:
        notes.append("the manifest's last line is torn: its object does not count")
    objects = [entry.committed() for entry in manifest.entries if entry.sha256 is not None and _counts(entry)]
    known, preempted = set[str](), list[Saved]()
    for saved, line in _states(root, manifest, fs, faults):
        known.add(saved.folder)
        if line is None:
            preempted.append(saved)
        objects += [*([] if line is None else [line]), *saved.files.values()]
    unread = {error.path.parent for error in faults.errors if error.path is not None and error.path.name == STATE}
    total, done = sum(committed.size for committed in objects), 0
    for committed in objects:
        try:
            verify_object(root, committed, fs)
        except StoreError as error:
            if not gone_since(root, committed.name, manifest, fs):
                faults.add(error)
        done += committed.size
        if progress is not None:
            progress(done, total)
    if not lines_lost:
        named = {committed.name for committed in objects} | {f"{folder}/{STATE}" for folder in known}
        notes += _extra(root, named, unread, finished=manifest.finished, fs=fs, faults=faults)
    return Audit(manifest, len(objects), total, tuple(notes), frozenset(known), tuple(preempted))


def last_sound(manifest: Manifest, bad: Collection[str], folders: Collection[str]) -> int:
    """The step of the newest checkpoint that a run can go back to: it and all that was committed before are sound, but
    for checkpoints that were retired.

    `bad`: names of files that are not; `folders`: those of the checkpoints on disk.
    """
    sound, spoilt = 0, {name.rpartition("/")[0] for name in bad}
    retired = {entry.name for entry in manifest.entries if entry.kind == "retire"}
    for entry in manifest.entries:
        if entry.kind == "checkpoint":
            folder = checkpoint_folder(entry.first)
            if folder in spoilt and entry.name not in retired:
                break
            sound = entry.first if folder in folders and folder not in spoilt else sound
        elif entry.name in bad:
            break
    return sound


def gone_since(root: Path, name: str, before: Manifest, fs: FileSystem = REAL) -> bool:
    """Has a run at work removed a file of a checkpoint since its manifest read `before`, as it retired that checkpoint?

    Reading a large run takes longer than two recovery checkpoints last.
    """
    if before.finished or not name.startswith("checkpoints/") or fs.status(root / name) is not None:
        return False
    state = f"{name.rpartition('/')[0]}/{STATE}"
    now = read_manifest(root / MANIFEST, fs, Faults())  # what is wrong with its lines has been said of `before`
    return any(entry.kind == "retire" and entry.name == state for entry in now.entries)


def _counts(entry: Entry) -> bool:
    return entry.kind != "checkpoint"  # they are checked with their files


def _states(root: Path, manifest: Manifest, fs: FileSystem, faults: Faults) -> Iterator[tuple[Saved, Committed | None]]:
    """Every checkpoint on disk, with its state.json (the newest retired one may be there, as a spare), and what is in
    preempt/; what cannot be read is added to `faults`.
    """
    retired = {entry.name for entry in manifest.entries if entry.kind == "retire"}
    for entry in manifest.entries:
        if entry.kind == "checkpoint" and (
            entry.name not in retired or fs.status(root / checkpoint_folder(entry.first) / STATE) is not None
        ):
            try:
                yield read_saved(root, entry, fs), entry.committed()
            except StoreError as error:
                if not gone_since(root, str(entry.name), manifest, fs):
                    faults.add(error)
    folder = root / PREEMPT
    with naming(folder):
        names = fs.names(folder) if fs.status(folder) is not None else []
    for name in names:
        digits = name.removeprefix("step-")
        with faults.noted():
            if not (digits.isascii() and digits.isdecimal()):
                raise StoreError(folder / name, "is no state of a run")
            yield read_preempted(root, int(digits), manifest, fs)[0], None


def _extra(
    root: Path, named: Collection[str], unread: Collection[Path], *, finished: bool, fs: FileSystem, faults: Faults
) -> list[str]:
    """Files that are not `named`, as faults of a finished run and as a note on another. What lies in `unread` folders,
    whose state.json cannot be read, may be as committed.
    """
    extra = [name for name in sorted(set(_files(root, fs)) - set(named)) if (root / name).parent not in unread]
    if finished:
        for name in extra:
            faults.add(SurplusError(root / name, "is there but was never committed"))
    elif extra:
        more = f" (and {len(extra) - 1} more)" if len(extra) > 1 else ""
        return [f"{extra[0]} is not committed{more}: a run at work is writing it, or was killed"]
    return []


def _files(root: Path, fs: FileSystem) -> Iterator[str]:
    """Names of all files in the folders that hold nothing but committed files; strays are left out."""
    pending = [root / name for name in ("checkpoints", "drift", "records", PREEMPT)]
    while pending:
        path = pending.pop()
        with naming(path):
            status = fs.status(path)
            if status is None:
                continue
            if stat.S_ISDIR(status.st_mode):
                pending.extend(path / name for name in fs.names(path))
            else:
                yield path.relative_to(root).as_posix()
