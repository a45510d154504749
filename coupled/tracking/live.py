"""log/live.json: what `coupled-run watch` knows of the steps that no checkpoint has yet (`coupled.reading.live`)."""

import os
import socket
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Final

from coupled.reading.live import LIVE
from coupled.store.canonical import canonical_json
from coupled.tracking.points import Point

_MOST: Final = 256  # points; the older half is then thinned to every second
_RECENT: Final = 16  # looks that the rate is of


class LiveFile:
    """Keeps the points of a run since it began here, and its rate, and writes them where who watches finds them."""

    def __init__(self, root: Path, planned: int, start: int) -> None:
        self._path, self._planned = root / LIVE, planned
        self._points: list[Point] = []
        self._looks: deque[tuple[int, float]] = deque([(start, time.monotonic())], maxlen=_RECENT)

    def content(self, done: int, point: Point | None) -> bytes:
        """What the file says when `done` updates were made, and `point` is the newest."""
        self._looks.append((done, time.monotonic()))
        if point is not None and point.values:
            self._points.append(point)
        if len(self._points) > _MOST:
            half = _MOST // 2
            self._points = [*self._points[:half:2], *self._points[half:]]
        (first, since), (last, now) = self._looks[0], self._looks[-1]
        names = sorted({name for each in self._points for name in each.values})
        return canonical_json(
            {
                "step": done,
                "planned": self._planned,
                "time": time.time(),
                "rate": (last - first) / (now - since) if now > since else 0.0,
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "names": names,
                "points": [[each.step, *(each.values.get(name) for name in names)] for each in self._points],
            }
        )

    def write(self, content: bytes) -> None:
        """Replaces the file. It is no part of the run: where the system refuses, it is left as it was."""
        temporary = self._path.with_name(f"{self._path.name}.tmp")
        with suppress(OSError):
            temporary.write_bytes(content)
            temporary.replace(self._path)

    def remove(self) -> None:
        """Of a run that is finished its records say all."""
        with suppress(OSError):
            self._path.unlink()
