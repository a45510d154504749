"""A CUDA stream of its own for batches: a GPU makes the next one beside the step that it computes."""

from collections.abc import Callable, Iterable
from typing import Generic, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from coupled.lanes import stream_for


class OnDevice(Protocol):
    """What has tensors on a GPU."""

    def on_device(self) -> Iterable[Tensor]: ...


T = TypeVar("T", bound=OnDevice)


class OnItsWay(NamedTuple, Generic[T]):
    """What was enqueued, and the event that the stream has come to once it is there."""

    value: T
    made: torch.cuda.Event


class SideStream(Generic[T]):
    """`begin` in the thread that makes values, `arrived` in the one that uses them: neither waits for the GPU."""

    def __init__(self, make: Callable[[int], T]) -> None:
        self._make = make
        # A thread begins on device 0, whichever the process has taken.
        self._device = torch.cuda.current_device()
        self._stream = stream_for("views", self._device)

    def begin(self, step: int) -> OnItsWay[T]:
        """What `make(step)` gives, enqueued on this stream."""
        with torch.cuda.device(self._device), torch.cuda.stream(self._stream):
            value, made = self._make(step), torch.cuda.Event()
            made.record(self._stream)
            return OnItsWay(value, made)

    @staticmethod
    def arrived(coming: OnItsWay[T]) -> T:
        """The value, for use on the current stream, which waits for it."""
        stream = torch.cuda.current_stream()
        stream.wait_event(coming.made)
        for tensor in coming.value.on_device():
            tensor.record_stream(stream)  # its memory is not used again before this stream has read it
        return coming.value
