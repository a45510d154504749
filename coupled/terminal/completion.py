"""Completion in shells, by argcomplete (extra `completion`)."""

import os
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec

from coupled.terminal.entry import Parser


def complete(parser: Callable[[], Parser]) -> None:
    """Where a shell asks how the line goes on: answers and ends the process. Else, or without argcomplete, nothing."""
    if "_ARGCOMPLETE" in os.environ and find_spec("argcomplete") is not None:
        whole = parser()
        # argcomplete looks at parsers before they are given arguments.
        for word in os.environ.get("COMP_LINE", "").split()[1:2]:
            if word in whole.commands:
                whole.commands[word].fill()
        import_module("argcomplete").autocomplete(whole)
