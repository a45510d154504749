"""Batch-norm's passes by torch's operations: for any device, and for the compiler.

Per-channel values are spread to a vector (W,), which is broadcast over rows (N, W).
Precision: rows are added to a vector in the input's precision or float32, whichever is better; beyond that float64.
"""

import torch
from torch import Tensor

from coupled.models.norm.layout import Layout, at_least_float32

# One row in so many makes the shift; at least this share of the batch bounds its distance from the mean.
_SHIFT_EVERY = 8


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    layout = Layout.of(x)
    rows, dtype, n = layout.rows(x), at_least_float32(x.dtype), x.numel() // x.shape[1]
    some = rows[::_SHIFT_EVERY].to(dtype)
    shift = _channel_sums(layout, some).mul_(x.shape[1] / some.numel()).to(dtype)
    centred = rows - _spread(layout, shift, rows.shape[1])[0]
    residue, square = (_channel_sums(layout, centred, centred.square()) * (1 / n)).unbind()
    # Never below 0: residue² ≤ 7·variance, and a constant channel is a few units in the last place, added exactly.
    return residue + shift[0], torch.addcmul(square, residue, residue, value=-1)


def normalise(x: Tensor, table: Tensor) -> Tensor:
    layout = Layout.of(x)
    rows = layout.rows(x)
    shift, scale, offset = _spread(layout, table, rows.shape[1])
    y = torch.empty_like(x, dtype=table.dtype)  # not a view, because y may be changed in place
    torch.addcmul(offset, rows - shift, scale, out=layout.rows(y))
    return y


def products(gradient: Tensor, x: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    layout = Layout.of(x)
    rows = layout.rows(gradient).to(shift.dtype)
    centred = layout.rows(x) - _spread(layout, shift[None], rows.shape[1])[0]
    grad_sum, grad_dot = _channel_sums(layout, rows, centred.mul_(rows)).unbind()
    return grad_sum, grad_dot


def differentiate(gradient: Tensor, x: Tensor, table: Tensor) -> Tensor:
    layout = Layout.of(x)
    rows = layout.rows(gradient).to(table.dtype)
    shift, scale, slope, offset = _spread(layout, table, rows.shape[1])
    dx = torch.empty_like(x, dtype=table.dtype)
    torch.addcmul(offset, layout.rows(x) - shift, slope, out=layout.rows(dx)).addcmul_(rows, scale)
    return dx


def _channel_sums(layout: Layout, *rows: Tensor) -> Tensor:
    """Σ per channel of each of k tensors of rows: float64 (k, C). The one place where elements are added up."""
    sums = torch.stack([part.sum(0) for part in rows])
    if layout.last:
        return sums.view(len(rows), -1, layout.channels).sum(1, dtype=torch.float64)
    return sums.view(len(rows), layout.channels, -1).sum(2, dtype=torch.float64)


def _spread(layout: Layout, values: Tensor, width: int) -> tuple[Tensor, ...]:
    """k values per channel (k, C) → k vectors (width,), each to be broadcast over rows."""
    k, C = values.shape
    wide = values[:, None].expand(k, width // C, C) if layout.last else values[..., None].expand(k, C, width // C)
    return wide.reshape(k, width).unbind()
