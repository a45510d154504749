"""The stream pixels: digests of every view's pixels."""

import hashlib

import numpy as np
import torch
from torch import Tensor

from coupled.config.traits import Inputs
from coupled.ranks.exchange import whole_views
from coupled.recording.checkpoints import on_host
from coupled.recording.layout import PIXEL_DIGEST_BYTES, SHARED
from coupled.recording.observation import Observer, Rows, StepObservation


class Pixels(Observer):
    """The views of the whole batch, of which each data rank has a part; and of those that an arm sees in its place."""

    stream = "pixels"
    on_every_data_rank = True

    def batch(self, seen: StepObservation) -> Rows:
        # Every data rank of these arms has the same kinds of input, in this order.
        seeing: dict[Inputs | None, list[str]] = {} if seen.mesh.arms.index else {None: [SHARED]}
        for name in seen.with_own_inputs:
            seeing.setdefault(seen.arms[name].traits.inputs, []).append(name)
        rows: dict[str, dict[str, Tensor]] = {}
        for inputs, owners in seeing.items():
            digests = whole_views(torch.tensor(pixel_digests(seen.batch.of(inputs).pixels)), seen.mesh.data)
            rows |= {owner: {"batch.pixels_digest": digests} for owner in owners}
        return rows


def pixel_digests(pixels: Tensor) -> np.ndarray:
    """BLAKE2b-128 of every view's bytes in batch order: pixels (2B, 3, S, S) → uint8 (2B, 16)."""
    here = on_host(pixels) if pixels.is_cuda else pixels
    array = here.contiguous().numpy()
    digests = [hashlib.blake2b(view.tobytes(), digest_size=PIXEL_DIGEST_BYTES).digest() for view in array]
    return np.frombuffer(b"".join(digests), np.uint8).reshape(len(array), PIXEL_DIGEST_BYTES)
