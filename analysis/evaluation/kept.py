"""Results of long work on features, kept on disk beside them: a second call takes none of the work.

They lie in parts named by their own hash, in a folder named by what they depend on: the bytes of the features and
labels themselves, and the settings. Arms with equal features, such as all at step 0, share them.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from torch import Tensor

from analysis.evaluation.cache import table


class Kept:
    """The results in a folder. Threads that want the same ones wait for each other."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._guard = folder, Lock()
        self._locks: defaultdict[Path, Lock] = defaultdict(Lock)

    def of(
        self, label: str, facts: Mapping[str, Any], rows: int, row_bytes: int, make: Callable[[], Mapping[str, Tensor]]
    ) -> dict[str, np.ndarray]:
        """The columns (rows, …) that `make` gives: made if they are not there, or not as they were written.

        label: begins the folder's name. facts: all that the columns depend on, as JSON holds it; with a number that
        changes whenever `make` gives other columns. row_bytes: of a row of all columns.
        """
        stored = table(self._folder, label, facts, rows, row_bytes)
        with self._guard:
            lock = self._locks[stored.folder]
        with lock:
            parts = [part for part in stored.opened() if part is not None]
            if len(parts) == stored.parts:
                names = list(parts[0].header.tensors)
                return {name: np.concatenate([np.array(part[name]) for part in parts]) for name in names}
            columns = {name: values.cpu().numpy() for name, values in make().items()}
            for part in stored.missing():
                of_part = stored.rows_of(part)
                stored.write(part, {name: values[of_part] for name, values in columns.items()})
        return columns
