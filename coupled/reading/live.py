"""What a run says of itself between two checkpoints, in log/live.json: outside every hash, untrusted like all files.

Nothing of it is committed: after a kill the run makes these steps again. The file is replaced whole, now and then, by
the process that trains.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from coupled.store import REAL
from coupled.store.canonical import strict_json
from coupled.store.rundir import EVENTS

LIVE: Final = "log/live.json"
_LARGEST: Final = 16 << 20  # bytes
_MOST: Final = 2**53 - 1  # of a count: as many steps as a config may have
_TAIL: Final = 1 << 16  # bytes at the end of a log that hold its last event


@dataclass(frozen=True)
class Live:
    """Where a run is: `step` updates of `planned` were made at `time` (seconds since 1970), `rate` steps a second of
    late, 0 while that is not known. `host` and `pid`: of the process. `points`: numbers by name at each of some steps
    (`coupled.tracking.points`), the last of which may not be committed.
    """

    step: int
    planned: int
    time: float
    rate: float
    host: str
    pid: int
    points: tuple[tuple[int, dict[str, float]], ...]

    @property
    def left(self) -> float | None:
        """Seconds until the end at this rate; None where it is not known."""
        left = max(self.planned - self.step, 0) / self.rate if self.rate > 0 else math.inf
        return left if math.isfinite(left) else None


def read_live(run: Path) -> Live | None:
    """What the run at this path says of itself; None where it says nothing that can be believed."""
    try:
        content = strict_json(REAL.read(run / LIVE, _LARGEST))
        names, rows = [str(name) for name in content["names"]], content["points"]
        points = tuple((_count(step), _named(names, values)) for step, *values in rows)
        return Live(
            step=_count(content["step"]),
            planned=_count(content["planned"]),
            time=_number(content["time"]),
            rate=max(_number(content["rate"]), 0.0),
            host=str(content["host"]),
            pid=_count(content["pid"]),
            points=points if list(points) == sorted(points, key=lambda point: point[0]) else (),
        )
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None


def last_event(run: Path) -> dict[str, Any] | None:
    """The last event of a run's log; None where there is none that can be read."""
    try:
        with (run / EVENTS).open("rb") as log:
            log.seek(max(0, (run / EVENTS).stat().st_size - _TAIL))
            lines = log.read(_TAIL).splitlines()
    except OSError:
        return None
    for line in reversed(lines):
        try:
            event = strict_json(line)
        except ValueError:
            continue  # torn, or its beginning was cut off
        if isinstance(event, dict) and isinstance(event.get("event"), str):
            return event
    return None


def _named(names: list[str], values: list[Any]) -> dict[str, float]:
    """The values that are there, by their names."""
    pairs = zip(names, values, strict=True)
    return {name: _number(value) for name, value in pairs if value is not None}


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= _MOST:
        raise ValueError("no count")
    return value


def _number(value: Any) -> float:
    number = float(value) if type(value) in (int, float) else math.nan
    if not math.isfinite(number):
        raise ValueError("no number")
    return number
