"""One digest over all that a run promises to reproduce: every crash test compares it."""

import hashlib
import stat
from collections.abc import Iterator
from pathlib import Path

from coupled.store.errors import StoreError, naming
from coupled.store.fs import REAL, FileSystem
from coupled.store.objects import hash_file

_HASHED = ("checkpoints", "drift", "manifest.jsonl", "records", "run.json")


def tree_hash(root: Path, fs: FileSystem = REAL) -> str:
    """sha256 (hex) over run.json, manifest.jsonl, records/, checkpoints/ and drift/: names in order, sizes, contents.

    A temporary file that the run left counts too; what other programs left does not (coupled/strays.py). Raises
    StoreError for anything but files and folders.
    """
    total = hashlib.sha256()
    with naming(root):
        for path in sorted(_files(root, fs), key=lambda path: path.relative_to(root).as_posix().encode()):
            size, sha256 = hash_file(path, fs)
            total.update(f"{sha256} {size} {path.relative_to(root).as_posix()}\0".encode())
    return total.hexdigest()


def _files(root: Path, fs: FileSystem) -> Iterator[Path]:
    pending = [root / name for name in _HASHED]
    while pending:
        path = pending.pop()
        status = fs.status(path)
        if status is None:
            continue
        if stat.S_ISDIR(status.st_mode):
            pending.extend(path / name for name in fs.names(path))
        elif stat.S_ISREG(status.st_mode):
            yield path
        else:
            raise StoreError(path, "neither a file nor a folder")
