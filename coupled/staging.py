"""From the host to the arms' device, while the host goes on.

A GPU copies by itself from pinned memory alone; from any other the host waits, or copies once more. `moved` makes one
copy, however many tensors are given. Pinned memory comes from torch's caching host allocator: a copy with
`non_blocking` notes the stream that reads a block, and a block that is let go is handed out again once that stream has
come so far (ATen/core/CachingHostAllocator.h). So nobody here waits or keeps a buffer.
"""

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor

_ALIGNED = 64  # bytes: of every dtype a multiple, and more than any kernel loads at once


def moved(tensors: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """`tensors` on `device`, in one copy of all that the current stream makes; as they are where they are there.

    Either all of them are on the device or none is. What is moved is contiguous there; several are parts of one buffer.
    """
    if all(_is_on(tensor, device) for tensor in tensors):
        return list(tensors)
    if len(tensors) == 1:
        # A copy with gaps would be made whole in ordinary memory first.
        return [_pinned(tensors[0].contiguous()).to(device, non_blocking=True)]
    return _parts(_packed(tensors).to(device, non_blocking=True), tensors)


def _is_on(tensor: Tensor, device: torch.device) -> bool:
    return tensor.device.type == device.type  # a process has one device


def _packed(tensors: Sequence[Tensor]) -> Tensor:
    """A pinned buffer of bytes that `_parts` takes apart."""
    buffer = _room(_starts(tensors)[-1])
    for part, tensor in zip(_parts(buffer, tensors), tensors, strict=True):
        part.copy_(tensor)
    return buffer


def _parts(buffer: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Tensors of the shapes and dtypes of `like` in a buffer of bytes."""
    starts = _starts(like)
    return [
        buffer[start : start + tensor.nbytes].view(tensor.dtype).view(tensor.shape)
        for start, tensor in zip(starts, like, strict=False)
    ]


def _starts(tensors: Sequence[Tensor]) -> list[int]:
    """Where each tensor begins in a buffer, and its end."""
    return list(accumulate((-(-tensor.nbytes // _ALIGNED) * _ALIGNED for tensor in tensors), initial=0))


def _room(size: int) -> Tensor:
    return torch.empty(size, dtype=torch.uint8, pin_memory=True)


def _pinned(tensor: Tensor) -> Tensor:
    return tensor.pin_memory()  # itself where it is pinned
