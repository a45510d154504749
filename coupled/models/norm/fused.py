"""Batch-norm's passes on CUDA, by the kernels that torch's synchronised batch-norm is made of: one a pass.

Precision: the kernels add with Welford's update in float32 for float32 and bfloat16, in float64 for float64. On an H200
outputs and gradients were within 1.2e-7 of float64 where |mean| ≤ 2σ, and the output within 4e-6 at 100σ.
"""

import torch
from torch import Tensor

from coupled.models.norm.layout import Layout, at_least_float32


class FusedPasses:
    """`passes.Passes` of a tensor on a GPU."""

    def __init__(self, x: Tensor) -> None:
        self._layout, self._dtype = Layout.of(x), at_least_float32(x.dtype)
        self.x = self._layout.dense(x)

    def moments(self) -> Tensor:
        # With eps = 0 the kernel returns 1/σ, whose square tells the variance to a few units in the last place; of a
        # constant channel it returns 0.
        mean, inverse_std = torch.batch_norm_stats(self.x, 0.0)
        return torch.stack((mean.double(), torch.where(inverse_std > 0, inverse_std.double().pow(-2), 0.0)))

    def normalise(self, moments: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> Tensor:
        mean, inverse_std = self._of_moments(moments, eps)
        return torch.batch_norm_elemt(self.x, weight, bias, mean, inverse_std, eps)

    def products(self, gradient: Tensor, moments: Tensor, eps: float) -> Tensor:
        mean, inverse_std = self._of_moments(moments, eps)
        grad_sum, grad_dot, _, _ = torch.batch_norm_backward_reduce(
            self._layout.dense(gradient), self.x, mean, inverse_std, None, True, False, False
        )
        return torch.stack((grad_sum.double(), grad_dot.double() * inverse_std))

    def differentiate(
        self, gradient: Tensor, moments: Tensor, weight: Tensor, eps: float, products: Tensor, n: int
    ) -> Tensor:
        mean, inverse_std = self._of_moments(moments, eps)
        grad_sum, grad_dot = products[0].to(self._dtype), (products[1] / inverse_std).to(self._dtype)
        count = torch.full((1,), n, dtype=torch.int32, device=self.x.device)
        return torch.batch_norm_backward_elemt(
            self._layout.dense(gradient), self.x, mean, inverse_std, weight, grad_sum, grad_dot, count
        )

    def _of_moments(self, moments: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        """Mean and 1/√(variance + eps) as the kernels take them."""
        return moments[0].to(self._dtype), (moments[1] + eps).rsqrt_().to(self._dtype)
