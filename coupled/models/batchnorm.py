"""Batch normalisation whose statistics are within 1e-6 of float64 in either memory layout.

Ours because its sums must be taken over the global batch on any backend, and because torch's own CPU statistics for
channels_last inputs are off by 3e-5. Sums run over the spatial axes in the input's precision (short, vectorised) and
over samples in float64.
Shapes: x (N, C) or (N, C, H, W); n = elements per channel.
"""

from typing import Any

import torch
from torch import Tensor, nn


def _channel_sum(x: Tensor) -> Tensor:
    """Σ over everything but channels, float64 (C,)."""
    return x.flatten(2).sum(-1).sum(0, dtype=torch.float64) if x.ndim > 2 else x.sum(0, dtype=torch.float64)


def _per_channel(values: Tensor, like: Tensor) -> Tensor:
    return values.to(like.dtype).view(1, -1, *[1] * (like.ndim - 2))


class _Normalise(torch.autograd.Function):
    """y = weight·(x − mean)/√(var + eps) + bias, with mean and (population) variance of this batch."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        n = x.numel() // x.shape[1]
        mean = _channel_sum(x) / n
        centred = x - _per_channel(mean, x)
        # The mean rounded to x's precision leaves a residue; without it the variance would be too large by its square.
        residue = _channel_sum(centred) / n
        variance = _channel_sum(centred * centred) / n - residue * residue
        inverse_std = (variance + eps).rsqrt()
        scale = _per_channel(inverse_std * weight, x)
        y = centred * scale if bias is None else torch.addcmul(_per_channel(bias, x), centred, scale)
        ctx.save_for_backward(centred, weight, inverse_std)
        ctx.has_bias = bias is not None
        ctx.mark_non_differentiable(mean, variance)
        return y, mean, variance

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor | None, None]:
        gradient = grads[0]
        centred, weight, inverse_std = ctx.saved_tensors
        n = centred.numel() // centred.shape[1]
        grad_sum = _channel_sum(gradient)
        grad_dot = _channel_sum(gradient * centred) * inverse_std
        scale = inverse_std * weight
        dx = torch.addcmul(
            _per_channel(-scale * grad_sum / n, gradient),
            centred,
            _per_channel(-scale * inverse_std * grad_dot / n, gradient),
        ).addcmul_(gradient, _per_channel(scale, gradient))
        return dx, grad_dot.to(weight.dtype), grad_sum.to(weight.dtype) if ctx.has_bias else None, None


class BatchNorm(nn.Module):
    """Batch-norm over (N, C) or (N, C, H, W), per channel; `bias=False` leaves the shift out.

    Training normalises with the batch's statistics; evaluation uses the running ones. A training forward leaves the
    running statistics alone: `absorb` moves them by `momentum` (variance unbiased, as torch's) when the weights are
    updated, so that the state of step t is one state, and a step that is stopped has moved nothing.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, *, eps: float = 1e-5, momentum: float = 0.1, bias: bool = True) -> None:
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.empty(channels))
        self.bias = nn.Parameter(torch.empty(channels)) if bias else None
        self.register_buffer("running_mean", torch.empty(channels))
        self.register_buffer("running_var", torch.empty(channels))
        self._seen: list[tuple[Tensor, Tensor]] = []

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            scale = (self.running_var.double() + self.eps).rsqrt() * self.weight
            y = (x - _per_channel(self.running_mean, x)) * _per_channel(scale, x)
            return y if self.bias is None else y + _per_channel(self.bias, x)
        y, mean, variance = _Normalise.apply(x, self.weight, self.bias, self.eps)  # type: ignore[reportGeneralTypeIssues]
        n = x.numel() // x.shape[1]
        self._seen.append((mean.to(x.dtype), (variance * (n / max(n - 1, 1))).to(x.dtype)))
        return y

    @torch.no_grad()
    def absorb(self) -> None:
        """Move the running statistics by every training forward since the last call, in order."""
        for mean, variance in self._seen:
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance, self.momentum)
        self._seen.clear()
