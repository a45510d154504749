"""Digests of what arms share: sample ids, integer draws, learning rate, initial weights; chained step by step.

Integers are portable, so their digests are the same on every machine; pixel digests are of one machine type.
"""

import hashlib
import struct
from typing import NamedTuple

import numpy as np
from torch import Tensor

from coupled.arms.arm import Arm
from coupled.inputs.source import Batch


def integers_digest(values: Tensor) -> bytes:
    """SHA-256 of an int64 tensor: its shape, then its elements, all little-endian int64."""
    array = values.cpu().numpy().astype("<i8")
    return hashlib.sha256(np.array(array.shape, "<i8").tobytes() + array.tobytes()).digest()


def weights_digest(arm: Arm) -> bytes:
    """SHA-256 over every parameter and buffer that arms share, in order: name, NUL, little-endian bytes."""
    sha = hashlib.sha256()
    shared = {segment.name: segment.view(arm.state.weights) for segment in arm.state.shared_segments}
    for name, tensor in (shared | arm.state.named_buffers()).items():
        array = tensor.detach().cpu().numpy()
        sha.update(name.encode() + b"\0" + array.astype(array.dtype.newbyteorder("<")).tobytes())
    return sha.digest()


class Certificate:
    """The chain: link_0 = SHA-256(initial weights), link_{t+1} = SHA-256(link_t, ids_t, draws_t, learning rate_t).

    `link` after `extend(t)` is link_{t+1}; ids and draws enter as their digests, the rate as a little-endian double.
    """

    def __init__(self, initial_weights: bytes) -> None:
        self.link = hashlib.sha256(initial_weights).digest()

    def extend(self, batch: Batch, learning_rate: float) -> "Link":
        """Chain one step."""
        ids, draws = integers_digest(batch.ids), integers_digest(batch.words)
        self.link = hashlib.sha256(self.link + ids + draws + struct.pack("<d", learning_rate)).digest()
        return Link(learning_rate, ids, draws, self.link)


class Link(NamedTuple):
    """What a step adds to the chain, and the chain after it (32 bytes each)."""

    learning_rate: float
    ids: bytes
    draws: bytes
    chain: bytes
