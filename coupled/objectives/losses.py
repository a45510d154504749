"""Objectives computed from one similarity matrix Σ = z zᵀ, and the exact loss gaps between them.

Shapes and the sets N_i, N_i⁻, S_i: objectives/masks.py. Every built-in loss of anchor i is the attraction to its
positives and the log of one denominator, which gives other classes weight 1, the own class weight w, the positive
weight 0 or 1:

    −s_ip/τ + log( [e^{s_ip/τ}] + Σ_{N_i⁻} e^{s_ij/τ} + w Σ_{S_i} e^{s_ij/τ} )

Every loss is a mean over all A anchors, also when some are skipped: otherwise the positive gradients of two arms would
stop cancelling. Formulas and their sources: docs/theory.md (3) to (13).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from coupled.errors import UserError, raised
from coupled.objectives.masks import PairMasks, masked_logsumexp, pair_masks, positives, similarity
from coupled.objectives.registry import (
    OBJECTIVES,
    Objective,
    UserObjective,
    is_function_of_sigma,
    positive_gap,
    registered,
    validate,
)


def same_class_weight(objective: Objective) -> float:
    """w, the weight of S_i in the denominator."""
    if objective.name == "homotopy":
        assert objective.lam is not None
        return objective.lam
    return 0.0 if objective.name == "nscl" else 1.0


def anchor_losses(
    objective: Objective, negatives: Tensor, positive: Tensor, kept: Tensor, own: Callable[[], Tensor]
) -> Tensor:
    """ℓ_i (A,) of a built-in objective from reductions of its row of Σ/τ, all (A,), in their precision.

    `negatives`: the log denominator without the positive, where S_i has the weight `same_class_weight`; `positive`
    s_ip/τ; `kept`: N_i⁻ is not empty; `own()`: the mean of s/τ over S_i and the positive, which scl alone needs.

    The positive in the denominator turns x = negatives − positive into log(1 + e^x), which keeps its digits where the
    positive is far ahead.
    """
    x = negatives - positive
    if objective.name == "scl":
        return F.softplus(x, threshold=40.0) + positive - own()
    if positive_gap(objective):
        return F.softplus(x, threshold=40.0)
    return x if same_class_weight(objective) else torch.where(kept, x, 0.0)


def _mean_of_own(logits: Tensor, positive: Tensor, masks: PairMasks) -> Tensor:
    """The mean over Khosla's positives, the other view and S_i, (A,), in the precision of `positive`."""
    return (torch.where(masks.same, logits, 0.0).sum(1, dtype=positive.dtype) + positive) / (masks.same.sum(1) + 1)


def _values(objective: Objective, sigma: Tensor, masks: PairMasks, temperature: float) -> Tensor:
    """ℓ_i of every anchor (A,), or the 0-d mean that a registered objective may return instead."""
    if (function := registered(objective.name)) is not None:
        return _user_values(objective.name, function, sigma, masks.labels, temperature)
    assert objective.name in OBJECTIVES and is_function_of_sigma(objective.name), objective
    logits, weight = sigma / temperature, same_class_weight(objective)
    positive = positives(logits)
    if weight in (0, 1):
        negatives = masked_logsumexp(logits, masks.others if weight else masks.different)
    else:
        # One logsumexp over weighted terms costs half of two.
        negatives = masked_logsumexp(torch.add(logits, masks.same, alpha=math.log(weight)), masks.others)
    return anchor_losses(objective, negatives, positive, masks.kept, lambda: _mean_of_own(logits, positive, masks))


def _user_values(name: str, function: UserObjective, sigma: Tensor, labels: Tensor, temperature: float) -> Tensor:
    # Copies: what a user's function writes into its arguments must not reach the records or another arm.
    try:
        values = function(sigma.clone(), labels.clone(), temperature)
    except UserError:
        raise
    except Exception as error:
        reason = raised(error)
        raise UserError(f"objective {name} fails", reason, "try it on a small sigma by itself") from error
    if not isinstance(values, Tensor) or values.shape not in ((), (len(sigma),)) or not values.is_floating_point():
        given = f"{values.dtype} {tuple(values.shape)}" if isinstance(values, Tensor) else type(values).__name__
        raise UserError(f"objective {name} returned {given}", f"losses ({len(sigma)},), or their mean, 0-d, is needed")
    if torch.is_grad_enabled() and sigma.requires_grad and not values.requires_grad:
        raise UserError(f"objective {name} returned a value without gradient", "it must be differentiable in sigma")
    return values


def try_out(objective: Objective, temperature: float) -> None:
    """Evaluate a registered objective once, with gradient, on four samples of two classes: UserError if it fails."""
    if registered(objective.name) is not None:
        sigma = torch.eye(8).mul_(0.5).add_(0.5).requires_grad_()
        batch_loss(objective, sigma, pair_masks(torch.arange(4) % 2), temperature).backward()


def per_anchor(objective: Objective, sigma: Tensor, masks: PairMasks, temperature: float) -> Tensor:
    """ℓ_i of every anchor, (A,), in Σ's precision (float32 or better) and differentiable in Σ. Formulas: OBJECTIVES.

    nscl, and homotopy with λ = 0, without the positive in the denominator: an anchor with no negatives has value and
    gradient 0. The mean that a registered objective returned stands at every anchor.
    """
    return _values(objective, sigma, masks, temperature).expand(len(sigma))


def batch_loss(objective: Objective, sigma: Tensor, masks: PairMasks, temperature: float) -> Tensor:
    """Mean of `per_anchor` over all A anchors, 0-d: what an arm minimises."""
    return _mean(_values(objective, sigma, masks, temperature))


def _mean(values: Tensor) -> Tensor:
    return values if values.ndim == 0 else values.sum() / len(values)


def loss(
    name: str,
    z: Tensor,
    labels: Tensor | None,
    temperature: float,
    *,
    positive_in_denominator: bool = False,
    lam: float | None = None,
) -> Tensor:
    """The objective `name` of z (2B, d), view 1 first, used as given (not re-normalised); labels (B,) integers.

    Scalar in z's precision or float32, whichever is better; mean over the 2B anchors. `dcl` and `nt_xent` take no
    labels and ignore them (None is fine). Raises UserError for an unknown objective, `ce`, options it does not take or
    lacks, τ that is not positive and finite, B = 1, or labels that do not fit.
    """
    objective = Objective(name, positive_in_denominator, lam)
    validate(objective, "")
    if not is_function_of_sigma(name):
        do = f'train an arm of kind = "objective" with objective = "{name}": it has the classifier head'
        raise UserError(f"objective {name}", "it is not a function of the similarities of z", do)
    if not (temperature > 0 and math.isfinite(temperature)):
        raise UserError(f"temperature {temperature}", "a positive finite number")
    if z.ndim != 2 or len(z) % 2 or len(z) < 4 or not z.is_floating_point():
        given = f"z of shape {tuple(z.shape)} and {z.dtype}"
        raise UserError(given, "floats (2B, d) with B ≥ 2: there are no negatives otherwise")
    z = z.float() if z.dtype.itemsize < 4 else z
    return batch_loss(objective, similarity(z), pair_masks(_labels(name, labels, z)), temperature)


def _labels(name: str, labels: Tensor | None, z: Tensor) -> Tensor:
    """Labels int64 (B,) on z's device; made up where the objective takes none."""
    B = len(z) // 2
    if name in ("dcl", "nt_xent"):
        return torch.arange(B, device=z.device)
    if labels is None or labels.shape != (B,) or labels.is_floating_point():
        given = "None" if labels is None else f"{tuple(labels.shape)} of {labels.dtype}"
        raise UserError(f"labels for {name}: {given}", f"({B},) integers are needed")
    return labels.to(z.device, torch.int64)


@dataclass(frozen=True)
class Evaluation:
    """Losses and exact loss gaps of one Σ, as 0-d float64 tensors.

    `losses` by objective (means over all A anchors). `gap` the mean over kept anchors of ℓ^dcl − ℓ^nscl ≥ 0, `mass`
    that of the same-class mass p ∈ [0, 1], `skipped` the number of anchors left out of both; with none kept both are
    NaN: there is nothing to average. `gap_with_positive`, `mass_with_positive`: the same with the positive in both
    denominators (ℓ^nt_xent − ℓ^nscl), where every anchor is kept.
    """

    losses: dict[Objective, Tensor]
    gap: Tensor
    mass: Tensor
    skipped: Tensor
    gap_with_positive: Tensor
    mass_with_positive: Tensor


@torch.no_grad()
def evaluate(sigma: Tensor, masks: PairMasks, temperature: float, objectives: Sequence[Objective]) -> Evaluation:
    """The losses of `objectives`, loss gaps and same-class masses on one Σ for the price of two masked logsumexps.

    gap_i = softplus(x_i), p_i = sigmoid(x_i), x_i = LSE_{S_i}(s/τ) − LSE_{N_i⁻}(s/τ), N_i⁻ ∪ positive for the gap with
    the positive: docs/theory.md (11) to (13). scl adds a masked sum over Σ; a registered objective is called once.
    """
    logits, kept = sigma / temperature, masks.kept
    positive = positives(logits).double()
    same = masked_logsumexp(logits, masks.same).double()
    different = masked_logsumexp(logits, masks.different).double()

    def loss_of(objective: Objective) -> Tensor:
        if registered(objective.name) is not None:
            return _mean(_values(objective, sigma, masks, temperature).double())
        weight = same_class_weight(objective)
        negatives = torch.logaddexp(same + math.log(weight), different) if weight else different
        return _mean(anchor_losses(objective, negatives, positive, kept, lambda: _mean_of_own(logits, positive, masks)))

    assert all(is_function_of_sigma(objective.name) for objective in objectives), objectives
    losses = {objective: loss_of(objective) for objective in dict.fromkeys(objectives)}
    # Where N_i⁻ is empty x_i would be +∞; those anchors are left out below.
    x = torch.where(kept, same - different, 0.0)
    x_with_positive = same - torch.logaddexp(different, positive)
    count = kept.double().sum()
    return Evaluation(
        losses,
        gap=(F.softplus(x, threshold=40.0) * kept).sum() / count,
        mass=(torch.sigmoid(x) * kept).sum() / count,
        skipped=len(sigma) - count,
        gap_with_positive=F.softplus(x_with_positive, threshold=40.0).mean(),
        mass_with_positive=torch.sigmoid(x_with_positive).mean(),
    )
