"""Reopening a run: what a kill, a power cut or a signal left becomes a whole run again, at a saved state.

The order makes a second kill harmless: first the lines that will be dropped are noted, then the manifest is replaced by
its prefix, and only then the files that the prefix does not name are removed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from coupled.errors import UserError
from coupled.store.errors import StoreError, naming
from coupled.store.fs import REAL, FileSystem
from coupled.store.lock import RunLock
from coupled.store.manifest import (
    MANIFEST,
    RUN_JSON,
    Entry,
    ManifestWriter,
    parse_line,
    read_manifest,
)
from coupled.store.newest import Newest, ReopenTerms, newest
from coupled.store.objects import TEMPORARY, hash_file, verify_object
from coupled.store.rundir import (
    DROPPED,
    MAX_RUN_JSON,
    PREEMPT,
    STATE,
    RunDirectory,
    begin_entry,
    checkpoint_folder,
)
from coupled.store.saved import Saved, read_saved
from coupled.terminal.shell import shell

_FOLDERS: Final = ("checkpoints", "drift", "records")
_MAX_DROPPED: Final = 256 << 20  # bytes


@dataclass(frozen=True)
class Position:
    """Where a reopened run goes on: from `saved`, whose files are verified, or from its beginning (None).

    `notes`: what was wrong and what was done about it, one line each, for people.
    """

    saved: Saved | None
    notes: tuple[str, ...]

    @property
    def step(self) -> int:
        return 0 if self.saved is None else self.saved.step


def reopen(
    root: Path, keeps: Callable[[int], bool], terms: ReopenTerms | None = None, fs: FileSystem = REAL
) -> tuple[RunDirectory, Position]:
    """Take the lock, go back to the newest saved state, and be ready to write what comes after it.

    Raises UserError if another process has the run, StoreError if something committed is damaged; nothing is changed
    before all that stays has been verified.
    """
    terms = terms or ReopenTerms()
    lock = RunLock(root, fs, terms.steal)
    try:
        fs.point("recovery.locked")
        _mend(root, fs)
        return _recover(root, keeps, terms, fs, lock)
    except BaseException:
        lock.release()
        raise


def mend(root: Path, fs: FileSystem = REAL) -> None:
    """Completes an extension that was killed between its two renames; otherwise does nothing."""
    if is_half_extended(root, fs):
        with RunLock(root, fs):
            _mend(root, fs)


def _mend(root: Path, fs: FileSystem) -> None:
    if is_half_extended(root, fs):
        with naming(root):
            fs.sync_directory(root)  # of the two renames the manifest's must be on disk first
            fs.replace(root / (RUN_JSON + TEMPORARY), root / RUN_JSON)
            fs.sync_directory(root)


def is_half_extended(root: Path, fs: FileSystem = REAL) -> bool:
    """Is run.json another one than the manifest's, which lies beside it?"""
    temporary, manifest = root / (RUN_JSON + TEMPORARY), root / MANIFEST
    if fs.status(temporary) is None or fs.status(manifest) is None or fs.status(root / RUN_JSON) is None:
        return False
    entries = read_manifest(manifest, fs).entries
    return bool(entries) and hash_file(temporary, fs)[1] == entries[0].sha256 != hash_file(root / RUN_JSON, fs)[1]


def _recover(
    root: Path, keeps: Callable[[int], bool], terms: ReopenTerms, fs: FileSystem, lock: RunLock
) -> tuple[RunDirectory, Position]:
    manifest = read_manifest(root / MANIFEST, fs)
    if not manifest.entries:
        raise StoreError(root / MANIFEST, f"has no first line, which commits {RUN_JSON}; --overwrite starts again")
    verify_object(root, manifest.entries[0].committed(), fs)
    longer = terms.run_json is not None and begin_entry(terms.run_json) != manifest.entries[0]
    start = newest(root, manifest, terms, not longer, fs)
    notes = ["a torn last line of the manifest was dropped"] if manifest.torn else []
    notes += start.notes
    prefix, dropped = manifest.entries[: start.lines], manifest.entries[start.lines :]
    _verify(root, prefix, start.saved, keeps, fs)
    if start.preempted:
        _sync_preempted(root, start.saved, fs)
    if dropped:
        notes.append(f"{len(dropped)} committed lines behind step {start.step} were rewound and will be made again")
    # A longer run has other shards where the shorter one ended: they say nothing about each other.
    expected = _forget(root, fs) if terms.forget or longer else _note_dropped(root, dropped, fs)
    if longer:
        prefix = (_stage(root, terms.run_json or b"", fs), *prefix[1:])
    if dropped or manifest.torn or longer:
        _replace_manifest(root, prefix, fs)
    else:
        with naming(root / MANIFEST):
            fs.sync_file(root / MANIFEST)  # whoever wrote its last line may have been killed before this
    if longer:
        _mend(root, fs)
        fs.point("recovery.extended")
    removed = _remove_orphans(root, prefix, start, keeps, fs)
    notes += [f"{removed} files that were not committed were removed"] if removed else []
    steps = [entry.first for entry in prefix if entry.kind == "checkpoint"]
    writer = ManifestWriter(fs, root / MANIFEST, len(prefix))
    directory = RunDirectory(root, fs, lock, writer, keeps, steps, expected)
    if not start.preempted:
        directory.settle(retired=prefix[-1].kind == "retire")
    fs.point("recovery.settled")
    return directory, Position(start.saved, tuple(notes))


def _sync_preempted(root: Path, saved: Saved | None, fs: FileSystem) -> None:
    """Makes the state in preempt/ durable: whoever wrote it may have been killed before that."""
    assert saved is not None
    folder = root / saved.folder
    with naming(folder):
        for name in (*(committed.name for committed in saved.files.values()), f"{saved.folder}/{STATE}"):
            fs.sync_file(root / name)
        for place in (folder, folder.parent, root):
            fs.sync_directory(place)


def _verify(
    root: Path, prefix: Sequence[Entry], chosen: Saved | None, keeps: Callable[[int], bool], fs: FileSystem
) -> None:
    """All that stays is as committed; StoreError says from where a resume could make again what is not."""
    last = 0
    for entry in prefix[1:]:
        try:
            if entry.kind in ("shard", "drift"):
                verify_object(root, entry.committed(), fs)
            elif entry.kind == "checkpoint" and keeps(entry.first):
                if chosen is None or entry.first != chosen.step:  # that one was verified before it was chosen
                    read_saved(root, entry, fs).verify(root, fs)
                last = entry.first
        except StoreError as error:
            raise StoreError(
                error.path or root,
                error.reason,
                f"coupled-run resume {shell(root)} --from {last} makes again everything after step {last}",
            ) from None


def _read_dropped(root: Path, fs: FileSystem) -> dict[str, str]:
    """Names and hashes of what earlier recoveries dropped; a torn or damaged line says nothing."""
    path = root / DROPPED
    if fs.status(path) is None:
        return {}
    with naming(path):
        lines = fs.read(path, _MAX_DROPPED).splitlines(keepends=True)
    hashes: dict[str, str] = {}
    for line in lines:
        try:
            entry = parse_line(line)
        except ValueError:
            continue
        if entry.name is not None and entry.sha256 is not None:
            hashes.setdefault(entry.name, entry.sha256)
    return hashes


def _note_dropped(root: Path, dropped: Sequence[Entry], fs: FileSystem) -> dict[str, str]:
    """Makes durable what is about to be dropped, before it is; returns all that was, whose replay must be the same."""
    before = _read_dropped(root, fs)
    counted = [entry for entry in dropped if entry.kind in ("shard", "checkpoint")]
    if counted:
        path = root / DROPPED
        with naming(path):
            fs.ensure_directory(path.parent)
            if fs.status(path) is None:
                fs.write_new(path, (), "log")
                fs.sync_directory(path.parent)
            # a first newline, so that a torn line of before spoils none of these
            fs.append(path, b"\n" + b"".join(entry.line() for entry in counted), "log")
    fs.point("recovery.noted")
    return {**{str(entry.name): str(entry.sha256) for entry in counted}, **before}


def _forget(root: Path, fs: FileSystem) -> dict[str, str]:
    if fs.status(root / DROPPED) is not None:
        with naming(root / DROPPED):
            fs.unlink(root / DROPPED)
            fs.sync_directory((root / DROPPED).parent)
    return {}


def _stage(root: Path, run_json: bytes, fs: FileSystem) -> Entry:
    """Lays the new run.json beside the old one, durably; returns the line that commits it."""
    temporary = root / (RUN_JSON + TEMPORARY)
    if len(run_json) > MAX_RUN_JSON:
        raise UserError(f"a {RUN_JSON} of {len(run_json)} bytes", f"at most {MAX_RUN_JSON}")
    with naming(temporary):
        fs.unlink(temporary)
        fs.write_new(temporary, (run_json,))
        fs.sync_directory(root)
    fs.point("recovery.staged")
    return begin_entry(run_json)


def _replace_manifest(root: Path, prefix: Sequence[Entry], fs: FileSystem) -> None:
    path, temporary = root / MANIFEST, root / (MANIFEST + TEMPORARY)
    with naming(path):
        fs.unlink(temporary)
        fs.write_new(temporary, (b"".join(entry.line() for entry in prefix),), "manifest")
        fs.replace(temporary, path)
        fs.point("recovery.renamed")
        fs.sync_directory(root)
    fs.point("recovery.rewound")


def _remove_orphans(
    root: Path, prefix: Sequence[Entry], start: Newest, keeps: Callable[[int], bool], fs: FileSystem
) -> int:
    """Removes every file of the hashed folders that the prefix does not name, and what is left of other folders."""
    named = {str(entry.name) for entry in prefix if entry.kind in ("shard", "drift")}
    steps = [entry.first for entry in prefix if entry.kind == "checkpoint"]
    # the newest, the one before it as a spare, and those that are kept; a spare's own files are not looked into
    whole = {checkpoint_folder(step) for step in steps if keeps(step) or step in steps[-2:]}
    if start.preempted and start.saved is not None:
        whole.add(start.saved.folder)
    with naming(root):
        removed = sum(_sweep(root, root / top, named, whole, fs) for top in (*_FOLDERS, PREEMPT))
        for name in (RUN_JSON + TEMPORARY, MANIFEST + TEMPORARY):
            if fs.status(root / name) is not None:
                fs.unlink(root / name)
                removed += 1
        if removed:
            fs.sync_directory(root)
    fs.point("recovery.swept")
    return removed


def _sweep(root: Path, folder: Path, named: set[str], whole: set[str], fs: FileSystem) -> int:
    """Removes below `folder` what is neither named nor in a folder that is whole; returns how many files went."""
    if not fs.is_folder(folder):
        return 0
    removed, inside = 0, folder.relative_to(root).as_posix() in whole
    for name in fs.names(folder):
        path = folder / name
        if fs.is_folder(path):
            removed += _sweep(root, path, named, whole, fs)
        elif (inside and not name.endswith(TEMPORARY)) or path.relative_to(root).as_posix() in named:
            continue
        else:
            fs.unlink(path)
            removed += 1
    if not fs.listed(folder):
        fs.rmdir(folder)
        fs.sync_directory(folder.parent)
    elif removed:
        fs.sync_directory(folder)
    return removed
