"""A process that trains points of a sweep, one after another: `python -m coupled.sweeps.worker CONNECTION NUMBER
[--allow-drift]`.

Torch is loaded after the process is set up for it, as in coupled/cli.py.
"""

import queue
import signal
import sys
import threading
import time
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, Final

from coupled.errors import EarlyEnd, Preempted
from coupled.memory import tune_memory
from coupled.sweeps.messages import DRIFT, Message
from coupled.terminal.entry import guarded

_EVERY_S: Final = 0.25  # between two messages of one run


def main(argv: list[str]) -> int:
    """Serve the connection that is open under this descriptor, as the worker of this number, until it is closed. Then
    may follow the word that points resume under other conditions too.
    """
    tune_memory()
    connection, number = Connection(int(argv[0])), int(argv[1])
    return guarded("coupled-run", lambda: serve(connection, number, allow_drift=DRIFT in argv[2:]))


def serve(connection: Any, number: int, *, allow_drift: bool = False) -> int:
    """Train every config that comes, and say over the connection what becomes of it."""
    from coupled import runtime
    from coupled.driver.signals import Preemption
    from coupled.supervision import let_in

    with Preemption(supervised=True) as stop:
        # They were blocked until there is somebody who heeds them.
        let_in()
        configs: queue.SimpleQueue[Any] = queue.SimpleQueue()
        threading.Thread(target=_listen, args=(connection, configs, stop), daemon=True).start()
        while (config := configs.get()) is not None:
            runtime.take_gpu(config, number)
            _say(connection, _trained(config, connection, stop, allow_drift=allow_drift))
            runtime.forget_run()
    return 0


def _trained(config: Any, connection: Any, stop: Any, *, allow_drift: bool) -> Message:
    """Train a point; the last message about it."""
    from coupled.driver.train import train

    if stop.asked:
        return Message("stopped")
    try:
        train(config, allow_drift=allow_drift, reporter=_Telling(connection), preemption=stop)
    except Preempted as error:
        return Message("stopped", str(error))
    except EarlyEnd as error:
        return Message("failed", str(error))
    except Exception as error:
        traceback.print_exc()  # a fault of ours, or of a user's code: the line alone would not say where
        return Message("failed", " ".join(f"{type(error).__name__}: {error}".split()))
    return Message("finished", step=config.train.steps)


class _Telling:
    """The driver's reporter: it says how far the run is, a few times a second."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    def note(self, text: str) -> None:
        _say(self.connection, Message("note", text))

    def begin(self, run: Any) -> None:
        self.first, self.began = run.start, time.monotonic()
        self.said = self.began
        _say(self.connection, Message("begun", step=run.start))

    def stepped(self, step: int) -> None:
        now = time.monotonic()
        if now - self.said >= _EVERY_S:
            self.said = now
            _say(self.connection, Message("stepped", step=step, rate=(step - self.first) / (now - self.began)))

    def is_due(self, step: int) -> bool:
        return False

    def show(self, step: int, rows: Any) -> None: ...
    def end(self) -> None: ...


def _listen(connection: Any, configs: "queue.SimpleQueue[Any]", stop: Any) -> None:
    """Hand on what comes. At the end of the connection nothing more will: a run that is at work then has lost the
    process that watched it, and stops after its step.
    """
    try:
        while True:
            configs.put(connection.recv())
    except (EOFError, OSError):
        stop.asked = stop.asked or signal.SIGTERM
        configs.put(None)


def _say(connection: Any, message: Message) -> None:
    with suppress(OSError):  # nobody is there any more: `_listen` hears of it too
        connection.send(message)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
