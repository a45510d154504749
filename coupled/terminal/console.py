"""Tables and progress on the standard streams."""

import os
import sys
from typing import Any, Final

import rich.console
from rich.text import Text

from coupled.terminal.streams import spelled

_LEAST_WIDTH: Final = 80  # columns that a table of numbers needs
_FILE_WIDTH: Final = 140  # a file has room


class Console(rich.console.Console):
    """Shows text as it is, in characters that the stream's encoding has. There is no markup: names may hold brackets.

    A table that is too wide is wrapped; rich would cut digits off. `is_interactive`: a person watches, and a display
    can be drawn again in place.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        file = sys.stderr if stderr else sys.stdout
        watched = None if file.isatty() else False  # FORCE_COLOR asks for colour in a file, not for a moving bar
        super().__init__(file=file, force_interactive=watched, markup=False, emoji=False, highlight=False)
        if not stderr:  # standard error keeps its own width: what is drawn again in place must fit
            width = self.width if file.isatty() or "COLUMNS" in os.environ else _FILE_WIDTH
            self.width = max(width, _LEAST_WIDTH)

    def render_str(self, text: str, **options: Any) -> Text:  # pyright: ignore[reportIncompatibleMethodOverride]
        # Before the layout: a character that is spelled out takes more room.
        return super().render_str(spelled(text, self.encoding), **options)
