"""A process that trains for another one, which started it, passes signals on to it, and ends it where it must."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

SIGNALS: Final = (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT)  # what asks a run to stop
_STDIN: Final = 0


@contextmanager
def blocked() -> Iterator[None]:
    """Signals wait meanwhile. A process that is started here begins with them blocked, and lets them in once it can
    heed them: Ctrl-C in a terminal, and a scheduler, reach it as well.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def let_in() -> None:
    """Signals that waited come now: somebody heeds them."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def stop_with_supervisor() -> None:
    """From now on the end of stdin is a SIGTERM: the process that holds its other end is gone."""

    def watch() -> None:
        while os.read(_STDIN, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
