"""Sums over whole splits, kept on disk: making them is all that takes long in scope split."""

from dataclasses import fields
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from analysis.arrays.row_blocks import Rows, reduce_rows
from analysis.evaluation.kept import Kept
from coupled.data.splits import content_digest

_FORMAT: Final = 1  # another number when `reduce_rows` gives other ones
_NAMES: Final = tuple(field.name for field in fields(Rows))


class RowSums:
    """The sums in a folder, by z, labels and τ."""

    def __init__(self, folder: Path) -> None:
        self._kept = Kept(folder)

    def of(self, z: Tensor, labels: Tensor, temperature: float) -> Rows:
        """What `reduce_rows` gives for z (2n, d) and labels (n,): made if it is not there, or not as it was written."""

        def make() -> dict[str, Tensor]:
            rows = reduce_rows(z, labels, temperature)
            return {name: getattr(rows, name) for name in _NAMES}

        facts = {"sums": _FORMAT, "z": content_digest({"z": z, "labels": labels}), "temperature": temperature}
        columns = self._kept.of("sums", facts, len(z), 8 * len(_NAMES), make)
        return Rows(*(torch.from_numpy(columns[name]) for name in _NAMES))
