"""Where results go: RUN/analysis/, outside every hash of the run. A file there is whole, also while it is replaced."""

import os
from collections.abc import Iterable
from pathlib import Path

from coupled.store.errors import naming

FOLDER = "analysis"


def write(path: Path, data: bytes) -> Path:
    """Writes or replaces a result atomically; StoreError if the operating system refuses."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(data)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    return path


def remove_others(folder: Path, names: Iterable[str], written: Iterable[Path]) -> None:
    """Removes what an earlier call has left in a folder under the `names` of a command's results, but not `written`.

    StoreError if the operating system refuses.
    """
    for name in set(names) - {path.name for path in written}:
        with naming(folder / name):
            (folder / name).unlink(missing_ok=True)
