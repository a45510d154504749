"""Batch-norm's passes by torch's operations: for any device, and for torch's compiler.

Per-channel values are spread to a vector (W,), which is broadcast over rows (N, W).
Precision: rows are added to a vector in the input's precision or float32, whichever is better; beyond that float64.
"""

import torch
from torch import Tensor

from coupled.models.norm.layout import Layout, at_least_float32

# One row in so many makes the shift; at least this share of the batch bounds its distance from the mean.
_SHIFT_EVERY = 8


class OperationPasses:
    """`passes.Passes` of any tensor."""

    def __init__(self, x: Tensor) -> None:
        self._layout, self._dtype = Layout.of(x), at_least_float32(x.dtype)
        self.x = self._layout.dense(x)
        self._rows = self._layout.rows(self.x)

    def moments(self) -> Tensor:
        some, n = self._rows[::_SHIFT_EVERY].to(self._dtype), self.x.numel() // self.x.shape[1]
        shift = self._channel_sums(some).mul_(self.x.shape[1] / some.numel()).to(self._dtype)
        centred = self._rows - self._spread(shift)[0]
        residue, square = self._channel_sums(centred, centred.square()).mul_(1 / n).unbind()
        # Never below 0: residue² ≤ 7·variance, and a constant channel is a few units in the last place, added exactly.
        return torch.stack((residue + shift[0], torch.addcmul(square, residue, residue, value=-1)))

    def normalise(self, moments: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> Tensor:
        shift, residue, inverse_std = self._of_moments(moments, eps)
        scale = inverse_std * weight
        offset = -residue * scale if bias is None else bias - residue * scale
        shifts, scales, offsets = self._spread(torch.stack((shift, scale, offset)))
        # Not a view, because y may be changed in place.
        y = torch.empty_like(self.x, dtype=self._dtype)
        torch.addcmul(offsets, self._rows - shifts, scales, out=self._layout.rows(y))
        return y.to(self.x.dtype)

    def products(self, gradient: Tensor, moments: Tensor, eps: float) -> Tensor:
        rows = self._layout.rows(self._layout.dense(gradient)).to(self._dtype)
        shift, residue, inverse_std = self._of_moments(moments, eps)
        centred = self._rows - self._spread(shift[None])[0]
        grad_sum, grad_dot = self._channel_sums(rows, centred.mul_(rows)).unbind()
        return torch.stack((grad_sum, (grad_dot - residue * grad_sum) * inverse_std))

    def differentiate(
        self, gradient: Tensor, moments: Tensor, weight: Tensor, eps: float, products: Tensor, n: int
    ) -> Tensor:
        rows = self._layout.rows(self._layout.dense(gradient)).to(self._dtype)
        shift, residue, inverse_std = self._of_moments(moments, eps)
        # scale·(g − mean g − x̂·mean(g·x̂)), x̂ = (x − shift − residue)·inverse_std, as
        # scale·g + slope·(x − shift) + offset.
        scale = inverse_std * weight
        grad_mean, dot_mean = (products / n).unbind()
        slope = -scale * inverse_std * dot_mean
        offset = -scale * grad_mean - slope * residue
        shifts, scales, slopes, offsets = self._spread(torch.stack((shift, scale, slope, offset)))
        dx = torch.empty_like(self.x, dtype=self._dtype)
        dx_rows = self._layout.rows(dx)
        torch.addcmul(offsets, self._rows - shifts, slopes, out=dx_rows).addcmul_(rows, scales)
        return dx.to(self.x.dtype)

    def _of_moments(self, moments: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        """The mean rounded to arithmetic's precision, what that misses, and 1/√(variance + eps): all float64."""
        mean, variance = moments.unbind()
        shift = mean.to(self._dtype).double()
        return shift, mean - shift, (variance + eps).rsqrt()

    def _channel_sums(self, *rows: Tensor) -> Tensor:
        """Σ per channel of each of k tensors of rows: float64 (k, C). The one place where elements are added up."""
        sums = torch.stack([part.sum(0) for part in rows])
        if self._layout.last:
            return sums.view(len(rows), -1, self._layout.channels).sum(1, dtype=torch.float64)
        return sums.view(len(rows), self._layout.channels, -1).sum(2, dtype=torch.float64)

    def _spread(self, values: Tensor) -> tuple[Tensor, ...]:
        """k values per channel (k, C) → k vectors (W,) in arithmetic's precision, each to be broadcast over rows."""
        (k, C), width, cast = values.shape, self._rows.shape[1], values.to(self._dtype)
        last = self._layout.last
        wide = cast[:, None].expand(k, width // C, C) if last else cast[..., None].expand(k, C, width // C)
        return wide.reshape(k, width).unbind()
