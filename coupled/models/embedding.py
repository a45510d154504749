"""The forward pass in evaluation mode: what panels and evaluations see of a network."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from coupled.models import Network, evaluating

CHUNK = 256  # images in one forward


def embed(
    network: Network, images: Tensor, precision: str, *, stages: bool = False, chunk: int = CHUNK
) -> list[Tensor]:
    """h (n, D), z (n, d) and, if asked for, pooled stage features (n, C_k), in evaluation mode.

    Weights, statistics and the mode are left as they were. `precision`: train.precision of the run.
    """
    with evaluating(network), autocast(images.device, precision):
        parts = [_embedded(network, part, stages) for part in images.split(chunk)]
    return [torch.cat(columns) for columns in zip(*parts, strict=True)]


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Where `precision` is bf16, matrix products inside are in bfloat16."""
    return torch.autocast(device.type, dtype=torch.bfloat16) if precision == "bf16" else nullcontext()


def _embedded(network: Network, images: Tensor, stages: bool) -> list[Tensor]:
    if not stages:
        return list(network(images))
    h, z, pooled = network.features(images)
    return [h, z, *pooled]
