"""Sums of gradients over data ranks, while the next arm's forward and backward go on."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch import Tensor

from coupled.lanes import stream_for
from coupled.ranks.exchange import add_up
from coupled.ranks.mesh import ALONE, Axis


class Sums:
    """One sum after the other, in the order in which they are asked for, which is the same on all ranks.

    `axis`: the data ranks, in a group of its own. In that of the forward, where batch-norm gathers statistics, the next
    arm's first message would wait for the whole gradient. On a GPU the messages have a stream of their own, on a CPU,
    where whoever sends waits, a thread.
    """

    def __init__(self, axis: Axis = ALONE.data, device: torch.device | None = None) -> None:
        self._axis, self._beside = axis, False
        on_gpu = axis.size > 1 and device is not None and device.type == "cuda"
        self._stream = stream_for("sums", torch.cuda.current_device()) if on_gpu else None
        self._thread: ThreadPoolExecutor | None = None
        self._begun: list[Future[None]] = []

    @contextmanager
    def beside(self) -> Iterator[None]:
        """Inside, `begin` does not wait: what comes next goes on beside it. At the end all sums are there."""
        self._beside = self._axis.size > 1
        try:
            yield
        finally:
            self._beside = False
            self.finish()

    def begin(self, flat: Tensor) -> None:
        """The sum of every rank's `flat` (N,), in place: `coupled.ranks.exchange.add_up`. Within `beside` nobody may
        read or change `flat` until `finish`.
        """
        if not self._beside:
            add_up(flat, self._axis)
        elif self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                add_up(flat, self._axis)
        else:
            self._thread = self._thread or ThreadPoolExecutor(1, "sums")
            self._begun.append(self._thread.submit(add_up, flat, self._axis))

    def finish(self) -> None:
        """All sums that were begun are there for what comes next. Raises what one of them raised."""
        if self._stream is not None:
            torch.cuda.current_stream().wait_stream(self._stream)
        begun, self._begun = self._begun, []
        for sum_ in begun:
            sum_.result()
