"""Features on disk: parts of a table of samples, each named by what it is of and by its own bytes.

A part's name holds the SHA-256 of the file, and the folder's name a digest of all that the features depend on: what is
stale has another name, what is damaged another hash, and neither is ever read.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from analysis.output import files
from coupled.store import REAL, StoreError, TensorFile, canonical_json, open_tensors, to_bytes
from coupled.store.objects import hash_file

FORMAT: Final = 1
PART_BYTES: Final = 64 << 20
_NAME: Final = re.compile(r"part-(\d{5})-([0-9a-f]{64})\.safetensors")


@dataclass(frozen=True)
class Table:
    """Where the features of some samples lie, or will: `folder`, the facts that they depend on, their number of rows
    and the bytes of one.
    """

    folder: Path
    facts: Mapping[str, Any]
    rows: int
    row_bytes: int

    @property
    def part_rows(self) -> int:
        """Rows of a part, but for the last."""
        return min(self.rows, max(1, PART_BYTES // self.row_bytes))

    @property
    def parts(self) -> int:
        return -(-self.rows // self.part_rows)

    def rows_of(self, part: int) -> slice:
        """The rows of a part."""
        return slice(part * self.part_rows, min((part + 1) * self.part_rows, self.rows))

    def absent(self) -> bool:
        """Is a part not there, by the names of the files alone?"""
        return len(_parts(self.folder).keys() & set(range(self.parts))) < self.parts

    def missing(self) -> list[int]:
        """The parts that are not there, or not as they were written."""
        return [part for part, file in enumerate(self.opened()) if file is None]

    def opened(self) -> list[TensorFile | None]:
        """Every part, its hash verified; None for one that is missing, stale or damaged."""
        there = _parts(self.folder)
        return [self._opened(there, part) for part in range(self.parts)]

    def write(self, part: int, columns: Mapping[str, np.ndarray]) -> None:
        """Writes a part whole; what bears its number and other bytes goes."""
        data = to_bytes(columns, {"facts": dict(self.facts), "part": part, "rows": self.rows})
        name = f"part-{part:05d}-{hashlib.sha256(data).hexdigest()}.safetensors"
        for old in _parts(self.folder).get(part, []):
            old.unlink(missing_ok=True)
        files.write(self.folder / name, data)

    def _opened(self, there: Mapping[int, list[Path]], part: int) -> TensorFile | None:
        for path in there.get(part, []):
            if (tensors := _verified(path)) is not None:
                rows = self.rows_of(part)
                own = {"facts": dict(self.facts), "part": part, "rows": self.rows}
                sizes = {info.shape[0] for info in tensors.header.tensors.values() if info.shape}
                if tensors.metadata == own and sizes == {rows.stop - rows.start}:
                    return tensors
        return None


def table(root: Path, label: str, facts: Mapping[str, Any], rows: int, row_bytes: int) -> Table:
    """The table of these facts below `root`; `label` makes its folder's name readable."""
    facts = {"format": FORMAT, **facts}
    digest = hashlib.sha256(canonical_json(facts)).hexdigest()
    return Table(root / f"{label}-{digest[:24]}", facts, rows, row_bytes)


def _parts(folder: Path) -> dict[int, list[Path]]:
    """The files in a folder that bear a part's name, by its number."""
    there: dict[int, list[Path]] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if (match := _NAME.fullmatch(path.name)) and path.is_file():
            there.setdefault(int(match[1]), []).append(path)
    return there


def _verified(path: Path) -> TensorFile | None:
    """The file, if its bytes are those that its name says."""
    try:
        _, sha256 = hash_file(path, REAL)
        match = _NAME.fullmatch(path.name)
        return open_tensors(path) if match and match[2] == sha256 else None
    except (StoreError, OSError):
        return None
