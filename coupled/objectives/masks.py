"""Which pairs of anchors a loss compares, and the reductions of Σ = z zᵀ that every loss is made of.

Shapes: z (A, d) with A = 2B anchors, view 1 of every sample first; labels (B,); Σ (A, A). Anchor i has the positive
s_ip (the other view of its sample), N_i the views of all other samples, N_i⁻ those of another class, S_i = N_i \\ N_i⁻.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PairMasks:
    """Which pairs of anchors are what, for one batch and labelling; shared by all arms. Boolean (A, A).

    `others` is N_i, `different` is N_i⁻, `same` is S_i (row i); `kept` (A,) says where N_i⁻ is not empty; `labels`
    int64 (B,) are those that the masks were made from.
    """

    others: Tensor
    different: Tensor
    same: Tensor
    kept: Tensor
    labels: Tensor


def pair_masks(labels: Tensor) -> PairMasks:
    """The pair masks of a batch with `labels` int64 (B,), on the labels' device: docs/theory.md (2).

    Of many batches with labels (…, B) at once: the masks then have these axes in front, but for `others`.
    """
    others = ~torch.eye(labels.shape[-1], dtype=torch.bool, device=labels.device).repeat(2, 2)
    different = labels[..., :, None] != labels[..., None, :]
    different = different.repeat(*(1,) * (labels.ndim - 1), 2, 2)
    return PairMasks(others, different, others & ~different, different.any(-1), labels)


def similarity(z: Tensor) -> Tensor:
    """Σ = z zᵀ, (A, A), in z's precision: docs/theory.md (1).

    z is used as given; arms normalise it, so Σ holds cosines.
    """
    return z @ z.T


def positives(sigma: Tensor) -> Tensor:
    """s_ip of every anchor, (A,)."""
    B = len(sigma) // 2
    return torch.cat([sigma.diagonal(B), sigma.diagonal(-B)])


def masked_logsumexp(logits: Tensor, mask: Tensor) -> Tensor:
    """log Σ_{j: mask_ij} e^{logits_ij} of every row, (…, A); −∞ with gradient 0 where the mask is empty."""
    lowest = torch.finfo(logits.dtype).min
    # Not −∞ yet: in a row of nothing else the gradient of logsumexp would be NaN.
    values = torch.where(mask, logits, lowest).logsumexp(-1)
    return torch.where(values < lowest / 2, -torch.inf, values)
