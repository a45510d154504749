"""Asked to stop: SIGTERM (Slurm, torchrun), SIGUSR2 (requeue) or Ctrl-C."""

import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Final, Self

from coupled.ranks.faults import RankLost
from coupled.ranks.mesh import ALONE, Mesh
from coupled.supervision import SIGNALS, let_in, stop_with_supervisor

_ECHOES_S: Final = 10.0


class LeftAtOnce(KeyboardInterrupt):
    """The second signal: out, now. Whatever is committed stands; `left`: where, and how to go on."""

    left = ""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_code = 128 + number


class Preemption:
    """While entered, the first signal only sets `asked`, its number; the second raises LeftAtOnce where the run is.

    Outside the main thread, where Python has no signals, nothing is ever asked. A rank of several gets the same request
    more than once, from the scheduler and from the launcher that passes it on: for a while that is no second one.
    `supervised`: the process that started this one passes signals on, says so, and ends this one where it must: none is
    a second one ever.
    """

    def __init__(self, mesh: Mesh = ALONE, *, supervised: bool = False) -> None:
        self.asked = 0
        self._speaks, self._patience = mesh.is_first, 0.0 if mesh.placement is None else _ECHOES_S
        if supervised:
            self._speaks, self._patience = False, math.inf
        self._since = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._ask) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            # Where a rank is lost the launcher ends the others with SIGTERM; they are leaving, and have yet to say why.
            signal.signal(number, signal.SIG_IGN if isinstance(error, RankLost) else handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked and time.monotonic() - self._since >= self._patience:
            raise LeftAtOnce(number)
        if self.asked:
            return
        self.asked, self._since = number, time.monotonic()
        # write, not print: the signal may have come in the middle of one
        if self._speaks:
            name = signal.Signals(number).name
            os.write(2, f"{name}: stopping after this step; once more to leave at once\n".encode())


@contextmanager
def supervised(*, alone: bool) -> Iterator[Preemption]:
    """The preemption of a process that another one started with signals blocked. `alone`: it is no rank, so it has to
    see for itself when that one is gone.
    """
    with Preemption(supervised=True) as preemption:
        let_in()
        if alone:
            stop_with_supervisor()
        yield preemption
