"""Every contrastive loss, loss gap and bound on it of two views of many samples: over all pairs, or over mini-batches.

The two scopes are never mixed: a loss over all samples of a split has other negatives than one over a batch of them.

Shapes: z (2n, d), view 1 of every sample first, used as given (not re-normalised); labels (n,); A anchors.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from analysis.arrays.row_blocks import Rows, joined, reduce_rows
from coupled.objectives.losses import anchor_losses, per_anchor, same_class_weight
from coupled.objectives.masks import pair_masks, similarity
from coupled.objectives.registry import Objective, is_function_of_sigma, registered
from coupled.theory.bounds import data_set_gap, gap_bounds_of

DCL: Final = Objective("dcl")
NT_XENT: Final = Objective("nt_xent")
NSCL: Final = Objective("nscl")
NSCL_POSITIVE: Final = Objective("nscl", positive_in_denominator=True)
SCL: Final = Objective("scl")
OBJECTIVES: Final = (DCL, NT_XENT, NSCL, NSCL_POSITIVE, SCL)


@dataclass(frozen=True)
class Gap:
    """CL above NSCL on the same z, and what bounds it: means over the anchors kept, NaN with none kept.

    Formulas: docs/theory.md (11) to (17), (85). gap; mass: the same-class mass, in [0, 1]; equal: the gap where all
    similarities are equal, no bound; per_anchor, tighter: bounds; data_set: a bound over all pairs of samples alone,
    None over mini-batches, where it is none; slack: the least of tighter − gap over the anchors; residual: of the exact
    identity; skipped: anchors left out of all of these, as they have nothing to be compared with.
    """

    gap: float
    mass: float
    equal: float
    per_anchor: float
    tighter: float
    data_set: float | None
    slack: float
    residual: float
    skipped: int


@dataclass(frozen=True)
class Losses:
    """Losses by objective, means over all `anchors`; the gap without and with the positive in both denominators.

    batches: over how many mini-batches; None where all pairs of samples count.
    """

    anchors: int
    batches: int | None
    losses: dict[Objective, float]
    gap: Gap
    gap_with_positive: Gap


def split_losses(
    z: Tensor,
    labels: Tensor,
    temperature: float,
    objectives: Sequence[Objective] = OBJECTIVES,
    *,
    reduce: Callable[[Tensor, Tensor, float], Rows] = reduce_rows,
) -> Losses:
    """Over one Σ of all samples of z (2n, d), labels int (n,), n ≥ 2: docs/theory.md (83).

    Beside z it takes some 15 MB for n = 10 000, d = 64 in float32: see `reduce_rows`. A registered objective is NaN: it
    is a function of the whole Σ, which is not made.
    `reduce` gives what `reduce_rows` does.
    """
    assert all(is_function_of_sigma(objective.name) for objective in objectives), objectives
    rows = reduce(z, labels, temperature)
    of_anchors = {objective: _of_rows(objective, rows) for objective in (*OBJECTIVES, *objectives)}
    sizes = labels.unique(return_counts=True)[1]
    data_set = [
        data_set_gap(int(sizes.max()), len(labels), temperature, positive_in_denominator=positive)
        for positive in (False, True)
    ]
    gaps = [_gap(rows, of_anchors, temperature, positive, data_set[positive]) for positive in (False, True)]
    return Losses(len(z), None, {objective: of_anchors[objective].mean().item() for objective in objectives}, *gaps)


def batch_losses(
    z: Tensor, labels: Tensor, temperature: float, batches: Tensor, objectives: Sequence[Objective] = OBJECTIVES
) -> Losses:
    """Over mini-batches, positions (k, B) of samples, B ≥ 2; each has a Σ of its own: docs/theory.md (84).

    The data-set bound is NOT a bound here.
    """
    assert all(is_function_of_sigma(objective.name) for objective in objectives), objectives
    assert batches.ndim == 2 and len(batches) >= 1, batches.shape
    wanted = dict.fromkeys((*OBJECTIVES, *objectives))
    reduced, parts = [], []
    for samples in batches.to(z.device):
        z_batch, of_batch = torch.cat([view[samples] for view in z.chunk(2)]), labels.to(z.device)[samples]
        rows = reduce_rows(z_batch, of_batch, temperature)
        parts.append({each: _of_batch(each, rows, z_batch, of_batch, temperature) for each in wanted})
        reduced.append(rows)
    of_anchors = {objective: torch.cat([part[objective] for part in parts]) for objective in wanted}
    gaps = [_gap(joined(reduced), of_anchors, temperature, positive, None) for positive in (False, True)]
    losses = {objective: of_anchors[objective].mean().item() for objective in objectives}
    return Losses(2 * batches.numel(), len(batches), losses, *gaps)


def _of_rows(objective: Objective, rows: Rows) -> Tensor:
    """ℓ_i of every anchor, (A,)."""
    if registered(objective.name) is not None:
        return torch.full_like(rows.positive, torch.nan)
    weight = same_class_weight(objective)
    if weight in (0, 1):
        negatives = rows.others if weight else rows.different
    else:
        negatives = torch.logaddexp(rows.same + math.log(weight), rows.different)

    def own() -> Tensor:
        return (rows.same_total + rows.positive) / (rows.same_count + 1)

    return anchor_losses(objective, negatives, rows.positive, rows.different_count > 0, own)


def _of_batch(objective: Objective, rows: Rows, z: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """The same of a batch, whose whole Σ a registered objective can have."""
    if registered(objective.name) is None:
        return _of_rows(objective, rows)
    return per_anchor(objective, similarity(z), pair_masks(labels.long()), temperature).double()


def _gap(
    rows: Rows, of_anchors: Mapping[Objective, Tensor], temperature: float, positive: bool, data_set: float | None
) -> Gap:
    inside, count, total = rows.different, rows.different_count, rows.different_total
    if positive:
        inside, count, total = torch.logaddexp(inside, rows.positive), count + 1, total + rows.positive
    bounds = gap_bounds_of(
        rows.same - inside,
        (rows.same_count, count),
        highest=rows.highest,
        mean=total / count,
        temperature=temperature,
    )
    cl, ns = (of_anchors[objective] for objective in ((NT_XENT, NSCL_POSITIVE) if positive else (DCL, NSCL)))
    gap = bounds.mean(bounds.gap)
    return Gap(
        gap=gap,
        mass=bounds.mean(-torch.expm1(-bounds.gap)),
        equal=bounds.mean(bounds.equal),
        per_anchor=bounds.mean(bounds.per_anchor),
        tighter=bounds.mean(bounds.tighter),
        data_set=data_set,
        slack=bounds.slack(bounds.tighter),
        residual=abs(bounds.mean(cl) - bounds.mean(ns) - gap),
        skipped=len(bounds.kept) - int(bounds.kept.sum()),
    )
