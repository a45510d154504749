"""Bars for work that is counted, on standard error."""

from typing import Self

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from coupled.terminal.console import Console


class Counting:
    """A bar for each thing that is counted, in a terminal; nothing elsewhere."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
        self.bar = Progress(*columns, console=console, transient=True, disable=not console.is_interactive)
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
