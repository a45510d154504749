"""A sweep's folder: `sweep.json`, which says what the points are, and the lock of the process that trains them.

Loads nothing that trains or writes runs: who reads a sweep imports this.
"""

import math
import os
import re
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from coupled.config import digest
from coupled.errors import UserError
from coupled.store import canonical_json
from coupled.store.canonical import strict_json
from coupled.store.errors import StoreError, naming, one_line
from coupled.store.fs import REAL, FileSystem
from coupled.store.lock import SweepLock, holder
from coupled.store.manifest import RUN_JSON
from coupled.store.objects import TEMPORARY, check_name
from coupled.sweeps.points import Sweep

SWEEP_JSON: Final = "sweep.json"
_LONGEST: Final = 64 << 20  # bytes of sweep.json
_SCHEMA: Final = 1
MOST_POINTS: Final = 10_000
MOST_COMBINATIONS: Final = 10_000  # of the values that one point stands for
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_SHOWN: Final = 4  # points that one message names
_PATIENCE_S: Final = 60.0  # for the workers of a sweep that was killed: they stop after their step


@dataclass(frozen=True)
class Entry:
    """A point as sweep.json has it: the name of its run directory, the digest of its config (64 hex digits), and the
    values of the axes that make it, by the axes' names.
    """

    name: str
    digest: str
    values: dict[str, list[Any]]


def path_of(sweep: Sweep) -> Path:
    """The folder of a sweep."""
    return Path(sweep.runs) / sweep.name


def entries_of(sweep: Sweep) -> list[Entry]:
    """The points of a sweep as sweep.json has them, in the order of the sweep."""
    return [
        Entry(point.name, digest(point.config), {axis: list(values) for axis, values in point.values.items()})
        for point in sweep.points
    ]


def read(path: Path, fs: FileSystem = REAL) -> list[Entry]:
    """The points of the sweep in this folder. Raises StoreError where sweep.json is missing or damaged, and for a point
    whose name could lead out of the folder.
    """
    with naming(path / SWEEP_JSON):
        data = fs.read(path / SWEEP_JSON, _LONGEST)
    try:
        return _entries(strict_json(data))
    except (ValueError, TypeError, KeyError) as error:
        raise StoreError(path / SWEEP_JSON, f"not the sweep.json of a sweep: {error!r}") from None


def refuse_others(sweep: Sweep, fs: FileSystem = REAL) -> None:
    """UserError where the folder holds something else than this sweep: a run, other files, or a sweep with a point that
    is not in this one, or is in it with another config. A sweep may get more points, at any place of its list.
    """
    path = path_of(sweep)
    with naming(path):
        there = fs.status(path) is not None
        names = fs.names(path) if path.is_dir() else []
    if SWEEP_JSON not in names:
        if set(names) - {SweepLock.name, SWEEP_JSON + TEMPORARY} or (there and not path.is_dir()):
            kind = "is a run" if RUN_JSON in names else "is there but is not a sweep"
            raise UserError(f"{path} {kind}", "a sweep is made in a new or empty folder", "give it another name")
        return
    mine = {entry.name: entry.digest for entry in entries_of(sweep)}
    before = read(path, fs)
    changed = [
        f"{entry.name} is {entry.digest[:12]}… there and {mine[entry.name][:12]}… here"
        for entry in before
        if mine.get(entry.name, entry.digest) != entry.digest
    ]
    gone = [f"{entry.name} is there and not here" for entry in before if entry.name not in mine]
    if changed or gone:
        raise UserError(
            one_line(f"{path} holds other points: {_some([*changed, *gone])}"),
            "points may be added to a sweep, none changed or left out",
            "give the sweep another name, or have its file say what it said",
        )


def write(sweep: Sweep, fs: FileSystem = REAL) -> None:
    """Makes sweep.json that of this sweep: all of it, or what was there, whenever this is killed. The folder exists."""
    final = path_of(sweep) / SWEEP_JSON
    temporary = final.with_name(SWEEP_JSON + TEMPORARY)
    points = [{"digest": e.digest, "name": e.name, "values": e.values} for e in entries_of(sweep)]
    data = canonical_json({"name": sweep.name, "points": points, "schema": _SCHEMA}) + b"\n"
    with naming(final):
        fs.unlink(temporary)
        if fs.status(final) is not None and fs.read(final, _LONGEST) == data:
            return
        fs.write_new(temporary, (data,))
        fs.replace(temporary, final)
        fs.sync_directory(final.parent)


def locked(path: Path) -> SweepLock:
    """The lock of the sweep in this folder, which exists. UserError while another process trains it.

    Workers hold the lock as well: where the process that started them was killed, this waits until they have stopped.
    """
    ends = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return SweepLock(path)
        except UserError:
            if time.monotonic() > ends or not _is_gone(holder(path / SweepLock.name)):
                raise
        time.sleep(0.1)


def _is_gone(owner: tuple[str, int] | None) -> bool:
    """Is this a process of this machine that has ended?"""
    if owner is None or owner[0] != socket.gethostname():
        return False
    try:
        os.kill(owner[1], 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    return False


def _entries(content: Any) -> list[Entry]:
    if content["schema"] != _SCHEMA:
        raise ValueError(f"its schema is another than {_SCHEMA}")
    if not isinstance(content["points"], list) or len(content["points"]) > MOST_POINTS:
        raise ValueError(f"a list of at most {MOST_POINTS} points is needed")
    entries = [_entry(point) for point in content["points"]]
    if len({entry.name for entry in entries}) < len(entries):
        raise ValueError("a name twice")
    return entries


def _entry(point: Any) -> Entry:
    name, its_digest, values = point["name"], point["digest"], point["values"]
    if not isinstance(name, str) or not isinstance(its_digest, str) or not isinstance(values, dict):
        raise ValueError("a point needs a name, a digest and values")
    if not _DIGEST.fullmatch(its_digest):
        raise ValueError("a digest is 64 hex digits")
    if not all(isinstance(of_axis, list) and of_axis for of_axis in values.values()):
        raise ValueError("the values of an axis are a list of one or more")
    if math.prod(map(len, values.values())) > MOST_COMBINATIONS:
        raise ValueError(f"a point stands for at most {MOST_COMBINATIONS} combinations of values")
    try:
        check_name(name)
    except StoreError as error:
        raise ValueError(str(error)) from None
    if "/" in name:
        raise ValueError(f"{name} is no name of a folder in the sweep's")
    return Entry(name, its_digest, values)


def _some(texts: Sequence[str]) -> str:
    more = len(texts) - _SHOWN
    return "; ".join(texts[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")
