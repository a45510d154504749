"""Bars for work that is counted, on standard error."""

from collections.abc import Callable
from typing import Self

import rich.progress
from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn

from coupled.terminal.console import Console

Progress = Callable[[str, int, int], None]  # is told how far work is: a thing, how many are done, of how many


class Counting:
    """A bar for each thing that is counted, in a terminal; nothing elsewhere."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
        self.bar = rich.progress.Progress(*columns, console=console, transient=True, disable=not console.is_interactive)
        self.tasks: dict[str, TaskID] = {}

    def count(self, thing: str, done: int, total: int) -> None:
        """`done` of `total` of `thing`."""
        if thing not in self.tasks:
            self.tasks[thing] = self.bar.add_task(thing, total=total)
        self.bar.update(self.tasks[thing], completed=done, total=total)

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()
