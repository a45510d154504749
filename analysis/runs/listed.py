"""The table of the runs below a folder, as `coupled-run list` prints it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np

from analysis.runs import shown
from coupled.errors import printable, unknown
from coupled.reading.listing import COLUMNS, ListedRun, cells, in_words, list_runs


@dataclass(frozen=True, repr=False)
class Runs(Sequence[ListedRun]):
    """The runs below a folder in the order of their names. A row has path, name, differs, done, planned, state, size
    and last, and `analysis.open_run(row.path)` opens it. `runs["name"]` is the row of that name.

    `differs`: what is not as in the config file that the run is called after, such as ("seed = 1",); None where there
    is no such file. `done`, `planned`: updates; None where the run cannot be read, and `state` says why. `size`: bytes
    of all its files. `last`: when it was last written, in seconds since 1970.
    """

    folder: Path
    rows: tuple[ListedRun, ...]

    @overload
    def __getitem__(self, at: int | str) -> ListedRun: ...
    @overload
    def __getitem__(self, at: slice) -> "Runs": ...
    def __getitem__(self, at: int | str | slice) -> "ListedRun | Runs":
        if isinstance(at, slice):
            return Runs(self.folder, self.rows[at])
        if isinstance(at, str):
            by_name = {row.name: row for row in self.rows}
            if at not in by_name:
                raise unknown(f"run in {self.folder}", at, by_name)
            return by_name[at]
        return self.rows[at]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[ListedRun]:
        return iter(self.rows)

    def to_frame(self) -> Any:
        """A pandas data frame, or a polars one where pandas is not installed, a row a run: path, name, differs (one
        text, None where nothing is known), done, planned, state, size in bytes, last (UTC). UserError where neither
        library is installed.
        """
        return shown.frame(
            {
                "path": [str(row.path) for row in self.rows],
                "name": [row.name for row in self.rows],
                "differs": [None if row.differs is None else ", ".join(row.differs) for row in self.rows],
                "done": [row.done for row in self.rows],
                "planned": [row.planned for row in self.rows],
                "state": [row.state for row in self.rows],
                "size": [row.size for row in self.rows],
                "last": np.array([round(row.last * 1000) for row in self.rows], "datetime64[ms]"),
            }
        )

    def _words(self) -> str:
        return printable(in_words(self.rows, self.folder))

    def _table(self) -> list[list[str]]:
        return [list(map(printable, cells(row))) for row in self.rows]

    def __repr__(self) -> str:
        table = [list(COLUMNS), *self._table()]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in (table if self.rows else ())]
        return "\n".join([f"<{self._words()}>", *lines])

    def _repr_html_(self) -> str:
        return shown.block(self._words(), shown.table(self._table(), COLUMNS) if self.rows else "")


def runs(folder: str | Path = "runs", configs: str | Path = "configs") -> Runs:
    """The runs below a folder, those of sweeps too. `configs`: where the config files lie that they are compared with.

    Nothing is written. Raises UserError where there is no such folder.
    """
    return Runs(Path(folder), tuple(list_runs(folder, configs)))
