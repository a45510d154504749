"""Contrastive objectives, all computed from one similarity matrix Σ = z zᵀ, and the exact loss gap between them.

Shapes: z (A, d) with A = 2B anchors, view 1 of every sample first; labels (B,); Σ (A, A). Anchor i has the positive
s_ip (the other view of its sample), N_i the views of all other samples, N_i⁻ those of another class, S_i = N_i \\ N_i⁻.
Every loss is a mean over all A anchors, also when some are skipped: otherwise the positive gradients of two arms would
stop cancelling. Formulas: P1 (arXiv 2506.04411) and P2 (arXiv 2510.08852).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from coupled.errors import UserError

OBJECTIVES = ("dcl", "nscl")


@dataclass(frozen=True)
class Pairs:
    """Which pairs of anchors are what, for one batch and labelling; shared by all arms. Boolean (A, A).

    `others` is N_i, `different` is N_i⁻, `same` is S_i (row i); `kept` (A,) says where N_i⁻ is not empty.
    """

    others: Tensor
    different: Tensor
    same: Tensor
    kept: Tensor


def pairs(labels: Tensor) -> Pairs:
    """The pair masks of a batch with `labels` (B,)."""
    B = len(labels)
    others = ~torch.eye(B, dtype=torch.bool, device=labels.device).repeat(2, 2)
    different = (labels[:, None] != labels[None, :]).repeat(2, 2)
    return Pairs(others, different, others & ~different, different.any(1))


def similarity(z: Tensor) -> Tensor:
    """Σ = z zᵀ, (A, A), in z's precision. z is used as given; arms normalise it, so Σ holds cosines."""
    return z @ z.T


def positives(sigma: Tensor) -> Tensor:
    """s_ip of every anchor, (A,)."""
    B = len(sigma) // 2
    return torch.cat([sigma.diagonal(B), sigma.diagonal(-B)])


def masked_logsumexp(logits: Tensor, mask: Tensor) -> Tensor:
    """log Σ_{j: mask_ij} e^{logits_ij} of every row, (A,); −∞ where the mask is empty (no gradient there)."""
    return logits.masked_fill(~mask, -torch.inf).logsumexp(1)


def per_anchor(name: str, sigma: Tensor, masks: Pairs, temperature: float) -> Tensor:
    """ℓ_i of every anchor, (A,), differentiable in Σ; a skipped anchor has value and gradient 0.

    dcl:  −s_ip/τ + log Σ_{N_i} e^{s_ij/τ}       (P1, P2: the formula of CL)
    nscl: −s_ip/τ + log Σ_{N_i⁻} e^{s_ij/τ}      (P1, P2)
    """
    logits = sigma / temperature
    if name == "dcl":
        return masked_logsumexp(logits, masks.others) - positives(logits)
    assert name == "nscl", name
    # A skipped anchor gets a finite stand-in first: the gradient of 0·(−∞) would be NaN.
    negatives = masked_logsumexp(logits, masks.different | ~masks.kept[:, None])
    return torch.where(masks.kept, negatives - positives(logits), 0.0)


def loss(
    name: str,
    z: Tensor,
    labels: Tensor | None,
    temperature: float,
    *,
    positive_in_denominator: bool = False,
    lam: float | None = None,
) -> Tensor:
    """The objective `name` of z (2B, d), view 1 first, used as given (not re-normalised); labels (B,) int64.

    Scalar in z's precision or float32, whichever is better; mean over the 2B anchors. `dcl` takes no labels and
    ignores them (None is fine). Raises UserError for an unknown objective, options it does not take, τ that is not
    positive and finite, B = 1, or labels that do not fit.
    """
    if name not in OBJECTIVES:
        raise UserError(f"objective {name}", "one of " + ", ".join(OBJECTIVES))
    if positive_in_denominator or lam is not None:
        raise UserError(
            f"positive_in_denominator or lam for {name}", "no objective takes them in this version", "leave them out"
        )
    if not (temperature > 0 and math.isfinite(temperature)):
        raise UserError(f"temperature {temperature}", "a positive finite number")
    if z.ndim != 2 or len(z) % 2 or len(z) < 4:
        raise UserError(f"z of shape {tuple(z.shape)}", "(2B, d) with B ≥ 2: there are no negatives otherwise")
    B = len(z) // 2
    if labels is None and name == "dcl":
        labels = torch.arange(B, device=z.device)
    if labels is None or labels.shape != (B,):
        raise UserError(f"labels for {name}: {None if labels is None else tuple(labels.shape)}", f"({B},) is needed")
    z = z.float() if z.dtype.itemsize < 4 else z
    return batch_loss(name, similarity(z), pairs(labels), temperature)


def batch_loss(name: str, sigma: Tensor, masks: Pairs, temperature: float) -> Tensor:
    """Mean of `per_anchor` over all A anchors: what an arm minimises."""
    return per_anchor(name, sigma, masks, temperature).sum() / len(sigma)


@dataclass(frozen=True)
class Evaluation:
    """Both losses and their exact gap on one Σ, as 0-d float64 tensors.

    `losses` by objective (means over all A anchors); `gap` the mean over kept anchors of ℓ^CL − ℓ^NSCL ≥ 0; `mass` the
    mean over kept anchors of the same-class mass p ∈ [0, 1]; `skipped` the number of anchors left out of gap and mass.
    With every anchor skipped, gap and mass are NaN: there is nothing to average.
    """

    losses: dict[str, Tensor]
    gap: Tensor
    mass: Tensor
    skipped: Tensor


@torch.no_grad()
def evaluate(sigma: Tensor, masks: Pairs, temperature: float) -> Evaluation:
    """Every objective, the loss gap and the same-class mass on one Σ for the price of two masked logsumexps.

    gap_i = softplus(x_i), p_i = sigmoid(x_i), x_i = LSE_{S_i}(s/τ) − LSE_{N_i⁻}(s/τ) (exact; theory of P1 Theorem 1).
    """
    logits = sigma / temperature
    positive = positives(logits).double()
    same = masked_logsumexp(logits, masks.same).double()
    different = masked_logsumexp(logits, masks.different).double()
    # Where N_i⁻ is empty x_i would be +∞, where both are, NaN; those anchors are left out below.
    x = torch.where(masks.kept, same - different, 0.0)
    kept, A = masks.kept.double(), len(sigma)
    gap = (F.softplus(x, threshold=40.0) * kept).sum() / kept.sum()
    mass = (torch.sigmoid(x) * kept).sum() / kept.sum()
    losses = {
        "dcl": (torch.logaddexp(same, different) - positive).sum() / A,
        "nscl": (torch.where(masks.kept, different, positive) - positive).sum() / A,
    }
    return Evaluation(losses, gap, mass, A - kept.sum())
