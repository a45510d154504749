"""A run that is written while it is read: looked at again, only what came since is read."""

from pathlib import Path
from typing import Generic, TypeVar

from coupled.reading.records import Records
from coupled.reading.run_json import read_run
from coupled.store import read_manifest
from coupled.store.manifest import MANIFEST
from coupled.store.rundir import RUN_JSON

R = TypeVar("R", bound=Records)


class Growing(Generic[R]):
    """The records of the run at `path` as they are at each moment; `kind` is the class of what `now` gives.

    A file that did not change is not read again, and shards that were opened stay open. Takes no lock, writes nothing.
    """

    def __init__(self, path: Path, kind: type[R] = Records) -> None:
        self.path, self._kind = path, kind
        self._records: R | None = None
        self._facts: tuple[int, ...] = ()
        self._manifest: tuple[int, ...] = ()

    def now(self) -> R:
        """What is committed now. The same object as before where nothing was committed since.

        Raises UserError where the run is gone, StoreError where it is damaged.
        """
        facts, manifest = _stamp(self.path / RUN_JSON), _stamp(self.path / MANIFEST)
        if self._records is None or facts != self._facts or not facts:
            content, config, lines = read_run(self.path)
            self._records = self._kind(self.path, config, content, lines)
        elif manifest != self._manifest:
            self._records = self._records.grown(read_manifest(self.path / MANIFEST))
        self._facts, self._manifest = facts, manifest
        return self._records


def _stamp(path: Path) -> tuple[int, ...]:
    """What changes when a file does; empty where there is none."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_ino, status.st_size, status.st_mtime_ns
