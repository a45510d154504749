"""Tables and progress on the standard streams."""

import os
import sys
from textwrap import fill
from typing import Any, Final, TextIO

import rich.console
from rich.table import Table
from rich.text import Text

from coupled.errors import printable
from coupled.terminal.streams import spelled
from coupled.terminal.tables import fitting

_LEAST_WIDTH: Final = 80  # columns that a table of numbers needs
_FILE_WIDTH: Final = 140  # a file has room
_NEXT: Final = "; next: "  # before the command that a line suggests


class Console(rich.console.Console):
    """Shows text as it is, in characters that the stream's encoding has. There is no markup: names may hold brackets.

    A table that is too wide is folded into several (`tables.fitting`). `is_interactive`: a person watches, and a
    display can be drawn again in place.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        file = sys.stderr if stderr else sys.stdout
        watched = None if file.isatty() else False  # FORCE_COLOR asks for colour in a file, not for a moving bar
        super().__init__(file=file, force_interactive=watched, markup=False, emoji=False, highlight=False)
        if not stderr:  # standard error keeps its own width: what is drawn again in place must fit
            width = self.width if _has_width(file) else _FILE_WIDTH
            self.width = max(width, _LEAST_WIDTH)

    def print(self, *objects: Any, **options: Any) -> None:
        parts = [list(fitting(one, self)) if isinstance(one, Table) else [one] for one in objects]
        super().print(*(one for part in parts for one in part), **options)

    def render_str(self, text: str, **options: Any) -> Text:  # pyright: ignore[reportIncompatibleMethodOverride]
        # Before the layout: a character that is spelled out takes more room.
        return super().render_str(spelled(text, self.encoding), **options)


def say(text: str, file: TextIO | None = None, *, hang: int = 2) -> None:
    """A line of text. In a file it stays one line. On a terminal it is broken between words, never inside one, and what
    follows hangs by so many cells; a command to be typed next stays whole, so that it can be copied.
    """
    stream: TextIO = sys.stdout if file is None else file
    text = printable(text)
    if not _has_width(stream):
        print(text, file=stream)
        return
    width = max(rich.console.Console(file=stream).width, _LEAST_WIDTH)
    line, following, command = text.partition(_NEXT)
    if len(text) <= width or not following:
        line, following = text, ""
    print(fill(line, width, subsequent_indent=" " * hang, break_long_words=False, break_on_hyphens=False), file=stream)
    if following:
        print(f"{_NEXT.removeprefix('; ')}{command}", file=stream)


def _has_width(file: TextIO) -> bool:
    return file.isatty() or "COLUMNS" in os.environ
