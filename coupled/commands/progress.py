"""What a person watching a run sees: a live table in a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Sequence
from typing import Protocol

import rich.console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from coupled.driver.run import Run
from coupled.driver.standings import Standing
from coupled.terminal.console import Console

_REFRESH_S = 0.5
_PLAIN_REFRESH_S = 10.0


class Watcher(Protocol):
    """How a refresh is shown."""

    def show(self, step: int, rate: float, rows: Sequence[Standing]) -> None: ...
    def close(self) -> None: ...


class ProgressReporter:
    """Every arm's loss, and CKA and weight gap to its reference. It looks twice a second, not at every step."""

    def __init__(self, console: rich.console.Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self.watcher: Watcher | None = None

    def note(self, text: str) -> None:
        self.console.print(text, style="dim", highlight=False, markup=False, soft_wrap=True)

    def begin(self, run: Run) -> None:
        self.first, self.total = run.start, run.config.train.steps
        live = self.console.is_interactive
        self.watcher = _Live(self.console, self.total) if live else _Plain(self.total)
        self.interval = _REFRESH_S if live else _PLAIN_REFRESH_S
        self.started = self.shown = time.monotonic()

    def stepped(self, step: int) -> None: ...

    def is_due(self, step: int) -> bool:
        return time.monotonic() - self.shown >= self.interval or step in (self.first + 1, self.total)

    def show(self, step: int, rows: Sequence[Standing]) -> None:
        self.shown = time.monotonic()
        assert self.watcher is not None
        self.watcher.show(step, (step - self.first) / max(self.shown - self.started, 1e-9), rows)

    def end(self) -> None:
        # Also after an error: a live display that is left open hides the cursor.
        if self.watcher is not None:
            self.watcher.close()


class _Live:
    """A bar and a table that redraw in place."""

    def __init__(self, console: rich.console.Console, total: int) -> None:
        columns = (
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("{task.fields[rate]:.2f} steps/s, left"),
            TimeRemainingColumn(elapsed_when_finished=True),
        )
        self.bar = Progress(*columns, console=console)
        self.task = self.bar.add_task("", total=total, rate=0.0)
        self.live = Live(self.bar, console=console, refresh_per_second=4, transient=False)
        self.live.start()

    def show(self, step: int, rate: float, rows: Sequence[Standing]) -> None:
        self.bar.update(self.task, completed=step, rate=rate)
        table = Table("arm", "loss", "CKA (batch z)", "weight gap", box=None, header_style="bold", padding=(0, 2))
        for name, loss, cka, gap in rows:
            table.add_row(name, f"{loss:.4f}", *("–" if v is None else f"{v:.4g}" for v in (cka, gap)))
        self.live.update(rich.console.Group(self.bar, table))

    def close(self) -> None:
        self.live.stop()


class _Plain:
    """One line a refresh, for logs."""

    def __init__(self, total: int) -> None:
        self.total = total

    def show(self, step: int, rate: float, rows: Sequence[Standing]) -> None:
        parts = []
        for name, loss, cka, gap in rows:
            compared = "" if cka is None or gap is None else f" cka {cka:.4f} gap {gap:.3g}"
            parts.append(f"{name} loss {loss:.4f}{compared}")
        left = (self.total - step) / rate
        line = f"step {step}/{self.total}  {rate:.2f} steps/s  left {left:.0f} s  | " + " | ".join(parts)
        print(line, file=sys.stderr, flush=True)

    def close(self) -> None: ...
