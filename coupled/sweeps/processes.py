"""Starting another process with the very code that runs here, whatever lies in its working directory."""

import os
import sys
from pathlib import Path

import coupled


def command_of(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of ours."""
    return [sys.executable, "-P", "-m", module, *arguments]


def environment() -> dict[str, str]:
    """The environment that goes with it."""
    path = os.pathsep.join(filter(None, [str(Path(coupled.__path__[0]).parent), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path}
