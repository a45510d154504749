"""What the log of a run says about how it was last started."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from coupled.store import (
    REAL,
)
from coupled.store.canonical import strict_json
from coupled.store.rundir import EVENTS

_LONGEST_LOG: Final = 64 << 20  # bytes


def last_data_path(path: Path) -> str:
    """Where the run's data lay when it was last started, by its log; "" where the log does not say."""
    return next((folder for folder in _started(path, "paths", "data") if isinstance(folder, str)), "")


def last_ranks(path: Path) -> tuple[int, int]:
    """How many ranks the run was last started with, for arms and for data, by its log; (1, 1) where it does not say."""
    arms, data = (
        next((count for count in _started(path, "ranks", axis) if type(count) is int and count > 0), 1)
        for axis in ("arms", "data")
    )
    return arms, data


def _started(path: Path, *keys: str) -> Iterator[Any]:
    """A value that the run's log has for its starts, the last one first."""
    try:
        lines = REAL.read(path / EVENTS, _LONGEST_LOG).splitlines()
    except OSError:
        return
    for line in reversed(lines):
        with suppress(ValueError, KeyError, TypeError):
            value = strict_json(line)
            for key in keys:
                value = value[key]
            yield value
