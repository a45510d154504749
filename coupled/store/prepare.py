"""The directory that a new run would live in: `train` makes it, leaves it, refuses it or replaces it."""

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

from coupled.errors import UserError
from coupled.store.errors import StoreError, naming
from coupled.store.fs import REAL, FileSystem
from coupled.store.lock import RunLock
from coupled.store.manifest import MANIFEST, RUN_JSON, read_manifest
from coupled.store.rundir import RunDirectory, config_digest, is_vacant, read_config_digest

RunState = Literal["absent", "finished", "unfinished", "foreign"]
_RENAME: Final = "choose another name with --set name=…"


def state(path: Path, fs: FileSystem = REAL) -> RunState:
    """What is at the path: nothing or an empty folder, a run, or something that is not a run.

    Raises StoreError if it is a run whose manifest is damaged.
    """
    with naming(path):
        if is_vacant(path, fs):
            return "absent"
        entry = fs.status(path / RUN_JSON)
        if entry is None or not stat.S_ISREG(entry.st_mode):
            return "foreign"
    return "finished" if read_manifest(path / MANIFEST, fs).finished else "unfinished"


def prepare(
    path: Path,
    run_json: bytes,
    digest: str,
    overwrite: bool = False,
    fs: FileSystem = REAL,
    keeps: Callable[[int], bool] = lambda step: True,
) -> RunDirectory | None:
    """The new run's directory, or None if the run of this very config is finished and there is nothing to do.

    Raises UserError for everything else (a run that is unfinished, of another config or in use; something that is not a
    run), unless `overwrite` replaces it; only a run is ever replaced.
    """
    if config_digest(run_json) != digest:
        raise ValueError("run_json and digest are of different configs")
    _sweep(path, fs)
    if overwrite and not _vacant(path, fs):
        remove_run(path, fs)
    before = state(path, fs)
    if before == "absent":
        return RunDirectory.create(path, run_json, fs, keeps)
    if before == "foreign":
        raise _not_a_run(path)
    old = read_config_digest(path, fs)
    if old != digest:
        raise UserError(
            f"{path} holds the run of config {old}",
            f"this config is {digest}, and a name stands for one config",
            f"give --overwrite to replace that run, or {_RENAME}",
        )
    if before == "finished":
        return None
    RunLock(path, fs).release()  # a UserError names the process that is at work, if one is
    raise UserError(
        f"{path} holds this run, unfinished", "coupled-run resume goes on with it", "--overwrite starts it again"
    )


def remove_run(path: Path, fs: FileSystem = REAL) -> None:
    """Removes a run that nobody writes: moved aside at once, then deleted, so no half of it keeps its name.

    Raises UserError if it is not a run, is a symlink, or is in use.
    """
    _refuse_symlink(path, fs)
    if not _is_run(path, fs):
        raise _not_a_run(path)
    aside = _aside(path)
    with RunLock(path, fs), naming(path):
        fs.rename(path, aside)
        fs.sync_directory(path.parent)
        fs.point("overwrite.aside")
        fs.remove_tree(aside, last=RUN_JSON)
        fs.point("overwrite.removed")


def _sweep(path: Path, fs: FileSystem) -> None:
    """Finishes a removal that was killed; run.json goes last, so what is left of a run still looks like one."""
    aside = _aside(path)
    with naming(aside):
        if _is_run(aside, fs) or (fs.is_folder(aside) and _is_bare(aside, fs)):
            fs.remove_tree(aside, last=RUN_JSON)


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.overwritten")


def _is_run(path: Path, fs: FileSystem) -> bool:
    if not fs.is_folder(path):
        return False
    try:
        read_config_digest(path, fs)
    except StoreError:
        return False
    return True


def _is_bare(path: Path, fs: FileSystem) -> bool:
    """Does a folder hold nothing but folders that hold nothing?"""
    return all(fs.is_folder(path / name) and _is_bare(path / name, fs) for name in fs.names(path))


def _vacant(path: Path, fs: FileSystem) -> bool:
    with naming(path):
        return is_vacant(path, fs)


def _refuse_symlink(path: Path, fs: FileSystem) -> None:
    status = fs.status(path)
    if status is not None and stat.S_ISLNK(status.st_mode):
        raise UserError(f"{path} is a symlink", "--overwrite removes only a run itself", _RENAME)


def _not_a_run(path: Path) -> UserError:
    return UserError(f"{path} is there but is not a run", "what is not a run is never overwritten or removed", _RENAME)
