"""How far each point of a sweep is, and what a sweep tells whoever watches."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

State = Literal["waiting", "starting", "running", "finished", "failed", "stopped"]


@dataclass
class PointProgress:
    """How far a point is. `step`: updates made, of `total`; `rate`: steps a second since it was last begun, 0 while
    that is not known; `reason`: of a failure, in one line.
    """

    name: str
    total: int
    state: State = "waiting"
    step: int = 0
    rate: float = 0.0
    reason: str = ""

    @property
    def left(self) -> float | None:
        """Seconds until its end at this rate; None while that is not known."""
        return (self.total - self.step) / self.rate if self.state == "running" and self.rate > 0 else None


def left_of(points: Sequence[PointProgress]) -> float | None:
    """Seconds until the end of all points, at the rate of those that run now; None while that is not known."""
    rate = sum(point.rate for point in points if point.state == "running")
    steps = sum(point.total - point.step for point in points if point.state in ("waiting", "starting", "running"))
    return steps / rate if rate > 0 else None


class SweepReporter(Protocol):
    """What a sweep tells whoever watches: all points first, then each one that changed. `end` comes last, also when the
    sweep is stopped.
    """

    def begin(self, points: Sequence[PointProgress], jobs: int) -> None: ...
    def note(self, point: PointProgress, text: str) -> None: ...
    def changed(self, point: PointProgress) -> None: ...
    def end(self) -> None: ...


class Silent:
    """A reporter that says nothing."""

    def begin(self, points: Sequence[PointProgress], jobs: int) -> None: ...
    def note(self, point: PointProgress, text: str) -> None: ...
    def changed(self, point: PointProgress) -> None: ...
    def end(self) -> None: ...
