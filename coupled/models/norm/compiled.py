"""Batch-norm's passes on a CPU: what `kernels` needs of tensors, and threads.

Numbers narrower than float32 are widened first. Bits depend on the shape, and not on the number of threads.
numba is imported when the first pass is made; commands that make none need not wait for it.
Small tensors take as long as the calls of torch do here, so there are few, and none that does nothing.
"""

from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coupled.models.norm.layout import Layout
from coupled.threads import share

_WORTH = 1 << 17  # elements: a pass over these takes a thread longer than waking it
# A job's rows: few, so that threads get equal shares, but enough that adding up columns takes far less than their rows.
_LEAST_ROWS, _MOST_ROWS, _LEAST_ELEMENTS = 16, 32, 1 << 14
Sums = NDArray[np.float64]
_WIDE = (torch.float32, torch.float64)
_NONE = np.empty(0, np.float32)


class CompiledPasses:
    """`passes.Passes` of a CPU tensor."""

    def __init__(self, x: Tensor) -> None:
        from coupled.models.norm import kernels

        self._kernels, self._layout, self._dtype = kernels, Layout.of(x), x.dtype
        self.x = self._layout.dense(x)
        (N, self._channels, *image), elements = x.shape, x.numel()
        self._run = 1 if self._layout.last else prod(image)
        self._row_shape = (N, self._channels * prod(image))
        self._rows = self._array(self.x)
        self._threads = min(torch.get_num_threads(), elements // _WORTH)
        self._jobs = max(-(-N // _MOST_ROWS), min(-(-N // _LEAST_ROWS), elements // _LEAST_ELEMENTS))

    def moments(self) -> Tensor:
        sums, whole = self._sums()

        def find(begin: int, end: int) -> None:
            self._kernels.find_moments(self._rows, self._run, begin, end, sums)

        share(find, self._jobs, self._threads)
        N, width = self._row_shape
        self._kernels.combine_moments(sums, N, width // self._channels, whole)
        return torch.from_numpy(whole)

    def normalise(self, moments: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> Tensor:
        y, moment_array, weights = self._empty(), moments.numpy(), weight.detach().numpy()
        filled, biases = self._array(y), _NONE if bias is None else bias.detach().numpy()

        def fill(first: int, stop: int) -> None:
            self._kernels.normalise(self._rows, self._run, first, stop, moment_array, weights, biases, eps, filled)

        share(fill, len(self._rows), self._threads)
        return self._narrowed(y)

    def products(self, gradient: Tensor, moments: Tensor, eps: float) -> Tensor:
        gradients, moment_array = self._array(self._layout.dense(gradient)), moments.numpy()
        sums, whole = self._sums()

        def find(begin: int, end: int) -> None:
            self._kernels.find_products(gradients, self._rows, self._run, begin, end, moment_array, eps, sums)

        share(find, self._jobs, self._threads)
        self._kernels.add_up(sums, whole)
        return torch.from_numpy(whole)

    def differentiate(
        self, gradient: Tensor, moments: Tensor, weight: Tensor, eps: float, products: Tensor, n: int
    ) -> Tensor:
        gradients, moment_array = self._array(self._layout.dense(gradient)), moments.numpy()
        dx, weights, sums = self._empty(), weight.detach().numpy(), products.numpy()
        filled = self._array(dx)

        def fill(first: int, stop: int) -> None:
            self._kernels.differentiate(
                gradients, self._rows, self._run, first, stop, moment_array, weights, eps, sums, n, filled
            )

        share(fill, len(self._rows), self._threads)
        return self._narrowed(dx)

    def _array(self, x: Tensor) -> NDArray[Any]:
        """A dense x as rows, in float32 or better; where it is that already, sharing its memory."""
        array = (x.detach() if x.dtype in _WIDE else x.detach().float()).numpy()
        if self._layout.last:
            array = array.transpose(0, 2, 3, 1)
        return array.reshape(self._row_shape)

    def _empty(self) -> Tensor:
        """Room for what has the shape and layout of x, in float32 or better."""
        return torch.empty_like(self.x) if self._dtype in _WIDE else torch.empty_like(self.x, dtype=torch.float32)

    def _narrowed(self, y: Tensor) -> Tensor:
        return y if self._dtype in _WIDE else y.to(self._dtype)

    def _sums(self) -> tuple[Sums, Sums]:
        """Room for two sums a channel: of each job, and of the whole."""
        return np.empty((self._jobs, 2, self._channels)), np.empty((2, self._channels))
