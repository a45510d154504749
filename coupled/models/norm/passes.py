"""Who makes batch-norm's passes: compiled kernels on a CPU, torch's operations elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

import torch
from torch import Tensor

from coupled.models.norm.compiled import CompiledPasses
from coupled.models.norm.operations import OperationPasses


class Passes(Protocol):
    """The four passes of a training step over x (N, C) or (N, C, H, W); the second is also that of evaluation.

    What is per channel is float64: `moments` (2, C), mean and (population) variance, and sums (2, C).
    x̂ = (x − mean)/√(variance + eps). What has the shape of x has its layout and dtype too.
    """

    x: Tensor  # dense

    def moments(self) -> Tensor: ...

    def normalise(self, moments: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> Tensor:
        """weight·x̂ + bias."""
        ...

    def products(self, gradient: Tensor, moments: Tensor, eps: float) -> Tensor:
        """Σg and Σg·x̂ of a gradient g in any layout."""
        ...

    def differentiate(
        self, gradient: Tensor, moments: Tensor, weight: Tensor, eps: float, products: Tensor, n: int
    ) -> Tensor:
        """weight·(g − mean g − x̂·mean(g·x̂))/√(variance + eps), the means being `products` over n."""
        ...


def passes(x: Tensor) -> Passes:
    """Those over x. torch's compiler sees through operations alone."""
    compiled = x.device.type == "cpu" and not torch.compiler.is_compiling() and not _operations.get()
    return CompiledPasses(x) if compiled else OperationPasses(x)


_operations: ContextVar[bool] = ContextVar("operations", default=False)


@contextmanager
def by_operations() -> Iterator[None]:
    """Operations alone inside: who counts what they keep need not wait for kernels to be loaded."""
    token = _operations.set(True)
    try:
        yield
    finally:
        _operations.reset(token)
