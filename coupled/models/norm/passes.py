"""What makes batch-norm's passes over memory: compiled kernels on a CPU, torch's operations elsewhere.

x and gradients are dense in the layout of x; what is per channel is (C,): float64, or where it meets elements their
dtype, float32 or better, as what is returned.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from coupled.models.norm import compiled, operations


class Passes(NamedTuple):
    """The four passes of a training step; the second is also that of evaluation.

    `moments(x)`: mean and (population) variance.
    `normalise(x, table)`: (x − shift)·scale + offset in the layout of x; table (3, C) is of these, in this order.
    `products(g, x, shift)`: Σg and Σg·(x − shift).
    `differentiate(g, x, table)`: scale·g + slope·(x − shift) + offset, in the layout of x; table (4, C) is of shift,
    scale, slope and offset.
    """

    moments: Callable[[Tensor], tuple[Tensor, Tensor]]
    normalise: Callable[[Tensor, Tensor], Tensor]
    products: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
    differentiate: Callable[[Tensor, Tensor, Tensor], Tensor]


COMPILED = Passes(compiled.moments, compiled.normalise, compiled.products, compiled.differentiate)
OPERATIONS = Passes(operations.moments, operations.normalise, operations.products, operations.differentiate)


def passes(x: Tensor) -> Passes:
    """Those for tensors like x. torch's compiler sees through operations alone."""
    return COMPILED if x.device.type == "cpu" and not torch.compiler.is_compiling() else OPERATIONS
