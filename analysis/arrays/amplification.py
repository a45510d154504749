"""What comes out over what was put in, and how a distance splits between two clouds of runs.

Formulas: docs/theory.md (118) to (121).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def put_in(rates: Floats, objective: Floats, momentum: float) -> Floats:
    """How far another loss alone has pushed by each state (T + 1,): Σ_s η_s Σ_{r≤s} μ^{s−r} ‖b_r‖.

    `rates` η_t and `objective` ‖b_t‖ (T,). 0 in state 0. docs/theory.md (118).
    """
    total, buffer, sums = 0.0, 0.0, [0.0]
    for rate, pushed in zip(rates.tolist(), objective.tolist(), strict=True):
        buffer = momentum * buffer + pushed
        total += rate * buffer
        sums.append(total)
    return np.array(sums)


def energy_share(xx: Sequence[float], yy: Sequence[float], between: Sequence[float]) -> float:
    """The share of the squared distance between two clouds of runs that lies within them, ≥ 0: docs/theory.md (119).

    `xx`, `yy`: squared distances of pairs within either cloud, each pair once; `between`: of one run of each. It can
    exceed 1: it is an estimate. NaN where the clouds coincide, and where one has fewer than two runs.
    """
    if not (len(xx) and len(yy) and len(between)) or not any(between):
        return float("nan")
    return float((np.mean(xx) + np.mean(yy)) / 2 / np.mean(between))


class Rank(NamedTuple):
    """Where a value lies among those of placebos: how many lie below and above, and the two-sided p."""

    below: int
    above: int
    p: float


def rank_among(value: float, placebos: Sequence[float]) -> Rank:
    """The rank of a value among K placebos of the same run; p = (1 + #{as extreme}) / (K + 1), doubled, at most 1.

    Exact where the value is exchangeable with them if labels do nothing: docs/theory.md (120). Placebos that equal the
    value count as being as extreme on either side. NaN where any number is.
    """
    others = np.asarray(placebos, np.float64)
    if not len(others) or not np.isfinite(value) or not np.isfinite(others).all():
        return Rank(0, 0, float("nan"))
    below, above = int((others < value).sum()), int((others > value).sum())
    extreme = min(len(others) - above, len(others) - below)
    return Rank(below, above, min(1.0, 2 * (1 + extreme) / (len(others) + 1)))


def joint_p(ranks: Sequence[Rank], placebos: Sequence[int]) -> float:
    """The two-sided p of ranks of several seeds together, among so many placebos each, by their sum. (0, 1].

    Exact where each of them is, and seeds are independent: docs/theory.md (121). Of one seed it is p of `rank_among`.
    Arms that lie on the same side in every seed have a small one, such as lie on either side have not. NaN where one of
    the ranks is, and without any.
    """
    if not ranks or any(np.isnan(rank.p) for rank in ranks):
        return float("nan")
    chances = np.ones(1)  # of every sum of ranks, each of which is any of 0 … K
    for count in placebos:
        chances = np.convolve(chances, np.full(count + 1, 1 / (count + 1)))
    # As in `rank_among`, placebos that equal the value count as being as extreme.
    low = sum(count - rank.above for rank, count in zip(ranks, placebos, strict=True))
    high = sum(count - rank.below for rank, count in zip(ranks, placebos, strict=True))
    return min(1.0, 2 * float(chances[: min(low, high) + 1].sum()))
