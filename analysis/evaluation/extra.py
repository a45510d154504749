"""Libraries of the extra `evaluation`, imported when a command needs them and not before."""

import importlib
from types import ModuleType

from coupled.errors import UserError


def extra(module: str, library: str, needed_for: str, *, instead: str = "") -> ModuleType:
    """The module of a library; UserError where it is not installed. `instead`: what works without it."""
    try:
        return importlib.import_module(module)
    except ImportError:
        do = "pip install 'coupled[evaluation]'"
        do = f"{do}, or {instead}" if instead else do
        raise UserError(f"{needed_for} needs {library}", "it is not installed here", do) from None
