"""Batch-norm on CUDA, by the kernels that torch's synchronised batch-norm is made of: one launch a pass.

Precision: the kernels add with Welford's update in float32 for float32 and bfloat16, in float64 for float64. On an H200
outputs and gradients were within 1.2e-7 of float64 where |mean| ≤ 2σ, and outputs within 4e-6 at 100σ (docs/gpu.md).
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from coupled.models.norm.layout import Layout


class Seen(NamedTuple):
    """What a training forward saw of a channel: mean and 1/√(variance + eps), (C,), of n elements."""

    mean: Tensor
    inverse_std: Tensor
    n: int


class Running(Protocol):
    """A norm whose running statistics `absorb` moves."""

    running_mean: Tensor
    running_var: Tensor
    eps: float
    momentum: float
    seen: list[Seen]


def takes(x: Tensor) -> bool:
    """Is x for these kernels? torch's compiler sees through operations alone."""
    return x.is_cuda and not torch.compiler.is_compiling()


class FusedNormalise(torch.autograd.Function):
    """y = weight·x̂ + bias, x̂ = (x − mean)/√(var + eps) of this batch, with mean and 1/√(var + eps), (C,).

    x (N, C) or (N, C, H, W). Over several ranks (`across`) x is a part of the batch; mean and variance are those of the
    parts, of equal size, put together (Chan, Golub & LeVeque 1979), and gradients of weight and bias are this part's.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, eps: float, across: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        x = Layout.of(x).dense(x)
        mean, inverse_std = torch.batch_norm_stats(x, eps)
        if across is not None and across.size > 1:
            variance = inverse_std.double().pow_(-2).sub_(eps)
            means, variances = across.gathered(torch.stack((mean.double(), variance))).unbind(1)
            whole = means.mean(0)
            variance = (variances + (means - whole).square()).mean(0)
            mean, inverse_std = whole.to(mean.dtype), (variance + eps).rsqrt_().to(mean.dtype)
        ctx.save_for_backward(x, weight, mean, inverse_std)
        ctx.has_bias, ctx.across = bias is not None, across
        ctx.set_materialize_grads(False)  # two launches to make zeros for the statistics, which nobody differentiates
        ctx.mark_non_differentiable(mean, inverse_std)
        return torch.batch_norm_elemt(x, weight, bias, mean, inverse_std, eps), mean, inverse_std

    @staticmethod
    @once_differentiable
    def backward(  # type: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grads: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        if grads[0] is None:
            return None, None, None, None, None
        x, weight, mean, inverse_std = ctx.saved_tensors
        gradient, n = Layout.of(x).dense(grads[0]), x.numel() // x.shape[1]
        grad_sum, grad_dot, grad_weight, grad_bias = torch.batch_norm_backward_reduce(
            gradient, x, mean, inverse_std, weight, True, True, ctx.has_bias
        )
        if ctx.across is not None and ctx.across.size > 1:
            n *= ctx.across.size
            grad_sum, grad_dot = ctx.across.gathered(torch.stack((grad_sum, grad_dot))).sum(0).unbind()
        dx = torch.batch_norm_backward_elemt(
            gradient, x, mean, inverse_std, weight, grad_sum, grad_dot, _count(n, x.device)
        )
        return dx, grad_weight, grad_bias if ctx.has_bias else None, None, None


@lru_cache(maxsize=256)
def _count(n: int, device: torch.device) -> Tensor:
    """n where the kernel reads it."""
    return torch.full((1,), n, dtype=torch.int32, device=device)


def evaluate(x: Tensor, norm: Running, weight: Tensor, bias: Tensor | None) -> Tensor:
    """weight·(x − running mean)/√(running variance + eps) + bias."""
    inverse_std = (norm.running_var + norm.eps).rsqrt_()
    return torch.batch_norm_elemt(Layout.of(x).dense(x), weight, bias, norm.running_mean, inverse_std, norm.eps)


@torch.no_grad()
def absorb(norms: Sequence[Running]) -> None:
    """Move the running statistics of all norms by what their training forwards saw, in order: a few launches in all.

    The variance is 1/s² − eps of what the kernel gave, in float64: off by a few roundings of (variance + eps), which is
    what it is used in; where it is far below eps it has fewer digits of its own.
    """
    while norms := [norm for norm in norms if norm.seen]:
        means, inverses, counts = zip(*(norm.seen.pop(0) for norm in norms), strict=True)
        eps, momentum = norms[0].eps, norms[0].momentum
        assert all((norm.eps, norm.momentum) == (eps, momentum) for norm in norms)
        variance = torch.cat(inverses).double().pow_(-2).sub_(eps).clamp_(min=0).to(norms[0].running_var.dtype)
        variances = list(variance.split([len(mean) for mean in means]))
        torch._foreach_mul_(variances, [n / max(n - 1, 1) for n in counts])  # type: ignore[reportPrivateImportUsage]
        torch._foreach_lerp_([norm.running_mean for norm in norms], list(means), momentum)  # type: ignore[reportPrivateImportUsage]
        torch._foreach_lerp_([norm.running_var for norm in norms], variances, momentum)  # type: ignore[reportPrivateImportUsage]
