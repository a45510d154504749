"""What the data ranks of an arm exchange in a step: embeddings, and the gradient.

The loss is of the whole batch, so every rank computes all of it from the same gathered z, bit for bit: nothing of it is
averaged. A rank's z then has its part of that one gradient, and the sum over ranks of what each part's backward leaves
in the weights is the gradient of the whole batch.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from coupled.ranks.mesh import Axis


class _Whole(torch.autograd.Function):
    """z of both views of this rank's samples (2b, d) → of all samples (2B, d), view 1 first, in batch order."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, axis: Axis) -> Tensor:
        ctx.axis = axis
        return whole_views(z, axis)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:  # type: ignore[reportIncompatibleMethodOverride]
        # Own rows alone, unscaled: the loss that the gradient is of is the same one on every rank, not a share of it.
        views = grads[0].unflatten(0, (2, -1))
        return views[:, ctx.axis.part(views.shape[1])].flatten(0, 1), None


def whole(z: Tensor, axis: Axis) -> Tensor:
    """z of the whole batch, differentiable in this rank's part; z itself where there is one rank."""
    if axis.size == 1:
        return z
    gathered: Tensor = _Whole.apply(z, axis)  # type: ignore[reportGeneralTypeIssues]
    return gathered


def whole_views(rows: Tensor, axis: Axis) -> Tensor:
    """One row for every view of this rank's samples (2b, …) → of all samples (2B, …), view 1 first."""
    return axis.gathered(rows.unflatten(0, (2, -1))).transpose(0, 1).flatten(0, 2)


def add_up(flat: Tensor, axis: Axis) -> None:
    """The sum of every rank's `flat` (N,), in place: equal bytes on all ranks, added in float64 in the order of ranks.

    Every rank adds up one piece of it and hands it on, which moves as much as a ring does.
    """
    if axis.size == 1:
        return
    piece = -(-flat.numel() // axis.size)
    padded = torch.nn.functional.pad(flat, (0, piece * axis.size - flat.numel()))
    parts = axis.exchanged(padded.view(axis.size, piece))
    total = parts[0].double()
    for part in parts[1:]:
        total += part
    flat.copy_(axis.gathered(total.to(flat.dtype)).flatten()[: flat.numel()])
