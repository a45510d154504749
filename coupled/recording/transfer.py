"""Rows of a step on their way from the arms' device to the host; nobody waits for a GPU until they are asked for."""

from collections.abc import Callable, Iterable, Mapping
from itertools import groupby, pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coupled.runtime import one_thread

# What is computed on the host of values that are on their way to it: a tensor of the CPU.
Later = Callable[[], Tensor]
# owner (arm or "shared") → column → value of one step
Rows = Mapping[str, Mapping[str, Tensor | np.ndarray | Later]]


class Transfer:
    """The values of `rows` as they are now, whatever becomes of the tensors: those of one device and dtype are put one
    behind the other, where they are. What is on a GPU is brought to the host by `send`. What is to be computed later is
    when the arrays are asked for.
    """

    def __init__(self, rows: Rows) -> None:
        flat = {(owner, column): value for owner, row in rows.items() for column, value in row.items()}
        self._arrays = {place: value for place, value in flat.items() if isinstance(value, np.ndarray)}
        self._later = {place: value for place, value in flat.items() if callable(value)}
        tensors = [(place, value.detach()) for place, value in flat.items() if isinstance(value, Tensor)]
        tensors.sort(key=lambda item: _kind(item[1]))
        self._parts = [_Part(dict(group)) for _, group in groupby(tensors, key=lambda item: _kind(item[1]))]

    def remote(self) -> "list[_Part]":
        """What is neither here nor on its way."""
        return [part for part in self._parts if part.is_remote]

    def arrays(self) -> dict[tuple[str, str], np.ndarray]:
        """(owner, column) → value, once it is here."""
        for part in self._parts:
            self._arrays |= part.arrays()
        with one_thread():
            self._arrays |= {place: value().numpy() for place, value in self._later.items()}
        self._parts, self._later = [], {}
        return self._arrays


def send(transfers: Iterable[Transfer]) -> None:
    """Start on its way all that these have on a GPU, in one copy."""
    # Those of long elements first: so each begins where an element of its own may lie.
    parts = [part for transfer in transfers for part in transfer.remote()]
    parts.sort(key=lambda part: -part.flat.itemsize)
    if not parts:
        return
    parcel = _Parcel(torch.cat([part.flat.view(torch.uint8) for part in parts]))
    ends = np.cumsum([0, *(part.flat.nbytes for part in parts)]).tolist()
    for part, (start, stop) in zip(parts, pairwise(ends), strict=True):
        part.put_into(parcel, slice(start, stop))


class _Part:
    """Tensors of one device and dtype."""

    def __init__(self, tensors: dict[tuple[str, str], Tensor]) -> None:
        self._shapes = {place: value.shape for place, value in tensors.items()}
        self.flat = torch.cat([value.reshape(-1) for value in tensors.values()])
        self._parcel: _Parcel | None = None
        self._at = slice(0)

    @property
    def is_remote(self) -> bool:
        """Can the host not read it where it is?"""
        return self._parcel is None and _is_remote(self.flat)

    def put_into(self, parcel: "_Parcel", at: slice) -> None:
        """It comes as these bytes of the parcel."""
        self._parcel, self._at = parcel, at
        self.flat = torch.empty(0, dtype=self.flat.dtype)  # that of the GPU is free

    def arrays(self) -> dict[tuple[str, str], np.ndarray]:
        """(owner, column) → value, once it is here."""
        assert not self.is_remote, "it was never sent"
        values = self.flat.numpy() if self._parcel is None else self._received(self._parcel)
        ends = np.cumsum([shape.numel() for shape in self._shapes.values()])
        parts = np.split(values, ends[:-1])
        return {place: part.reshape(shape) for (place, shape), part in zip(self._shapes.items(), parts, strict=True)}

    def _received(self, parcel: "_Parcel") -> NDArray[Any]:
        # A copy: what is pinned is scarce, and a shard takes many steps.
        return parcel.received()[self._at].copy().view(self.flat.numpy().dtype)


class _Parcel:
    """Bytes on their way from a GPU into pinned memory."""

    def __init__(self, packed: Tensor) -> None:
        self._host = torch.empty(packed.shape, dtype=packed.dtype, pin_memory=True)
        self._host.copy_(packed, non_blocking=True)
        self._here = torch.cuda.Event()
        self._here.record()

    def received(self) -> NDArray[np.uint8]:
        """All of them, once they are here."""
        self._here.synchronize()
        return self._host.numpy()


def _is_remote(flat: Tensor) -> bool:
    return flat.is_cuda


def _kind(tensor: Tensor) -> tuple[str, str]:
    return str(tensor.device), str(tensor.dtype)
