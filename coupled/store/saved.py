"""The content of a committed checkpoint; no byte of it is trusted."""

import hashlib
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coupled.store.canonical import strict_json
from coupled.store.errors import StoreError, naming
from coupled.store.fs import REAL, FileSystem
from coupled.store.manifest import Entry, Manifest
from coupled.store.objects import Committed, check_name, object_path, verify_object
from coupled.store.rundir import MAX_RUN_JSON, STATE, checkpoint_folder, preempt_folder


@dataclass(frozen=True)
class Saved:
    """The state after `step` updates: `files` by their names in `folder`, with size and SHA-256, and `state`."""

    step: int
    folder: str
    files: Mapping[str, Committed]
    state: Mapping[str, Any]

    def verify(self, root: Path, fs: FileSystem = REAL) -> None:
        """StoreError names the first file that is not as committed."""
        for committed in self.files.values():
            verify_object(root, committed, fs)


def read_saved(root: Path, entry: Entry, fs: FileSystem = REAL) -> Saved:
    """The checkpoint of a manifest line, its state.json verified and its files not yet. Raises StoreError."""
    folder = checkpoint_folder(entry.first)
    if entry.name != f"{folder}/{STATE}":
        raise StoreError(root / str(entry.name), "no checkpoint of this run has that name")
    path = verify_object(root, entry.committed(), fs)
    with naming(path):
        data = fs.read(path, MAX_RUN_JSON)
    return parse_saved(path, folder, data, entry.first)


def read_preempted(root: Path, step: int, manifest: Manifest, fs: FileSystem = REAL) -> tuple[Saved, int]:
    """The state in preempt/ after `step` updates, its files not verified yet, and how many manifest lines it follows.

    Raises StoreError if it is damaged or not of this manifest.
    """
    folder = preempt_folder(step)
    path = object_path(root, f"{folder}/{STATE}", fs)
    with naming(path):
        data = fs.read(path, MAX_RUN_JSON)
    text, tail = data[:-10], data[-10:]
    if tail != b" %08x\n" % zlib.crc32(text):
        raise StoreError(path, "damaged: it does not end in the CRC-32 of its text")
    saved = parse_saved(path, folder, text, step)
    behind = strict_json(text).get("manifest")
    lines = behind.get("entries") if isinstance(behind, dict) else None
    if type(lines) is not int or not 0 < lines <= len(manifest.entries):
        raise StoreError(path, "it follows lines that the manifest does not have")
    sha = hashlib.sha256(b"".join(entry.line() for entry in manifest.entries[:lines])).hexdigest()
    if behind != {"entries": lines, "sha256": sha}:
        raise StoreError(path, "it follows a manifest with other lines")
    return saved, lines


def parse_saved(path: Path, folder: str, data: bytes, step: int) -> Saved:
    """The content of a state.json in `folder`, which must be of `step`; `path` is named in a StoreError."""
    try:
        parsed = strict_json(data)
        listed, state = parsed["files"], parsed["state"]
        if parsed["step"] != step or not isinstance(state, dict) or not isinstance(listed, dict):
            raise ValueError(f"not the state of step {step}")
        files = {name: _committed(f"{folder}/{name}", of["size"], of["sha256"]) for name, of in listed.items()}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StoreError(path, f"not the state.json of a checkpoint: {error!r}") from None
    return Saved(step, folder, files, state)


def _committed(name: str, size: Any, sha256: Any) -> Committed:
    if type(size) is not int or size < 0 or not isinstance(sha256, str) or not re.fullmatch("[0-9a-f]{64}", sha256):
        raise ValueError(f"{name} is not listed by size and sha256")
    return Committed(check_name(name), size, sha256)
