"""Which steps are shown where all would be too many."""

import numpy as np
from numpy.typing import NDArray


def spread(steps: NDArray[np.int64], most: int) -> NDArray[np.intp]:
    """The positions of at most `most` steps: all, or about evenly spaced in log(step), with the first and last."""
    if len(steps) <= most:
        return np.arange(len(steps))
    # Where steps are whole numbers, log-spaced targets meet the same step: more targets until there are enough.
    chosen, targets = np.zeros(0, np.intp), most
    while True:
        at = np.geomspace(1, steps[-1] + 1, targets) - 1
        more = np.unique(np.searchsorted(steps, at).clip(max=len(steps) - 1))
        if len(more) > most:
            return chosen
        chosen, targets = more, targets + max(1, targets // 8)
