"""The forward pass in evaluation mode: what panels and evaluations see of a network."""

from contextlib import AbstractContextManager, nullcontext
from typing import Final

import torch
from torch import Tensor

from coupled.models import Network, evaluating

# The bytes of the largest tensor of a forward. Convolutions want many images and the cache few: on a CPU ResNet-50
# took a sixth less time with 64 images of 32 px than with 16, and no less with 128.
_LARGEST: Final = {"cpu": 64 << 20, "cuda": 1 << 30}
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


def chunk_of(largest: int, dtype: torch.dtype, device: str) -> int:
    """How many images one evaluation forward takes: a function of a config alone, since the number may change the last
    bit of an output. A multiple of 16, and at least 16.

    `largest`: elements of the largest tensor of one image; `device` is where the config trains, "cpu" or "cuda".
    """
    fitting = _LARGEST[device] // (largest * dtype.itemsize)
    return max(_MULTIPLE, min(_MOST[device], fitting // _MULTIPLE * _MULTIPLE))


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Where `precision` is bf16, matrix products inside are in bfloat16."""
    return torch.autocast(device.type, dtype=torch.bfloat16) if precision == "bf16" else nullcontext()


def _embedded(network: Network, images: Tensor, stages: bool) -> list[Tensor]:
    if not stages:
        return list(network(images))
    h, z, pooled = network.features(images)
    return [h, z, *pooled]
