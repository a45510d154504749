"""Durations on the device that does the work, without waiting for it."""

import time

import torch

# A point in time: seconds of the host's clock, or an event in the device's stream of work.
Mark = float | torch.cuda.Event


class Clock:
    """Marks points in time, and says how far they are apart.

    On a GPU a mark is an event in the current stream: nothing waits between two marks, so what overlaps stays so. A
    duration is then the device's, pauses in which the host is late included; asking for it waits for the later mark.
    """

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"

    def mark(self) -> Mark:
        """Now."""
        if not self._on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds(self, start: Mark, end: Mark) -> float:
        """From one mark to a later one."""
        if isinstance(start, float) and isinstance(end, float):
            return end - start
        assert isinstance(start, torch.cuda.Event) and isinstance(end, torch.cuda.Event)
        end.synchronize()
        return start.elapsed_time(end) / 1e3
