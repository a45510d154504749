"""Batch-norm's passes on a CPU: what `kernels` needs of tensors, and threads.

Numbers narrower than float32 are widened first. Bits depend on the shape, and not on the number of threads.
numba is imported when the first pass is made; commands that make none need not wait for it.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coupled.models.norm.layout import Layout, at_least_float32
from coupled.threads import share

_WORTH = 1 << 17  # elements: a pass over these takes a thread longer than waking it
# A job's rows: few, so that threads get equal shares, but enough that adding up columns takes far less than their rows.
_LEAST_ROWS, _MOST_ROWS, _LEAST_ELEMENTS = 16, 64, 1 << 14
_NONE = np.empty(0, np.float32)


class CompiledPasses:
    """`passes.Passes` of a CPU tensor."""

    def __init__(self, x: Tensor) -> None:
        from coupled.models.norm import kernels

        self._kernels, self._layout = kernels, Layout.of(x)
        self.x = self._layout.dense(x)
        N, C = x.shape[:2]
        self._rows = self._array(self.x)
        self._run = 1 if self._layout.last else self._rows.shape[1] // C
        self._threads = min(torch.get_num_threads(), x.numel() // _WORTH)
        self._jobs = max(-(-N // _MOST_ROWS), min(-(-N // _LEAST_ROWS), x.numel() // _LEAST_ELEMENTS))

    def moments(self) -> Tensor:
        sums, whole, (N, C) = self._sums(), self._whole(), self.x.shape[:2]

        def find(begin: int, end: int) -> None:
            self._kernels.find_moments(self._rows, self._run, begin, end, sums)

        share(find, self._jobs, self._threads)
        self._kernels.combine_moments(sums, N, self._rows.shape[1] // C, whole.numpy())
        return whole

    def normalise(self, moments: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> Tensor:
        y, moment_array, weights = self._empty(), moments.numpy(), weight.detach().numpy()
        filled, biases = self._array(y), _NONE if bias is None else bias.detach().numpy()

        def fill(first: int, stop: int) -> None:
            self._kernels.normalise(self._rows, self._run, first, stop, moment_array, weights, biases, eps, filled)

        share(fill, len(self._rows), self._threads)
        return y.to(self.x.dtype)

    def products(self, gradient: Tensor, moments: Tensor, eps: float) -> Tensor:
        gradients, moment_array = self._array(self._layout.dense(gradient)), moments.numpy()
        sums, whole = self._sums(), self._whole()

        def find(begin: int, end: int) -> None:
            self._kernels.find_products(gradients, self._rows, self._run, begin, end, moment_array, eps, sums)

        share(find, self._jobs, self._threads)
        self._kernels.add_up(sums, whole.numpy())
        return whole

    def differentiate(self, gradient: Tensor, moments: Tensor, weight: Tensor, eps: float, means: Tensor) -> Tensor:
        gradients, moment_array = self._array(self._layout.dense(gradient)), moments.numpy()
        dx, weights, mean_array = self._empty(), weight.detach().numpy(), means.numpy()
        filled = self._array(dx)

        def fill(first: int, stop: int) -> None:
            self._kernels.differentiate(
                gradients, self._rows, self._run, first, stop, moment_array, weights, eps, mean_array, filled
            )

        share(fill, len(self._rows), self._threads)
        return dx.to(self.x.dtype)

    def _array(self, x: Tensor) -> NDArray[Any]:
        """A dense x as rows, in float32 or better; where it is that already, sharing its memory."""
        return self._layout.rows(x.detach().to(at_least_float32(x.dtype))).numpy()

    def _empty(self) -> Tensor:
        return torch.empty_like(self.x, dtype=at_least_float32(self.x.dtype))

    def _sums(self) -> NDArray[np.float64]:
        return np.empty((self._jobs, 2, self.x.shape[1]))

    def _whole(self) -> Tensor:
        return torch.empty(2, self.x.shape[1], dtype=torch.float64)
