"""A network's state as flat vectors: one for weights, one for gradients, one for buffers.

The network's parameters are views into them, so that distances, copies, nudges, optimiser steps and reductions
over ranks are a few operations on one vector, in one fixed order.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

# Every parameter starts on a 64-byte boundary, where allocations of its own would start; the padding stays 0.
ALIGN_BYTES = 64
# How the names of a classifier head's parameters begin.
HEAD = "head."


@dataclass(frozen=True)
class Segment:
    """Where one named parameter or buffer lies in its flat vector."""

    name: str
    shape: tuple[int, ...]
    start: int
    stop: int
    padded_stop: int

    def view(self, flat: Tensor) -> Tensor:
        return flat[self.start : self.stop].view(self.shape)


def segments_of(named: list[tuple[str, Tensor]], dtype: torch.dtype) -> list[Segment]:
    """Consecutive aligned segments for named tensors, in their order."""
    step = ALIGN_BYTES // dtype.itemsize
    segments, start = [], 0
    for name, tensor in named:
        padded = start + -(-tensor.numel() // step) * step
        segments.append(Segment(name, tuple(tensor.shape), start, start + tensor.numel(), padded))
        start = padded
    return segments


class FlatState:
    """Weights, gradient and buffers of a network built on the meta device, given storage of their own (zeros).

    A classifier head (`head.*`), which only some arms have, lies last: what all arms have in common is a prefix, the
    first `shared` elements of `weights`, in the segments `shared_segments`.
    """

    def __init__(self, network: nn.Module, dtype: torch.dtype, device: torch.device) -> None:
        self.weight_segments = segments_of(list(network.named_parameters()), dtype)
        self.buffer_segments = segments_of(list(network.named_buffers()), dtype)
        self.shared_segments = [segment for segment in self.weight_segments if not segment.name.startswith(HEAD)]
        self.shared = self.shared_segments[-1].padded_stop
        self.weights = torch.zeros(self.weight_segments[-1].padded_stop, dtype=dtype, device=device)
        self.gradient = torch.zeros_like(self.weights)
        self.buffers = torch.zeros(self.buffer_segments[-1].padded_stop, dtype=dtype, device=device)
        for segment in self.weight_segments:
            parameter = nn.Parameter(segment.view(self.weights))
            parameter.grad = segment.view(self.gradient)
            _assign(network, segment.name, parameter)
        for segment in self.buffer_segments:
            _assign(network, segment.name, segment.view(self.buffers))

    def copy_from(self, other: "FlatState") -> None:
        """Take another state's weights and buffers, but for a head; storage stays separate."""
        self.weights[: self.shared].copy_(other.weights[: other.shared])
        self.buffers.copy_(other.buffers)

    def named_weights(self) -> dict[str, Tensor]:
        return {segment.name: segment.view(self.weights) for segment in self.weight_segments}

    def named_buffers(self) -> dict[str, Tensor]:
        return {segment.name: segment.view(self.buffers) for segment in self.buffer_segments}


def _assign(network: nn.Module, name: str, tensor: Tensor) -> None:
    path, _, leaf = name.rpartition(".")
    module = network.get_submodule(path)
    if isinstance(tensor, nn.Parameter):
        module.register_parameter(leaf, tensor)
    else:
        module.register_buffer(leaf, tensor)


def in_weight_gap(name: str) -> bool:
    """Does a parameter count in docs/theory.md (57)? Encoder weights do; biases and the projector do not."""
    return name.startswith("encoder.") and not name.endswith(".bias")
