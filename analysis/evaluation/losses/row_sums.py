"""Sums over whole splits, kept on disk: making them is all that takes long in scope split.

They lie beside the features, in parts named by their own hash, in a folder named by what they depend on: z itself, the
labels and τ. Arms with the same z, such as all at step 0, share them.
"""

from collections import defaultdict
from dataclasses import fields
from pathlib import Path
from threading import Lock
from typing import Final

import numpy as np
import torch
from torch import Tensor

from analysis.arrays.row_blocks import Rows, reduce_rows
from analysis.evaluation.cache import table
from coupled.data.splits import content_digest

_FORMAT: Final = 1  # another number when `reduce_rows` gives other ones
_NAMES: Final = tuple(field.name for field in fields(Rows))


class RowSums:
    """The sums in a folder. Threads that want the same ones wait for each other."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._guard = folder, Lock()
        self._locks: defaultdict[Path, Lock] = defaultdict(Lock)

    def of(self, z: Tensor, labels: Tensor, temperature: float) -> Rows:
        """What `reduce_rows` gives for z (2n, d) and labels (n,): made if it is not there, or not as it was written."""
        facts = {"sums": _FORMAT, "z": content_digest({"z": z, "labels": labels}), "temperature": temperature}
        stored = table(self._folder, "sums", facts, len(z), 8 * len(_NAMES))
        with self._guard:
            lock = self._locks[stored.folder]
        with lock:
            parts = [part for part in stored.opened() if part is not None]
            if len(parts) == stored.parts:
                columns = ([torch.from_numpy(np.array(part[name])) for part in parts] for name in _NAMES)
                return Rows(*map(torch.cat, columns))
            rows = reduce_rows(z, labels, temperature)
            for part in stored.missing():
                of_part = stored.rows_of(part)
                stored.write(part, {name: getattr(rows, name)[of_part].numpy() for name in _NAMES})
        return rows
