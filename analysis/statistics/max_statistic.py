"""p-values of many statistics at once, corrected for how many were looked at: Westfall and Young's (1993) single step.

Shapes: P permutations, m statistics.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
# Equal statistics of two permutations may differ by rounding: what is so close counts as at least as large.
_TIES: Final = 1e-12


def corrected(observed: Array, permuted: Array) -> tuple[Array, Array]:
    """p and corrected p of each statistic, (m,) each: of observed (m,), large ones being of interest, beside those of
    random permutations (P, m), each done to all m alike. A NaN has none, and counts for no other.

    Statistics are brought to one scale by mean and standard deviation over the permutations and what was observed,
    which is one of them under the null hypothesis. The corrected p is (1 + how many permutations have a *largest* of
    all statistics at least as large) / (1 + P). If the null hypothesis holds for all m, some corrected p is ≤ α with
    probability ≤ α, however the statistics depend on each other. p is the same without the maximum.
    """
    rows = np.concatenate([observed[None], permuted])
    count = len(rows)
    sd = rows.std(0)
    finite = np.isfinite(rows).all(0)
    defined = finite & (sd > _TIES * np.abs(rows).max(0))
    scaled = np.where(defined, (rows - rows.mean(0)) / np.where(defined, sd, 1.0), -np.inf)
    least = scaled[0] - _TIES * np.abs(np.where(defined, scaled[0], 0.0))
    single = (scaled >= least).sum(0) / count
    joint = (scaled.max(1)[:, None] >= least).sum(0) / count
    # What no permutation changes says nothing against the null hypothesis.
    otherwise = np.where(finite, 1.0, np.nan)
    return np.where(defined, single, otherwise), np.where(defined, joint, otherwise)
