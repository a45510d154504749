"""Rows of a step on their way from the arms' device to the host; nobody waits for a GPU until they are asked for."""

from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from coupled.recording.observation import Rows


class Transfer:
    """The values of `rows` as they are now, whatever becomes of the tensors: tensors of one device and dtype travel
    together, from a GPU into pinned memory.
    """

    def __init__(self, rows: Rows) -> None:
        flat = {(owner, column): value for owner, row in rows.items() for column, value in row.items()}
        self._arrays = {place: value for place, value in flat.items() if not isinstance(value, Tensor)}
        tensors = [(place, value.detach()) for place, value in flat.items() if isinstance(value, Tensor)]
        tensors.sort(key=lambda item: _kind(item[1]))
        self._coming = [_Coming(dict(group)) for _, group in groupby(tensors, key=lambda item: _kind(item[1]))]

    def arrays(self) -> dict[tuple[str, str], np.ndarray]:
        """(owner, column) → value, once it is here."""
        for coming in self._coming:
            self._arrays |= coming.arrived()
        self._coming = []
        return self._arrays


class _Coming:
    """Tensors of one device and dtype, in one copy."""

    def __init__(self, tensors: dict[tuple[str, str], Tensor]) -> None:
        self._shapes = {place: value.shape for place, value in tensors.items()}
        flat = torch.cat([value.reshape(-1) for value in tensors.values()])
        self._here: torch.cuda.Event | None = None
        self._host = flat
        if flat.is_cuda:
            self._host = torch.empty(flat.shape, dtype=flat.dtype, pin_memory=True)
            self._host.copy_(flat, non_blocking=True)
            self._here = torch.cuda.Event()
            self._here.record()

    def arrived(self) -> dict[tuple[str, str], np.ndarray]:
        values = self._host.numpy()
        if self._here is not None:
            self._here.synchronize()
            values = values.copy()  # what is pinned is scarce, and a shard takes many steps
        ends = np.cumsum([shape.numel() for shape in self._shapes.values()])
        parts = np.split(values, ends[:-1])
        return {place: part.reshape(shape) for (place, shape), part in zip(self._shapes.items(), parts, strict=True)}


def _kind(tensor: Tensor) -> tuple[str, str]:
    return str(tensor.device), str(tensor.dtype)
