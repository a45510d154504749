"""Every file-system call of the storage layer, so that a test double can lose, refuse or count each of them.

The primitives (open, write, sync, rename, …) are what a double overrides; the acts built of them (write_new, append,
replace, …) carry the order that makes a write durable, and `point` marks the moments at which a kill is rehearsed.
"""

import errno
import fcntl
import mmap
import os
import stat
from collections.abc import Iterable
from contextlib import nullcontext, suppress
from io import FileIO
from pathlib import Path
from typing import Final

from coupled.strays import is_stray

KILL_POINTS: Final = (
    "run.locked",  # the lock is held, nothing else exists
    "run.manifest",  # the manifest's first line is durable, run.json is not there yet
    "object.written",
    "object.synced",
    "object.renamed",
    "object.durable",  # on disk under its final name, no manifest line yet
    "checkpoint.files",  # every file of a checkpoint is durable, state.json is not there yet
    "checkpoint.committed",  # its line is durable, the one before it is not retired yet
    "checkpoint.retired",  # the one before it is retired, the one before that still on disk
    "folder.removed",  # a superseded checkpoint, or preempt/, is gone, perhaps not durably
    "preempt.files",  # every file of preempt/ is durable, its state.json is not there yet
    "preempt.committed",  # older ones are still there
    "recovery.locked",
    "recovery.noted",  # the lines that will be dropped are durable in log/, and still committed
    "recovery.staged",  # the run.json of a longer run lies beside the old one
    "recovery.renamed",  # the manifest is the prefix, perhaps not durably
    "recovery.rewound",  # durably; the files that it does not name are still there
    "recovery.extended",  # run.json is the longer run's
    "recovery.swept",  # the files that the manifest does not name are gone
    "recovery.settled",  # the checkpoint before it is retired; the run can go on
    "manifest.written",
    "manifest.synced",
    "log.written",
    "log.synced",
    "overwrite.aside",  # the old run is out of the way under another name
    "overwrite.removed",
)

# O_NOFOLLOW and O_NONBLOCK: a stranger's symlink or named pipe neither leads outside nor blocks an open
_SAFE: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class FileSystem:
    """The real file system. Every method raises OSError as the operating system does."""

    def __init__(self) -> None:
        self._durable: set[Path] = set()  # directories whose entry in their parent is known to be on disk

    # -- primitives

    def open(self, path: Path, flags: int) -> int:
        return os.open(path, flags | _SAFE, 0o644)

    def close(self, fd: int) -> None:
        os.close(fd)

    def write(self, fd: int, data: bytes | memoryview) -> int:
        """May write less than given, as write(2) does; returns the number of bytes written."""
        return os.write(fd, data)

    def truncate(self, fd: int) -> None:
        os.ftruncate(fd, 0)

    def sync(self, fd: int) -> None:
        os.fsync(fd)

    def lock(self, fd: int) -> bool:
        """True if the exclusive lock is now held by this open file, False if another one holds it."""
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def rename(self, old: Path, new: Path) -> None:
        old.rename(new)

    def unlink(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def mkdir(self, path: Path) -> None:
        path.mkdir(exist_ok=True)

    def rmdir(self, path: Path) -> None:
        path.rmdir()

    def point(self, name: str) -> None:
        """A named moment of the protocol (`KILL_POINTS`); the real file system does nothing here."""

    # -- looking and reading

    def status(self, path: Path) -> os.stat_result | None:
        """The entry itself, a symlink not followed; None if there is none."""
        try:
            return path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def is_folder(self, path: Path) -> bool:
        """Is there a folder, and no symlink to one?"""
        status = self.status(path)
        return status is not None and stat.S_ISDIR(status.st_mode)

    def names(self, path: Path) -> list[str]:
        """The names in a folder, sorted, without those that other programs leave in any folder (coupled/strays.py)."""
        return [name for name in self.listed(path) if not is_stray(name)]

    def listed(self, path: Path) -> list[str]:
        """All names in a folder, sorted."""
        return sorted(entry.name for entry in path.iterdir())

    def reader(self, path: Path) -> FileIO:
        """Opens a regular file for reading; anything else under that name is OSError."""
        fd = self.open(path, os.O_RDONLY)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            self.close(fd)
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        return FileIO(fd, "rb")

    def read(self, path: Path, limit: int) -> bytes:
        """The whole file; OSError if it is longer than `limit` bytes, before more than that is read."""
        with self.reader(path) as file:
            data = file.read(limit + 1)
            while len(data) <= limit and (more := file.read(limit + 1 - len(data))):
                data += more
        if len(data) > limit:
            raise OSError(errno.EFBIG, f"longer than the {limit} bytes allowed", str(path))
        return data

    def map(self, path: Path) -> mmap.mmap:
        """The whole of a non-empty regular file, mapped read-only; pages are read when touched."""
        with self.reader(path) as file:
            if not file.seek(0, os.SEEK_END):
                raise OSError(errno.EINVAL, "empty", str(path))
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    # -- durable acts

    def write_new(self, path: Path, pieces: Iterable[bytes | memoryview], label: str = "object") -> None:
        """Creates the file (FileExistsError if it is there), writes the pieces, fsyncs."""
        self._write_synced(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, pieces, label)

    def append(self, path: Path, data: bytes, label: str) -> None:
        """Appends to a file that exists, fsyncs."""
        self._write_synced(path, os.O_WRONLY | os.O_APPEND, (data,), label)

    def _write_synced(self, path: Path, flags: int, pieces: Iterable[bytes | memoryview], label: str) -> None:
        fd = self.open(path, flags)
        try:
            for piece in pieces:
                self.write_all(fd, piece)
            self.point(f"{label}.written")
            self.sync(fd)  # on the descriptor that wrote: another one may never hear of a failed write-back
            self.point(f"{label}.synced")
        finally:
            self.close(fd)

    def write_all(self, fd: int, data: bytes | memoryview) -> None:
        left = memoryview(data)
        while left:
            left = left[self.write(fd, left) :]

    def replace(self, temporary: Path, final: Path) -> None:
        """Renames over `final`; durable only after `sync_directory(final.parent)`."""
        self.rename(temporary, final)

    def sync_file(self, path: Path) -> None:
        """Makes a file durable: another process may have left what it wrote in memory only."""
        fd = self.open(path, os.O_RDWR)
        try:
            self.sync(fd)
        finally:
            self.close(fd)

    def sync_directory(self, path: Path) -> None:
        fd = self.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self.sync(fd)
        finally:
            self.close(fd)

    def ensure_directory(self, path: Path) -> None:
        """Makes the directory and its missing parents, each durable in its parent before the next is made."""
        there = self.status(path) is not None
        if there and path in self._durable:
            return
        if not there:
            self.ensure_directory(path.parent)
            self.mkdir(path)
        # a directory that was there is synced too: the process that made it may have been killed before it did so.
        # A parent that may not even be read is another user's, who made the directory too
        with suppress(PermissionError) if there else nullcontext():
            self.sync_directory(path.parent)
        self._durable.add(path)

    def remove_tree(self, path: Path, last: str = "") -> bool:
        """Removes a directory, following no symlink; the file `last` goes after everything else in it.

        False if it stays, because of strays that cannot be removed: NFS renames a file that is still open to one.
        """
        stays = False
        for name in sorted(self.listed(path), key=lambda name: (name == last, name)):
            entry = self.status(path / name)
            try:
                if entry is not None and stat.S_ISDIR(entry.st_mode):
                    stays |= not self.remove_tree(path / name, last)
                else:
                    self.unlink(path / name)
            except OSError:
                if not is_stray(name):
                    raise
        if stays or any(map(is_stray, self.listed(path))):
            return False
        self.rmdir(path)
        return True


REAL: Final = FileSystem()
