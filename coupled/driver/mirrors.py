"""What a run shows of itself beside its records: log/live.json and trackers, by numbers that it has just recorded.

At most every `log.seconds`, and in no byte of the run: the numbers are rows that the recorder has on the host anyway;
nothing is computed, no tracker is waited for, and what fails is said once and left out.
"""

import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch

from coupled.config import Config, resolved
from coupled.ranks.mesh import Mesh
from coupled.reading.log import run_id
from coupled.recording.layout import SHARED
from coupled.recording.recorder import Recorder
from coupled.recording.writer import Writer
from coupled.tracking.live import LiveFile
from coupled.tracking.mirror import Mirror
from coupled.tracking.panels import PanelCka
from coupled.tracking.points import LEARNING_RATE, Point, columns_of, point
from coupled.tracking.trackers import TRACKERS, Tracked

_STREAM: Final = "scalars"


class Mirrors:
    """Rank 0 has the live file and the trackers of `config.log`; the others give it the numbers of their arms."""

    def __init__(self, config: Config, root: Path, mesh: Mesh, recorder: Recorder, writer: Writer) -> None:
        self._config, self._root, self._mesh, self._recorder, self._writer = config, root, mesh, recorder, writer
        self._columns = {arm: columns_of(config, arm) for arm in config.arms}
        self._width = max(map(len, self._columns.values()))
        self._looked = -1  # the newest step that was shown
        self._next = 0.0  # when the next look is due
        self._live: LiveFile | None = None
        self._trackers: list[Mirror] = []
        self._panels: Mirror | None = None
        self._notes: deque[str] = deque()
        self._note: Callable[[str], None] = lambda text: None

    def begin(self, start: int, note: Callable[[str], None], log: Callable[[Mapping[str, Any]], None]) -> None:
        """The run goes on from `start`. Warnings about trackers go to `note`, between two steps, and to its `log`."""
        if not self._mesh.is_first:
            return
        self._note = note
        self._next = time.monotonic()
        if self._config.log.live:
            self._live = LiveFile(self._root, self._config.train.steps, start)
        if not self._config.log.trackers:
            return

        def warn(name: str, reason: str) -> None:
            log({"event": "tracker", "tracker": name, "warning": reason})
            self._notes.append(f"warning: tracker {name}: {reason}")

        run = Tracked(self._config.name, self._root / "log", run_id(self._root), start, resolved(self._config))
        names = dict.fromkeys(self._config.log.trackers)
        self._trackers = [Mirror(name, partial(TRACKERS[name], run), warn) for name in names]
        panels = partial(PanelCka, self._root, self._config, self._offer, start)
        self._panels = Mirror("cka of panels", panels, warn)

    def is_due(self, step: int) -> bool:
        """Is it time to look, before `step`? Asked at every step; rank 0 alone knows."""
        if self._live is None and not self._trackers:
            return False
        return time.monotonic() >= self._next or step == self._config.train.steps

    def look(self, done: int) -> None:
        """Show the newest recorded numbers, `done` updates being made; a meeting of all ranks."""
        newest = self._newest()
        if not self._mesh.is_first:
            return
        while self._notes:
            self._note(self._notes.popleft())
        if newest is not None:
            self._offer(newest)
            if self._panels is not None:
                self._panels.offer(newest)
        if self._live is not None:
            # By the thread that writes: it comes after what was committed before, and no step waits for the disk.
            self._writer.put(0, partial(self._live.write, self._live.content(done, newest)))
        self._next = time.monotonic() + self._config.log.seconds

    def look_once_more(self, done: int) -> None:
        """Show the newest numbers of a run that ends here, though no look is due; a meeting of all ranks."""
        if any(self._mesh.most(self._live is not None or bool(self._trackers))):
            self.look(done)

    def finish(self) -> None:
        """The run is finished: show its last state, and leave the rest to its records. A meeting of all ranks."""
        self.look_once_more(self._config.train.steps)
        if self._live is not None:
            self._writer.put(0, self._live.remove)

    def close(self, seconds: float) -> None:
        """Let trackers take what they have, for so long at most. Nothing is offered afterwards."""
        ends = time.monotonic() + seconds
        # Who gives the others something ends first.
        for mirror in [*([] if self._panels is None else [self._panels]), *self._trackers]:
            mirror.close(max(ends - time.monotonic(), 0.0))
        self._trackers, self._panels, self._live = [], None, None
        while self._notes:
            self._note(self._notes.popleft())

    def _offer(self, newest: Point) -> None:
        for tracker in self._trackers:
            tracker.offer(newest)

    def _newest(self) -> Point | None:
        """The newest step of the stream on the host; None where it was shown already, or nothing is there."""
        step, rows = self._recorder.newest or (-1, {})
        arms = self._everyones(rows)
        if step <= self._looked:
            return None
        self._looked = step
        values = {}
        for arm, numbers in zip(self._columns, arms.tolist(), strict=True):
            values |= {f"{name}/{arm}": number for name, number in zip(self._columns[arm], numbers, strict=False)}
        rate = rows.get((SHARED, "batch.learning_rate"))
        return point(step, values if rate is None else {**values, LEARNING_RATE: float(rate)})

    def _everyones(self, rows: Mapping[tuple[str, str], Any]) -> torch.Tensor:
        """The numbers of every arm (arms, columns), NaN where there is none, from the ranks that record them."""
        own = torch.full((len(self._columns), self._width), torch.nan, dtype=torch.float64)
        for at, (arm, columns) in enumerate(self._columns.items()):
            for k, column in enumerate(columns.values()):
                if (arm, column) in rows:
                    own[at, k] = float(rows[arm, column])
        everyones = self._mesh.host.gathered(own)
        return torch.stack([everyones[self._mesh.holder(arm), at] for at, arm in enumerate(self._columns)])
