"""Asked to stop: SIGTERM (Slurm, torchrun), SIGUSR2 (requeue) or Ctrl-C."""

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Final, Self

SIGNALS: Final = (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT)


class LeftAtOnce(KeyboardInterrupt):
    """The second signal: out, now. Whatever is committed stands."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_code = 128 + number


class Preemption:
    """While entered, the first signal only sets `asked`, its name; the second raises LeftAtOnce where the run is.

    Outside the main thread, where Python has no signals, nothing is ever asked.
    """

    def __init__(self) -> None:
        self.asked = ""
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._ask) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise LeftAtOnce(number)
        self.asked = signal.Signals(number).name
        # write, not print: the signal may have come in the middle of one
        os.write(2, f"{self.asked}: stopping after this step; once more to leave at once\n".encode())
