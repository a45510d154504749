"""Which steps are shown where all would be too many."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

WHOLE: Final = 2000  # up to here every recorded step is kept
_OF_DOUBLING: Final = 200  # steps kept from there to twice there, and so on


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


def thinned(steps: NDArray[np.int64]) -> NDArray[np.intp]:
    """The positions of the steps that a table keeps of a long curve; all where there are at most `WHOLE` + 1 of them.

    All below step 2,000; from 2,000 to 4,000 the first of every 10, to 8,000 the first of every 20, and so on
    (of a run that records each step 2000, 2010 … 4000, 4020 …); and the last. From there a table grows as log(steps).
    """
    if len(steps) <= WHOLE + 1:
        return np.arange(len(steps))
    width, low = np.ones_like(steps), WHOLE
    while low <= steps[-1]:
        width[steps >= low] = low // _OF_DOUBLING
        low *= 2
    place = steps // width
    first = np.concatenate([[True], (np.diff(place) != 0) | (np.diff(width) != 0)])
    first[-1] = True
    return np.flatnonzero(first)
