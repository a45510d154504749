"""Is the alignment of a run above chance, when it was looked at in many steps, layers and arms?

The null hypothesis: which sample of the reference stands beside which of the arm is random. A permutation of samples is
done to all steps, layers and arms alike, which keeps their dependence. Shapes: n samples of the panel, P permutations.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.runs.alignment import FeaturePair
from analysis.runs.controls import arms_with_reference
from analysis.runs.features import stage_names
from analysis.runs.run import Run
from analysis.statistics.max_statistic import corrected
from coupled.address import Purpose, permutation
from coupled.errors import UserError, unknown
from coupled.theory.scale import unit_rows

_BLOCK_NUMBERS: Final = 4 << 20  # float64 numbers that are permuted at a time


@dataclass(frozen=True)
class Significance:
    """Alignment of an arm with its reference at a step, by a feature of the panel's samples that were looked at.

    `p` as if this had been the only look; `corrected` for all looks of one call together.
    """

    measure: str
    arm: str
    reference: str
    feature: str
    step: int
    value: float
    p: float
    corrected: float


def significance(
    run: Run,
    measure: str = "cka",
    *,
    arms: Sequence[str] = (),
    features: Sequence[str] = (),
    steps: Sequence[int] = (),
    permutations: int = 999,
    samples: int = 128,
) -> list[Significance]:
    """p-values of "cka" (debiased) or "rsa" (Pearson) on the panel, corrected by the largest statistic of permutations.

    By default of all arms with a reference, of h, z and recorded stages, at all steps of the panel. Of at most
    `samples` samples, evenly spaced over the panel's ids, as all pairs are needed: an arm, feature and step take about
    a tenth of a second. No p is below 1/(1 + permutations). Raises UserError for what the run does not record.
    """
    if measure not in _MATRICES:
        raise unknown("measure with p-values", measure, _MATRICES)
    if permutations < 1:
        raise UserError(f"permutations = {permutations}", "1 or more are needed", "999 give p down to .001")
    looks: list[tuple[FeaturePair, int]] = []
    rows: list[NDArray[np.float64]] = []
    for arm in arms or arms_with_reference(run):
        for feature in features or ("h", "z", *stage_names(run)):
            pair = FeaturePair.of(run, arm, feature=feature).at_most(samples)
            orders = pairings(pair.n, permutations)
            for at, x, y in pair.blocks():
                for step, a, b in zip(at.tolist(), x, y, strict=True):
                    if not steps or step in steps:
                        looks.append((pair, step))
                        rows.append(statistics(measure, a, b, orders))
    if not rows:
        raise UserError(f"steps {', '.join(map(str, steps))}", f"the panel of {run.path} has none of them")
    columns = np.stack(rows, 1)
    p = corrected(columns[0], columns[1:])
    return [
        Significance(measure, pair.arm, pair.reference, pair.feature, step, *map(float, numbers))
        for (pair, step), *numbers in zip(looks, columns[0], *p, strict=True)
    ]


def pairings(n: int, count: int) -> Tensor:
    """The identity, then `count` permutations of n samples keyed by address: int64 (1 + count, n)."""
    drawn = [permutation(0, Purpose.PERMUTATION, n, a=number) for number in range(count)]
    return torch.stack([torch.arange(n), *drawn])


def statistics(measure: str, x: Tensor, y: Tensor, orders: Tensor) -> NDArray[np.float64]:
    """The measure of x (n, d) and the rows of y (n, e) in each order (P, n): float64 (P,).

    Neither means nor norms change with the order, so that it is a sum over pairs: Mantel's statistic.
    """
    a, b = (_MATRICES[measure](side.double()) for side in (x, y))
    norm = (a.square().sum() * b.square().sum()).sqrt()
    size = max(1, _BLOCK_NUMBERS // a.numel())
    sums = [(b[order[:, :, None], order[:, None, :]] * a).sum((1, 2)) for order in orders.split(size)]
    return (torch.cat(sums) / norm).numpy()


def _u_centred(x: Tensor) -> Tensor:
    """The Gram matrix without its diagonal, less row and column means, unbiased: docs/theory.md (41)."""
    centred = x - x.mean(0)
    centred = centred / centred.abs().max()  # products of any size of features stay within float64
    gram = (centred @ centred.T).fill_diagonal_(0)
    n, sums = len(x), gram.sum(0)
    whole = gram - (sums[:, None] + sums) / (n - 2) + sums.sum() / ((n - 1) * (n - 2))
    return whole.fill_diagonal_(0)


def _cosines(x: Tensor) -> Tensor:
    """Cosines of pairs of different samples, less their mean: docs/theory.md (43)."""
    rows = unit_rows(x)
    cosines = (rows @ rows.T).fill_diagonal_(0)
    n = len(x)
    return (cosines - cosines.sum() / (n * (n - 1))).fill_diagonal_(0)


_MATRICES: Final[dict[str, Callable[[Tensor], Tensor]]] = {"cka": _u_centred, "rsa": _cosines}
