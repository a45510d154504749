"""Which checkpoints there are in folders of the papers' code, and the files opened without following a link."""

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from coupled.errors import UserError
from coupled.reading.imported import FORM
from coupled.store import StoreError
from coupled.store.errors import naming

# What an arm minimises by the name of its folder: in the papers' code "dcl" is SimCLR's loss, and every supervised
# contrastive loss holds the positive in its denominator.
OBJECTIVES: Final = {"dcl": "nt_xent", "nscl": "nscl", "scl": "scl", "ce": "ce"}
_CALLED: Final = {"cl": "dcl", "simclr": "dcl"}
_PIECE: Final = 4 << 20  # bytes read at a time


@dataclass(frozen=True)
class Checkpoint:
    """One file: of an arm, saved before epoch `epoch`; `form`: "snapshot" (a dict of parts), "epoch" (a state dict)."""

    arm: str
    epoch: int
    form: str
    path: Path

    @contextmanager
    def opened(self) -> Iterator[int]:
        """Its descriptor, at the beginning. StoreError unless it is a regular file."""
        with naming(self.path):
            if self.path.is_symlink():
                raise StoreError(self.path, "a link is not followed", "import the folder of the file itself")
            # Non-blocking: a named pipe would wait for a writer.
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise StoreError(self.path, "is no file")
                yield descriptor
            finally:
                os.close(descriptor)

    def mark(self) -> tuple[int, ...]:
        """What changes when somebody writes the file: its number on the disk, its size, and when that was."""
        with self.opened() as descriptor:
            status = os.fstat(descriptor)
        return status.st_ino, status.st_size, status.st_mtime_ns

    def fingerprint(self) -> tuple[int, str]:
        """Size in bytes and SHA-256 (hex)."""
        sha, size = hashlib.sha256(), 0
        with self.opened() as descriptor, naming(self.path):
            while piece := os.read(descriptor, _PIECE):
                sha.update(piece)
                size += len(piece)
        return size, sha.hexdigest()


def arm_folders(directory: Path | None, given: Sequence[tuple[str, Path]]) -> dict[str, Path]:
    """The folder of every arm: those in `directory` that the second paper's code makes, then those that are given.

    UserError where there is none, or an arm is named twice.
    """
    folders = {} if directory is None else _inside(directory)
    for name, folder in given:
        if name in folders:
            raise UserError(
                f"--arm {name}={folder}", f"there is an arm {name} already, in {folders[name]}", "rename it"
            )
        if not folder.is_dir():
            raise UserError(f"--arm {name}={folder}", "the folder of an arm's checkpoints is needed")
        folders[name] = folder
    if not folders:
        raise UserError("nothing to import", "a folder, or --arm NAME=FOLDER for each arm, is needed")
    return folders


def objective_of(arm: str) -> str:
    """What an arm minimises, by the beginning of its name, such as nscl or nscl-2. UserError for any other name."""
    beginning = arm.replace("_", "-").partition("-")[0]
    name = _CALLED.get(beginning, beginning)
    if name not in OBJECTIVES:
        names = ", ".join([*OBJECTIVES, *_CALLED])
        raise UserError(f"arm {arm}", f"its name tells its objective: {names}", f"call it such as nscl-{arm}")
    return OBJECTIVES[name]


def checkpoints(folders: Mapping[str, Path], epochs: Sequence[int] = ()) -> dict[int, dict[str, Checkpoint]]:
    """The files by epoch, ascending, and arm: all of them, or those of `epochs`. UserError where an arm lacks one."""
    by_arm = {arm: _of_arm(arm, folder) for arm, folder in folders.items()}
    wanted = sorted(set(epochs) or {epoch for files in by_arm.values() for epoch in files})
    common = [epoch for epoch in wanted if all(epoch in files for files in by_arm.values())]
    for arm, files in by_arm.items():
        missing = [epoch for epoch in wanted if epoch not in files]
        if missing:
            of_all = sorted(set.intersection(*(set(files) for files in by_arm.values())))
            shown = " ".join(map(str, of_all)) if len(of_all) <= 20 else f"{len(of_all)} of them"
            raise UserError(
                f"{folders[arm]} has no checkpoint of epoch {missing[0]}",
                "a run has every arm at each of its steps",
                f"choose with --epochs; all arms have {shown or 'none in common'}",
            )
    return {epoch: {arm: by_arm[arm][epoch] for arm in folders} for epoch in common}


def _inside(directory: Path) -> dict[str, Path]:
    if not directory.is_dir():
        raise UserError(f"no folder {directory}", "the folder that holds dcl, nscl, scl or ce is needed")
    folders = {name: directory / name for name in OBJECTIVES if os.path.lexists(directory / name)}
    for folder in folders.values():
        if folder.is_symlink() or not folder.is_dir():
            kind = "a link, which is not followed" if folder.is_symlink() else "no folder"
            raise UserError(f"{folder} is {kind}", "arms have folders of their own", f"give --arm {folder.name}=FOLDER")
    if not folders:
        direct = any(FORM.fullmatch(path.name) for path in directory.iterdir())
        do = f"give --arm NAME={directory}" if direct else "give --arm NAME=FOLDER for each arm"
        raise UserError(f"{directory} holds none of {', '.join(OBJECTIVES)}", "every arm has a folder of its own", do)
    return folders


def _of_arm(arm: str, folder: Path) -> dict[int, Checkpoint]:
    """The checkpoints in a folder by epoch; what has another name is not looked at."""
    files: dict[int, Checkpoint] = {}
    with naming(folder):
        paths = sorted(folder.iterdir())
    for path in paths:
        if (named := FORM.fullmatch(path.name)) is None or not named[2].isascii():
            continue
        epoch = int(named[2])
        if epoch in files:
            raise UserError(f"{folder} has two files of epoch {epoch}", f"{files[epoch].path.name} and {path.name}")
        files[epoch] = Checkpoint(arm, epoch, named[1], path)
    if not files:
        raise UserError(f"{folder} has no checkpoint", "files called snapshot_<epoch>.pth or epoch_<n>.pth are needed")
    return files
