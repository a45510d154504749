"""Objects: named files of a run that are either whole and durable or not there at all."""

import hashlib
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from coupled.store.errors import INTACT, StoreError, naming
from coupled.store.fs import REAL, FileSystem

TEMPORARY: Final = ".tmp"  # the suffix of a file that is not committed yet
_PIECE: Final = 4 << 20  # bytes hashed, then written, while they are in the processor's cache
_LONGEST_NAME: Final = 512  # bytes; keeps a manifest line within its limit
_LONGEST_PART: Final = 255 - len(TEMPORARY)  # bytes; what file systems allow, the temporary name included


@dataclass(frozen=True, slots=True)
class Committed:
    """An object that is on disk: its name inside the run, its size in bytes, its sha256 in hex."""

    name: str
    size: int
    sha256: str


class Objects:
    """Where a run's objects go. An object that is put there exists only once the manifest has a line for it."""

    def __init__(self, root: Path, fs: FileSystem = REAL) -> None:
        self.root = root
        self._fs = fs

    def put(self, name: str, data: bytes | memoryview) -> Committed:
        """Writes one object. Raises StoreError."""
        return commit_object(self._fs, self.root, name, data)

    def put_files(self, folder: str, files: Mapping[str, bytes]) -> list[Committed]:
        """Writes the files of a saved state (name without suffix to safetensors bytes). Raises StoreError."""
        return [self.put(f"{folder}/{name}.safetensors", files[name]) for name in sorted(files)]


def check_name(name: str) -> str:
    """Returns the name if it can only mean a file inside the run; StoreError otherwise.

    A name is a relative posix path of plain parts in printable characters, at most 512 bytes of UTF-8.
    """
    reason = _fault(name)
    if reason:
        raise StoreError(name or "(empty)", f"not a name for a file of a run: {reason}")
    return name


def object_path(root: Path, name: str, fs: FileSystem = REAL) -> Path:
    """Where the object lies; StoreError if the name is hostile or a symlink stands anywhere on the way below root."""
    path = root
    for part in check_name(name).split("/"):
        path = path / part
        status = fs.status(path)
        if status is not None and stat.S_ISLNK(status.st_mode):
            raise StoreError(path, "a symlink inside a run is never followed")
    return path


def commit_object(fs: FileSystem, root: Path, name: str, data: bytes | memoryview) -> Committed:
    """Writes a new object so that a kill or power cut at any moment leaves all of it or nothing under its name.

    Raises StoreError if the name is hostile or taken, or if the operating system refuses.
    """
    final = object_path(root, name, fs)
    temporary = final.with_name(final.name + TEMPORARY)
    sha256 = hashlib.sha256()
    with naming(final, INTACT):
        if fs.status(final) is not None:
            raise StoreError(final, "already there; an object is written once")
        fs.ensure_directory(final.parent)
        fs.write_new(temporary, _hashed(memoryview(data).cast("B"), sha256))
        fs.replace(temporary, final)
        fs.point("object.renamed")
        fs.sync_directory(final.parent)
        fs.point("object.durable")
    return Committed(name, memoryview(data).nbytes, sha256.hexdigest())


def verify_object(root: Path, committed: Committed, fs: FileSystem = REAL) -> Path:
    """The path of the object if its size and sha256 are the committed ones; StoreError otherwise."""
    path = object_path(root, committed.name, fs)
    size, sha256 = hash_file(path, fs)
    if size != committed.size:
        raise StoreError(path, f"{size} bytes on disk, {committed.size} committed")
    if sha256 != committed.sha256:
        raise StoreError(path, f"sha256 {sha256} on disk, {committed.sha256} committed")
    return path


def hash_file(path: Path, fs: FileSystem = REAL) -> tuple[int, str]:
    """Size in bytes and sha256 of a regular file, read in pieces."""
    sha256, size = hashlib.sha256(), 0
    with naming(path), fs.reader(path) as file:
        while piece := file.read(_PIECE):
            sha256.update(piece)
            size += len(piece)
    return size, sha256.hexdigest()


def _hashed(data: memoryview, sha256: "hashlib._Hash") -> Iterator[memoryview]:
    for start in range(0, len(data), _PIECE):
        piece = data[start : start + _PIECE]
        sha256.update(piece)
        yield piece


def _fault(name: str) -> str:
    try:
        length = len(name.encode("utf-8"))
    except UnicodeEncodeError:
        return "it is not UTF-8"
    if length > _LONGEST_NAME:
        return f"{length} bytes, {_LONGEST_NAME} allowed"
    if "\\" in name or not name.isprintable():
        return "a backslash or an unprintable character"
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts):
        return "an empty, '.' or '..' part, or an absolute path"
    if any(len(part.encode()) > _LONGEST_PART for part in parts):
        return f"a part longer than {_LONGEST_PART} bytes"
    return f"'{TEMPORARY}' marks what is not committed" if name.endswith(TEMPORARY) else ""
