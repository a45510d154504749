"""What a person watching a sweep sees: a live table in a terminal, plain lines elsewhere."""

import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Final

import rich.console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from coupled.errors import printable
from coupled.sweeps.watching import PointProgress, left_of
from coupled.terminal.console import Console
from coupled.terminal.sizes import duration

_PLAIN_REFRESH_S: Final = 10.0  # between two lines of one run
_AROUND: Final = 4  # lines of the display beside its rows
_FIRST: Final = ("running", "starting", "failed", "stopped", "waiting", "finished")  # what is worth a line most


class SweepProgress:
    """Every run's step, speed, time left and state; at the end those that failed, each with its reason."""

    def __init__(self, console: rich.console.Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self.live: Live | None = None
        self.points: Sequence[PointProgress] = ()
        self.noted: set[str] = set()
        self.shown: dict[str, float] = {}  # when the last line of a run that is at work was printed

    def begin(self, points: Sequence[PointProgress], jobs: int) -> None:
        self.points = points
        self._line(f"{len(points)} runs, {jobs} at a time: {counts(points)}")
        if self.console.is_interactive and any(point.state != "finished" for point in points):
            self.live = Live(get_renderable=self._display, console=self.console, refresh_per_second=2)
            self.live.start()

    def note(self, point: PointProgress, text: str) -> None:
        # Most notes are of the machine or the data: every run has the same.
        if text not in self.noted:
            self.noted.add(text)
            self._line(f"{point.name}: {text}", style="dim")

    def changed(self, point: PointProgress) -> None:
        if self.live is not None:
            return
        now = time.monotonic()
        if point.state == "running" and point.name in self.shown:
            if now - self.shown[point.name] < _PLAIN_REFRESH_S:
                return
            self._line(f"{point.name}: step {point.step}/{point.total}  {speed(point)}  left {duration(point.left)}")
        elif point.state == "running":
            self._line(f"{point.name}: {'goes on at' if point.step else 'begins at'} step {point.step}/{point.total}")
        elif point.state == "starting":
            return
        else:
            self._line(f"{point.name}: {point.state}{f': {point.reason}' if point.state == 'failed' else ''}")
        self.shown[point.name] = now

    def end(self) -> None:
        if self.live is not None:
            self.live.stop()
        for point in self.points:
            if point.state == "failed":
                print(printable(f"failed: {point.name}: {point.reason}"), file=sys.stderr, flush=True)

    def _line(self, text: str, style: str | None = None) -> None:
        self.console.print(printable(text), style=style, highlight=False, markup=False, soft_wrap=True)

    def _display(self) -> rich.console.RenderableType:
        rows = sorted(self.points, key=lambda point: _FIRST.index(point.state))
        room = max(1, self.console.height - _AROUND)
        rows, more = (rows, []) if len(rows) <= room else (rows[: room - 1], rows[room - 1 :])
        table = Table("run", "step", "steps/s", "left", "state", box=None, header_style="bold", padding=(0, 2))
        for point in rows:
            table.add_row(
                Text(printable(point.name), no_wrap=True, overflow="ellipsis"),
                f"{point.step}/{point.total}",
                speed(point),
                duration(point.left),
                point.state,
            )
        whole = f"{counts(self.points)}, left {duration(left_of(self.points))}"
        lines = [table, Text(f"and {counts(more)}")] if more else [table]
        return rich.console.Group(*lines, Text(whole))


def counts(points: Sequence[PointProgress]) -> str:
    """How many runs are in which state, in words."""
    count = Counter("running" if point.state == "starting" else point.state for point in points)
    order = ("finished", "failed", "stopped", "running", "waiting")
    return ", ".join(f"{count[state]} {state}" for state in order if count[state])


def speed(point: PointProgress) -> str:
    """Steps a second, while a run is at work."""
    return f"{point.rate:.2f} steps/s" if point.state == "running" and point.rate > 0 else "–"
