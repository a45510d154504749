"""Points turned onto others: what of two pictures of the same samples differs beyond rotation, reflection and shift.

Shapes: x, y (n, d), float64.
"""

import torch
from torch import Tensor


def nearest_turn(product: Tensor) -> Tensor:
    """The orthogonal Q that maximises tr QᵀM of M = `product` (…, d, e), d ≥ e: of least ‖XQ − Y‖_F where M = XᵀY."""
    left, _, right = torch.linalg.svd(product, full_matrices=False)
    return left @ right


def turned_onto(x: Tensor, y: Tensor) -> Tensor:
    """x rotated, reflected and shifted, never scaled, so that it is as near to y as can be: docs/theory.md (90).

    x and y are the same samples in the same order. An x that equals y comes back as y, bit by bit.
    """
    centred, about = x - x.mean(0), y.mean(0)
    target = y - about
    if torch.equal(centred, target):
        return y.clone()
    return centred @ nearest_turn(centred.mT @ target) + about
