"""Batch normalisation whose statistics are within 1e-6 of float64 in either memory layout.

Ours because its sums must be taken over the global batch on any backend, and because torch's own CPU statistics for
channels_last inputs are off by 3e-5, which makes a small ResNet's gradient 3 to 700 times less accurate.

Shapes: x (N, C) or (N, C, H, W), in either memory layout; n = N·H·W, the elements of a channel.
Precision: elements are added in the input's precision or float32, whichever is better, and few at a time; beyond that,
and for everything per channel, float64.
Speed: time goes into passes over memory (`norm.passes`) and, for small tensors, into the number of calls; both are kept
few.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from coupled.models.norm import fused
from coupled.models.norm.layout import at_least_float32
from coupled.models.norm.passes import passes


class _Normalise(torch.autograd.Function):
    """y = weight·(x − mean)/√(var + eps) + bias, with mean and (population) variance of this batch.

    A pass centres x on a shift near the mean, and what the shift misses (`residue`) is taken out in float64: no digit
    is lost however far the mean is from 0. x itself is kept for the backward, and nothing else of its size.

    Over several ranks (`across`) x is a part of the batch; mean and variance are those of the parts, of equal size, put
    together (Chan, Golub & LeVeque 1979). Gradients of weight and bias are this part's share, which the reduction over
    ranks adds up.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, eps: float, across: "Across | None"
    ) -> tuple[Tensor, Tensor]:
        assert x.numel(), "no elements have no statistics"
        through = passes(x)
        moments = through.moments()
        if across is not None and across.size > 1:
            means, variances = across.gathered(moments).unbind(1)
            mean = means.mean(0)
            moments = torch.stack((mean, (variances + (means - mean).square()).mean(0)))
        ctx.save_for_backward(through.x, weight, moments)
        ctx.eps, ctx.has_bias, ctx.across = eps, bias is not None, across
        ctx.mark_non_differentiable(moments)
        ctx.set_materialize_grads(False)  # or the moments' would be zeros, made for nobody
        return through.normalise(moments, weight, bias, eps), moments

    @staticmethod
    @once_differentiable
    def backward(  # type: ignore[reportIncompatibleMethodOverride]
        ctx: Any, gradient: Tensor | None, _: None
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        if gradient is None:
            return None, None, None, None, None
        x, weight, moments = ctx.saved_tensors
        through, n = passes(x), x.numel() // x.shape[1]
        own = whole = through.products(gradient, moments, ctx.eps)
        if ctx.across is not None and ctx.across.size > 1:
            n *= ctx.across.size
            whole = ctx.across.gathered(own).sum(0)
        dx = through.differentiate(gradient, moments, weight, ctx.eps, whole, n)
        grad_bias, grad_weight = own.to(weight.dtype).unbind()
        return dx, grad_weight, grad_bias if ctx.has_bias else None, None, None


class Across(Protocol):
    """The ranks that hold the other parts of a batch: `gathered(x)` is every rank's x, in order, (size, *shape)."""

    size: int

    def gathered(self, tensor: Tensor) -> Tensor: ...


class BatchNorm(nn.Module):
    """Batch-norm over (N, C) or (N, C, H, W), per channel; `bias=False` leaves the shift out.

    The output has the input's dtype and memory layout; arithmetic is in float32 or better, so a bfloat16 input loses
    nothing but the rounding of the output. Training normalises with the batch's statistics; evaluation uses the running
    ones. A training forward leaves the running statistics alone: `absorb` moves them by `momentum` (variance unbiased,
    as torch's) when the weights are updated, so that the state of step t is one state, and a step that is stopped has
    moved nothing. `across`: the ranks that batches are split over; statistics are of the whole batch.
    """

    across: Across | None = None
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
        self.seen: list[fused.Seen] = []  # where the kernels of `fused` made the pass
        self._elements = 0  # of a channel, in the last of those passes

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return self._evaluate(x)
        n = x.numel() // x.shape[1] * (self.across.size if self.across else 1)
        if fused.takes(x):
            y, mean, inverse_std = fused.FusedNormalise.apply(x, self.weight, self.bias, self.eps, self.across)  # type: ignore[reportGeneralTypeIssues]
            self.seen.append(fused.Seen(mean, inverse_std, n))
            self._elements = n
            return y
        y, moments = _Normalise.apply(x, self.weight, self.bias, self.eps, self.across)  # type: ignore[reportGeneralTypeIssues]
        (mean, variance), dtype = moments.unbind(), self.running_mean.dtype
        self._seen.append((mean.to(dtype), (variance * (n / max(n - 1, 1))).to(dtype)))
        return y

    def _evaluate(self, x: Tensor) -> Tensor:
        """(x − running mean)·scale + bias: one pass, unless somebody may differentiate it."""
        if not torch.is_grad_enabled():
            if fused.takes(x):
                return fused.evaluate(x, self, self.weight, self.bias)
            moments = torch.stack((self.running_mean, self.running_var)).double()
            return passes(x).normalise(moments, self.weight, self.bias, self.eps)
        per_channel = (1, -1) + (1,) * (x.ndim - 2)
        dtype = at_least_float32(x.dtype)
        scale = (self.running_var.double() + self.eps).rsqrt() * self.weight
        y = (x - self.running_mean.to(dtype).view(per_channel)) * scale.to(dtype).view(per_channel)
        return (y if self.bias is None else y + self.bias.to(dtype).view(per_channel)).to(x.dtype)

    @torch.no_grad()
    def absorb(self) -> None:
        """Move the running statistics by every training forward since the last call, in order."""
        for mean, variance in self._seen:
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance, self.momentum)
        self._seen.clear()
        fused.absorb([self])

    def taken(self) -> list[tuple[Tensor, Tensor]]:
        """What `absorb` would take in, for `put_back`: until then it is as if there had been no forward."""
        taken = [(seen.mean, seen.inverse_std) for seen in self.seen] + self._seen
        self.forget()
        return taken

    def put_back(self, taken: Sequence[tuple[Tensor, Tensor]]) -> None:
        """What `taken` gave, or the same of another forward of as many elements."""
        if self._elements:
            self.seen.extend(fused.Seen(*pair, self._elements) for pair in taken)
        else:
            self._seen.extend(taken)

    def forget(self) -> None:
        """Let go of every training forward since the last `absorb`: the running statistics never hear of them."""
        self._seen.clear()
        self.seen.clear()


def absorb(norms: Sequence[BatchNorm]) -> None:
    """Move the running statistics of all norms of a network."""
    fused.absorb(norms)
    for norm in norms:
        norm.absorb()
