"""Batch-norm's passes on a CPU: tables and threads for `kernels`.

Numbers narrower than float32 are widened first. Bits depend on the shape, and not on the number of threads.
numba is imported when the first pass is made; commands that make none need not wait for it.
"""

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from coupled.models.norm.layout import Layout, at_least_float32
from coupled.threads import share

_WORTH = 1 << 17  # elements: a pass over these takes a thread longer than waking it
# A job's rows: few, so that threads get equal shares, but enough that adding up columns takes far less than their rows.
_LEAST_ROWS, _MOST_ROWS, _LEAST_ELEMENTS = 16, 64, 1 << 14


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    from coupled.models.norm import kernels

    rows, run = _rows(Layout.of(x), x)
    sums, whole = _sums(rows, x.shape[1])
    job_sums = sums.numpy()
    share(lambda begin, end: kernels.moments(rows, run, begin, end, job_sums), len(sums), _threads(rows))
    kernels.combine(job_sums, len(x), rows.shape[1] // x.shape[1], whole.numpy())
    mean, variance = whole.unbind()
    return mean, variance


def normalise(x: Tensor, table: Tensor) -> Tensor:
    from coupled.models.norm import kernels

    layout = Layout.of(x)
    rows, run = _rows(layout, x)
    y = torch.empty_like(x, dtype=table.dtype)
    filled, values = layout.rows(y).numpy(), table.numpy()
    share(lambda first, stop: kernels.normalise(rows, run, first, stop, values, filled), len(x), _threads(rows))
    return y


def products(gradient: Tensor, x: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    from coupled.models.norm import kernels

    layout = Layout.of(x)
    (rows, run), (gradients, _) = _rows(layout, x), _rows(layout, gradient)
    sums, whole = _sums(rows, x.shape[1])
    job_sums, shifts = sums.numpy(), shift.numpy()
    share(
        lambda begin, end: kernels.products(gradients, rows, run, begin, end, shifts, job_sums),
        len(sums),
        _threads(rows),
    )
    kernels.add_up(job_sums, whole.numpy())
    grad_sum, grad_dot = whole.unbind()
    return grad_sum, grad_dot


def differentiate(gradient: Tensor, x: Tensor, table: Tensor) -> Tensor:
    from coupled.models.norm import kernels

    layout = Layout.of(x)
    (rows, run), (gradients, _) = _rows(layout, x), _rows(layout, gradient)
    dx = torch.empty_like(x, dtype=table.dtype)
    filled, values = layout.rows(dx).numpy(), table.numpy()
    share(
        lambda first, stop: kernels.differentiate(gradients, rows, run, first, stop, values, filled),
        len(x),
        _threads(rows),
    )
    return dx


def _rows(layout: Layout, x: Tensor) -> tuple[NDArray[Any], int]:
    """x as rows, in float32 or better, and how many elements of a channel lie side by side in a row."""
    rows = layout.rows(x.detach().to(at_least_float32(x.dtype))).numpy()
    return rows, 1 if layout.last else rows.shape[1] // x.shape[1]


def _sums(rows: NDArray[Any], channels: int) -> tuple[Tensor, Tensor]:
    """Room for two sums a channel: of each job (J, 2, C), and of the whole (2, C)."""
    N = len(rows)
    jobs = max(-(-N // _MOST_ROWS), min(-(-N // _LEAST_ROWS), rows.size // _LEAST_ELEMENTS))
    return torch.empty(jobs, 2, channels, dtype=torch.float64), torch.empty(2, channels, dtype=torch.float64)


def _threads(rows: NDArray[Any]) -> int:
    return min(torch.get_num_threads(), rows.size // _WORTH)
