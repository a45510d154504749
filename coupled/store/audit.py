"""Is every byte of a run the one that was committed? Reads all of it once; changes nothing."""

import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from coupled.store.errors import StoreError, naming
from coupled.store.fs import REAL, FileSystem
from coupled.store.manifest import MANIFEST, RUN_JSON, Entry, Manifest, read_manifest
from coupled.store.objects import Committed, verify_object
from coupled.store.rundir import PREEMPT, STATE, checkpoint_folder
from coupled.store.saved import Saved, read_preempted, read_saved

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Audit:
    """A run whose `objects` files, of `size` bytes in all, are whole; `notes` on what is odd but no error."""

    manifest: Manifest
    objects: int
    size: int
    notes: tuple[str, ...]


class DamageError(StoreError):
    """Files of a run that are not as committed: `faults`, an error for each, in the order of the manifest. `sound`: the
    newest checkpoint up to which everything is. `do`: what helps.
    """

    def __init__(self, faults: Sequence[StoreError], sound: int, do: str = "") -> None:
        first, others = faults[0], len(faults) - 1
        more = f" (and {others} more damaged {'file' if others == 1 else 'files'})" if others else ""
        super().__init__(first.path or "", first.reason + more, do)
        self.faults, self.sound = tuple(faults), sound


def audit(root: Path, fs: FileSystem = REAL, progress: Progress | None = None) -> Audit:
    """Checks run.json, the manifest, every committed object, every checkpoint's files and preempt/.

    `progress(done, all)` counts bytes. DamageError has every file that is not as committed. StoreError names the first
    one of a finished run that was not committed; of an unfinished one, which may be at work, such files are noted.
    """
    manifest = read_manifest(root / MANIFEST, fs)
    if not manifest.entries:
        raise StoreError(root / MANIFEST, f"has no whole first line, which commits {RUN_JSON}")
    notes = []
    if manifest.torn:
        if manifest.finished:
            raise StoreError(root / MANIFEST, "holds more after the line that finished the run")
        notes.append("the manifest's last line is torn: its object does not count")
    objects = [entry.committed() for entry in manifest.entries if entry.sha256 is not None and _counts(entry)]
    faults: dict[str, StoreError] = {}  # by the object's name
    states = list(_states(root, manifest, fs, faults))
    for saved, committed in states:
        objects += [*committed, *saved.files.values()]
    total, done = sum(committed.size for committed in objects), 0
    for committed in objects:
        try:
            verify_object(root, committed, fs)
        except StoreError as error:
            if not gone_since(root, committed.name, manifest, fs):
                faults.setdefault(committed.name, error)
        done += committed.size
        if progress is not None:
            progress(done, total)
    if faults:
        raise DamageError(list(faults.values()), _sound(manifest, faults, {saved.folder for saved, _ in states}))
    named = {committed.name for committed in objects} | {f"{saved.folder}/{STATE}" for saved, _ in states}
    extra = sorted(set(_files(root, fs)) - named)
    if extra and manifest.finished:
        raise StoreError(root / extra[0], "is there but was never committed" + _more(extra))
    if extra:
        notes.append(f"{extra[0]} is not committed{_more(extra)}: a run at work is writing it, or was killed")
    return Audit(manifest, len(objects), total, tuple(notes))


def gone_since(root: Path, name: str, before: Manifest, fs: FileSystem = REAL) -> bool:
    """Has a run at work removed a file of a checkpoint since its manifest read `before`, as it retired that checkpoint?

    Reading a large run takes longer than two recovery checkpoints last.
    """
    if before.finished or not name.startswith("checkpoints/") or fs.status(root / name) is not None:
        return False
    state = f"{name.rpartition('/')[0]}/{STATE}"
    return any(entry.kind == "retire" and entry.name == state for entry in read_manifest(root / MANIFEST, fs).entries)


def _counts(entry: Entry) -> bool:
    return entry.kind != "checkpoint"  # they are checked with their files


def _sound(manifest: Manifest, faults: Mapping[str, StoreError], there: set[str]) -> int:
    """The step of the newest checkpoint that a run can go back to: it and all that was committed before are whole.
    `there`: the folders of those that are on disk, a spare included.
    """
    sound, whole = 0, there - {name.rpartition("/")[0] for name in faults}
    for entry in manifest.entries:
        if entry.kind == "checkpoint" and checkpoint_folder(entry.first) in whole:
            sound = entry.first
        elif entry.kind in ("begin", "shard", "drift") and entry.name in faults:
            break
    return sound


def _states(
    root: Path, manifest: Manifest, fs: FileSystem, faults: dict[str, StoreError]
) -> Iterator[tuple[Saved, list[Committed]]]:
    """Every checkpoint on disk, by its state.json (the newest retired one may be there, as a spare), and preempt/; what
    cannot be read is added to `faults`.
    """
    retired = {entry.name for entry in manifest.entries if entry.kind == "retire"}
    for entry in manifest.entries:
        if entry.kind == "checkpoint" and (
            entry.name not in retired or fs.status(root / checkpoint_folder(entry.first) / STATE) is not None
        ):
            try:
                saved = read_saved(root, entry, fs)
            except StoreError as error:
                faults[str(entry.name)] = error
            else:
                yield saved, [entry.committed()]
    folder = root / PREEMPT
    with naming(folder):
        names = fs.names(folder) if fs.status(folder) is not None else []
    for name in names:
        digits = name.removeprefix("step-")
        if not (digits.isascii() and digits.isdecimal()):
            raise StoreError(folder / name, "is no state of a run")
        try:
            saved = read_preempted(root, int(digits), manifest, fs)[0]
        except StoreError as error:
            faults[f"{PREEMPT}/{name}/{STATE}"] = error
        else:
            yield saved, []


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


def _more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""
