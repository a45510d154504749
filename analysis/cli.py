# PYTHON_ARGCOMPLETE_OK: a shell that completes asks this module; torch is not loaded for that.
"""`coupled-analyze`: from run directories to tables, figures and reports."""

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from coupled.terminal.completion import complete
from coupled.terminal.entry import guarded


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit code (`coupled.terminal.entry.EXIT_CODES`)."""

    def body() -> int:
        # Loading torch and matplotlib takes seconds: Ctrl-C meanwhile is no traceback either.
        with _own_matplotlib():
            from analysis.commands import parser, run

            complete(parser)
            return run(arguments)

    return guarded("coupled-analyze", body)


@contextmanager
def _own_matplotlib() -> Iterator[None]:
    """Inside, matplotlib can be imported whatever MPLBACKEND names, and stays silent on settings that we do not follow.

    A notebook hands its MPLBACKEND down to the commands that it starts, and matplotlib refuses to be imported where
    that backend is not installed. A session that calls `main` keeps the backend that it asked for.
    """
    logger, backend = logging.getLogger("matplotlib"), os.environ.get("MPLBACKEND")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    if backend is not None and "matplotlib" not in sys.modules:
        del os.environ["MPLBACKEND"]
        try:
            import matplotlib
        finally:
            os.environ["MPLBACKEND"] = backend
        if backend:
            with suppress(ValueError):
                matplotlib.rcParams["backend"] = backend  # as matplotlib itself does last
    try:
        yield
    finally:
        logger.setLevel(level)
