"""Digests of every view's pixels."""

import hashlib

import numpy as np
from torch import Tensor

from coupled.recording.layout import PIXEL_DIGEST_BYTES


def pixel_digests(pixels: Tensor) -> np.ndarray:
    """BLAKE2b-128 of every view's bytes in batch order: pixels (2B, 3, S, S) → uint8 (2B, 16)."""
    array = pixels.cpu().contiguous().numpy()
    digests = [hashlib.blake2b(view.tobytes(), digest_size=PIXEL_DIGEST_BYTES).digest() for view in array]
    return np.frombuffer(b"".join(digests), np.uint8).reshape(len(array), PIXEL_DIGEST_BYTES)
