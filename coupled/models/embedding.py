"""The forward pass in evaluation mode: what panels and evaluations see of a network."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from coupled.models import Network, evaluating

# The bytes of the largest tensor of a forward. On a CPU larger ones leave the cache between two operations: chunks of
# 256 images took a quarter more time with ResNet-18, and twice as much with ResNet-50.
_LARGEST: Final = {"cpu": 16 << 20, "cuda": 1 << 30}
# Rows in other numbers than multiples of this can differ in their last bit: matrix kernels treat remainders apart.
_MULTIPLE: Final = 16
_MOST: Final = {"cpu": 256, "cuda": 1024}


def embed(network: Network, images: Tensor, precision: str, *, chunk: int, stages: bool = False) -> list[Tensor]:
    """h (n, D), z (n, d) and, if asked for, pooled stage features (n, C_k), in evaluation mode.

    Weights, statistics and the mode are left as they were. `precision`: train.precision of the run; `chunk`: images in
    one forward (`chunk_of`).
    """
    with evaluating(network), autocast(images.device, precision):
        parts = [_embedded(network, part, stages) for part in images.split(chunk)]
    return [torch.cat(columns) for columns in zip(*parts, strict=True)]


def chunk_of(network: Network, image_size: int, dtype: torch.dtype, device: str) -> int:
    """How many images one evaluation forward takes: a function of a config alone, since the number may change the last
    bit of an output. A multiple of 16, and at least 16.

    `network` is on the meta device; `device` is where the config trains, "cpu" or "cuda".
    """
    with evaluating(network), _Largest(network) as seen:
        network(torch.empty(_MULTIPLE, 3, image_size, image_size, device="meta", dtype=dtype))
    fitting = _LARGEST[device] * _MULTIPLE // (seen.elements * dtype.itemsize)
    return max(_MULTIPLE, min(_MOST[device], fitting // _MULTIPLE * _MULTIPLE))


class _Largest(TorchDispatchMode):
    """The most elements that one operation gives, views of weights apart."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self._own = {parameter.untyped_storage()._cdata for parameter in network.parameters()}
        self.elements = 1

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **kwargs or {})
        if isinstance(result, Tensor) and result.untyped_storage()._cdata not in self._own:
            self.elements = max(self.elements, result.numel())
        return result


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Where `precision` is bf16, matrix products inside are in bfloat16."""
    return torch.autocast(device.type, dtype=torch.bfloat16) if precision == "bf16" else nullcontext()


def _embedded(network: Network, images: Tensor, stages: bool) -> list[Tensor]:
    if not stages:
        return list(network(images))
    h, z, pooled = network.features(images)
    return [h, z, *pooled]
