"""What the log of a run says about how it was last started."""

import hashlib
from collections.abc import Collection, Iterator
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


def last_trackers(path: Path, known: Collection[str]) -> list[str]:
    """Those of the `known` trackers that the run was last mirrored to, by its log."""
    named = next((names for names in _started(path, "trackers") if isinstance(names, list)), [])
    return [name for name in dict.fromkeys(map(str, named)) if name in known]


def run_id(path: Path) -> str:
    """Eight hex digits that stay with a run when it goes on or is moved: of its log's first line, which has a time."""
    try:
        with (path / EVENTS).open("rb") as log:
            return hashlib.sha256(log.readline(1 << 16)).hexdigest()[:8]
    except OSError:
        return "0" * 8


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
