"""`run.lock`: one process writes a run. The kernel releases the lock when the process ends, in whatever way.
`sweep.lock` is the same for a sweep.
"""

import errno
import os
import socket
import stat
import time
import weakref
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Final, Self

from coupled.errors import UserError
from coupled.store.canonical import canonical_json, strict_json
from coupled.store.errors import naming, one_line
from coupled.store.fs import REAL, FileSystem

LOCK: Final = "run.lock"
_A_LOOK_S: Final = 0.05  # after which nobody holds the lock any more who only looked whether it is free
_LONGEST_RECORD: Final = 4096  # bytes
_NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})


class RunLock:
    """The exclusive lock of a run directory, held from construction to `release` or the end of the process.

    Raises UserError naming the holder if another process (or another RunLock) has it. `steal` takes it all the same:
    for file systems without locks, and for a holder that is known to be gone.
    """

    name: ClassVar = LOCK
    _rule: ClassVar = "one process at a time writes a run"
    _way_out: ClassVar = "wait for it or stop it, or choose another name with --set name=…"

    def __init__(self, root: Path, fs: FileSystem = REAL, steal: bool = False) -> None:
        self._fs = fs
        self._path = root / self.name
        self._fd = -1
        with naming(self._path):
            fd = fs.open(self._path, os.O_RDWR | os.O_CREAT)
            try:
                if not self._is_mine(fd, steal):
                    raise UserError(f"{root} is in use by {_owner(self._path, fs)}", self._rule, self._way_out)
                fs.truncate(fd)
                fs.write_all(fd, canonical_json({"host": socket.gethostname(), "pid": os.getpid()}))
            except BaseException:
                fs.close(fd)
                raise
        self._fd = fd
        _close_in_forks(self)

    @property
    def descriptor(self) -> int:
        """The open file. A process that gets it holds the lock as well, until it ends."""
        return self._fd

    def release(self) -> None:
        """Lets the next process in. The file stays: another process may just have opened it."""
        if self._fd >= 0:
            self._fs.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _is_mine(self, fd: int, steal: bool) -> bool:
        try:
            held = self._fs.lock(fd)
            if not held and not steal:
                time.sleep(_A_LOOK_S)
                held = self._fs.lock(fd)
            if not held and not steal:
                return False
        except OSError as error:
            if steal and error.errno in _NO_LOCKS:
                return True
            if error.errno in _NO_LOCKS:
                raise UserError(
                    f"{self._path}: this file system has no locks ({error.strerror})",
                    "nothing here can tell whether another process writes the run",
                    "make sure that none does, and give --steal",
                ) from None
            raise
        # a lock on a file that was moved away or removed meanwhile guards nothing
        entry, opened = self._fs.status(self._path), os.fstat(fd)
        return entry is not None and stat.S_ISREG(opened.st_mode) and os.path.samestat(entry, opened)


class SweepLock(RunLock):
    """The exclusive lock of a sweep's folder."""

    name: ClassVar = "sweep.lock"
    _rule: ClassVar = "one process at a time trains a sweep"
    _way_out: ClassVar = "wait for it or stop it"


def _close_in_forks(lock: RunLock) -> None:
    """A forked child shares the lock; it must not keep it when its parent is killed."""
    held = weakref.ref(lock)

    def close() -> None:
        if (mine := held()) is not None:
            mine.release()

    os.register_at_fork(after_in_child=close)


def holder(path: Path, fs: FileSystem = REAL) -> tuple[str, int] | None:
    """Host and process id of who took the lock in this file last; None where the file does not say so."""
    try:
        record = strict_json(fs.read(path, _LONGEST_RECORD))
        return str(record["host"]), int(record["pid"])
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _owner(path: Path, fs: FileSystem) -> str:
    owner = holder(path, fs)
    return "another process" if owner is None else one_line(f"process {owner[1]} on {owner[0]}")
