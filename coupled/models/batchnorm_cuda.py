"""Batch normalisation on CUDA, by the kernels that torch's synchronised batch-norm is made of.

One kernel takes the statistics, one normalises; backward, one takes both sums and one makes the gradient. Statistics of
other ranks come in between. Shapes: x (N, C) or (N, C, H, W) in either memory layout.
Precision: statistics are float32 for float32 and bfloat16, with Welford's update; float64 for float64.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class FusedNormalise(torch.autograd.Function):
    """y, mean and (population) variance, as `batchnorm._Normalise` gives them.

    The variance is 1/s² of the inverse deviation s that the kernel returns for eps = 0, a few units in its last place;
    a constant channel has s = 0 there, and variance 0.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, eps: float, across: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        x = _dense(x)
        mean, inverse = torch.batch_norm_stats(x, 0.0)
        variance = torch.where(inverse > 0, inverse.double().pow(-2), 0.0)
        if across is not None and across.size > 1:
            means, variances = across.gathered(torch.stack((mean.double(), variance))).unbind(1)
            whole = means.mean(0)
            variance = (variances + (means - whole).square()).mean(0)
            mean = whole.to(mean.dtype)
        inverse_std = (variance + eps).rsqrt_().to(mean.dtype)
        y = torch.batch_norm_elemt(x, weight, bias, mean, inverse_std, eps)
        ctx.save_for_backward(x, weight, mean, inverse_std)
        ctx.has_bias, ctx.across = bias is not None, across
        ctx.mark_non_differentiable(mean, variance)
        return y, mean, variance

    @staticmethod
    @once_differentiable
    def backward(  # type: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grads: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None, None, None]:
        x, weight, mean, inverse_std = ctx.saved_tensors
        gradient = grads[0].contiguous(memory_format=_layout_of(x))
        total, dot, grad_weight, grad_bias = torch.batch_norm_backward_reduce(
            gradient, x, mean, inverse_std, weight, True, True, ctx.has_bias
        )
        n = x.numel() // x.shape[1]
        if ctx.across is not None and ctx.across.size > 1:
            n *= ctx.across.size
            total, dot = ctx.across.gathered(torch.stack((total, dot))).sum(0).unbind()
        count = torch.full((1,), n, dtype=torch.int32, device=x.device)
        dx = torch.batch_norm_backward_elemt(gradient, x, mean, inverse_std, weight, total, dot, count)
        return dx, grad_weight, grad_bias if ctx.has_bias else None, None, None


def _layout_of(x: Tensor) -> torch.memory_format:
    last = x.ndim == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format


def _dense(x: Tensor) -> Tensor:
    """x itself where it is dense in one of the two layouts, else a contiguous copy."""
    return x.contiguous(memory_format=_layout_of(x))
