"""A tracker on a thread of its own: whatever it does, the run that feeds it goes on as fast as without it."""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final, Protocol

from coupled.errors import EarlyEnd
from coupled.store.errors import one_line
from coupled.tracking.points import Point

_MOST: Final = 1024  # points that wait for a slow tracker; then the oldest is dropped
_SLOW_S: Final = 60.0  # of one call, after which the tracker is said to hang


class Tracker(Protocol):
    """Something that takes numbers of steps, such as a TensorBoard writer."""

    def log(self, step: int, values: Mapping[str, float]) -> None: ...
    def close(self) -> None: ...


class Mirror:
    """Hands points to the tracker that `opened` gives, one after the other, on a daemon thread.

    `offer` and `close` never raise, and `offer` never waits. A tracker that raises, whatever it raises, is asked for
    nothing more; `warn` gets one line about it, on the thread that noticed.
    """

    def __init__(self, name: str, opened: Callable[[], Tracker], warn: Callable[[str, str], None]) -> None:
        self.name, self._opened, self._warn = name, opened, warn
        self._changed = threading.Condition()
        self._waiting: deque[Point] = deque(maxlen=_MOST)
        self._closing = self._ended = self._warned = False
        self._busy_since: float | None = time.monotonic()
        self._thread = threading.Thread(target=self._work, name=f"tracker {name}", daemon=True)
        self._thread.start()

    def offer(self, point: Point) -> None:
        """Have the tracker take this point, once it has taken those before."""
        with self._changed:
            if self._ended:
                return
            self._waiting.append(point)
            self._changed.notify_all()
            since = self._busy_since
        if since is not None and time.monotonic() - since > _SLOW_S:
            self._warn_once(f"has not answered for {_SLOW_S:.0f} s; the run does not wait for it")

    def close(self, seconds: float) -> None:
        """Let the tracker take what waits and end, for so long at most; then leave it."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(seconds)
        if self._thread.is_alive():
            self._warn_once("had not ended when the run had, and was left")

    def _work(self) -> None:
        try:
            tracker = self._opened()
            try:
                while (point := self._next()) is not None:
                    tracker.log(point.step, point.values)
            finally:
                self._busy_since = time.monotonic()
                tracker.close()
        except BaseException as error:  # SystemExit too: a library's idea of an end is not the run's
            reason = str(error) if isinstance(error, EarlyEnd) else f"failed ({type(error).__name__}: {error})"
            self._warn_once(one_line(reason))
        finally:
            with self._changed:
                self._ended = True
                self._waiting.clear()

    def _next(self) -> Point | None:
        """The next point, once there is one; None at the end."""
        with self._changed:
            self._busy_since = None
            self._changed.wait_for(lambda: self._waiting or self._closing)
            self._busy_since = time.monotonic()
            return self._waiting.popleft() if self._waiting else None

    def _warn_once(self, reason: str) -> None:
        with self._changed:
            warned, self._warned = self._warned, True
        if not warned:
            with suppress(Exception):  # where even a warning cannot be written, a mirror is no reason to stop training
                self._warn(self.name, reason)
