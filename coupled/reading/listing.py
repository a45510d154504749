"""The runs below a folder: what each is, how far it has come, and how it differs from its config file."""

import fcntl
import os
import re
import socket
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from coupled.config import Config, load, resolved
from coupled.config.differences import fields_of
from coupled.config.identity import kind_of
from coupled.config.shipped import FOLDER
from coupled.errors import UserError
from coupled.reading.run_json import read_run
from coupled.store import Manifest, StoreError
from coupled.store.lock import LOCK, holder
from coupled.store.manifest import MANIFEST
from coupled.store.rundir import PREEMPT, RUN_JSON
from coupled.terminal.sizes import shown_bytes

# The heads of `cells`.
COLUMNS: Final = ("run", "what differs from its config", "steps", "state", "on disk", "last written")
_DEPTH: Final = 3  # of runs below the folder: runs/<sweep>/<run>, and one more
_SUFFIX: Final = re.compile(r"-[0-9a-f]{8}$")  # of a run whose config was overridden


@dataclass(frozen=True)
class ListedRun:
    """`differs`: the fields that are not as in the config file that the run is called after, such as ("seed = 1",);
    None where no such file, and no run without overrides, was found. `done`: updates that are committed or saved, of
    `planned`. `state`: finished, running, stopped (it goes on from a saved state), unfinished, or what is wrong.
    `size`: bytes of all its files. `last`: when it was last written, in seconds since 1970.
    """

    path: Path
    name: str
    differs: tuple[str, ...] | None
    done: int | None
    planned: int | None
    state: str
    size: int
    last: float


def list_runs(folder: str | Path = "runs", configs: str | Path = "configs") -> list[ListedRun]:
    """The runs below a folder in the order of their names; nothing is written. `configs`: where config files lie,
    beside those that ship.

    Raises UserError where there is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"no folder {folder}", "a folder that holds run directories is needed")
    opened = [(path, _opened(path)) for path in sorted(_found(folder))]
    named = {path.name: of[0] for path, of in opened if not isinstance(of, str)}
    bases = _Bases(named, Path(configs))
    return [_listed(folder, path, of, bases) for path, of in opened]


def in_words(runs: Sequence[ListedRun], folder: Path) -> str:
    """How many runs are listed of a folder, and how many are finished."""
    if len(runs) == 1:
        return f"1 run in {folder}, {runs[0].state}"
    return f"{len(runs)} runs in {folder}, {sum(run.state == 'finished' for run in runs)} of them finished"


def _opened(path: Path) -> tuple[Config, Manifest] | str:
    """What a run is, or what is wrong with it."""
    try:
        _, config, manifest = read_run(path)
    except (UserError, StoreError) as error:
        return str(error)
    return config, manifest


def _found(folder: Path) -> Iterator[Path]:
    """Run directories, each once; inside of one no other is looked for. Links are followed last, so that a run has the
    name of its own folder where that is here too.
    """
    seen, links = dict[tuple[int, int], int](), [(folder, _DEPTH)]
    for link, depth in links:  # which grows
        yield from _below(link, depth, seen, links)


def _below(folder: Path, depth: int, seen: dict[tuple[int, int], int], links: list[tuple[Path, int]]) -> Iterator[Path]:
    """`seen`: how deep was looked below a folder, by its device and number. `links` takes those that are met."""
    try:
        status = folder.stat()
        place = (status.st_dev, status.st_ino)
        if seen.get(place, -1) >= depth:
            return
        is_run = any((folder / name).is_file() for name in (RUN_JSON, MANIFEST))
        entries = sorted(entry for entry in folder.iterdir() if entry.is_dir()) if depth and not is_run else []
    except OSError:
        yield folder  # it may be a run: it is listed with what is wrong
        return
    if is_run and place not in seen:
        yield folder
    seen[place] = _DEPTH if is_run else depth
    for entry in entries:
        if entry.is_symlink():
            links.append((entry, depth - 1))
        else:
            yield from _below(entry, depth - 1, seen, links)


def _listed(folder: Path, path: Path, of: tuple[Config, Manifest] | str, bases: "_Bases") -> ListedRun:
    name = "." if path == folder else str(path.relative_to(folder))
    size, last = _size_and_time(path)
    if isinstance(of, str):
        return ListedRun(path, name, None, None, None, of, size, last)
    config, manifest = of
    saved = _preempted(path)
    done = max([saved or 0, *(entry.last for entry in manifest.entries if entry.kind in ("shard", "finish"))])
    state = "finished" if manifest.finished else _unfinished(path, saved)
    differs = bases.differences(path.name, config)
    return ListedRun(path, name, differs, done, config.train.steps, state, size, last)


def _unfinished(path: Path, saved: int | None) -> str:
    owner = holder(path / LOCK)
    if owner is not None and owner[0] != socket.gethostname():
        return f"unfinished, last by process {owner[1]} on {owner[0]}"
    if owner is not None and _is_held(path / LOCK):
        return f"running, process {owner[1]}"
    return "unfinished" if saved is None else "stopped"


def _is_held(path: Path) -> bool:
    """Does a process hold this lock? It is tried, shared and for a moment, which whoever wants it waits for."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # a file system without locks
    finally:
        os.close(descriptor)
    return False


def _preempted(path: Path) -> int | None:
    """The step of the state in preempt/, by its folder's name; None where there is none."""
    steps = []
    with suppress(OSError):
        for folder in (path / PREEMPT).iterdir():
            digits = folder.name.removeprefix("step-")
            if digits.isdecimal() and (folder / "state.json").is_file():
                steps.append(int(digits))
    return max(steps, default=None)


def _size_and_time(path: Path) -> tuple[int, float]:
    size, last = 0, 0.0
    for place, _, files in os.walk(path):
        for file in files:
            with suppress(OSError):
                status = os.lstat(os.path.join(place, file))  # noqa: PTH118 — thousands of them
                if stat.S_ISREG(status.st_mode):
                    size += status.st_size
                    if "analysis" not in Path(place).relative_to(path).parts[:1]:
                        last = max(last, status.st_mtime)
    return size, last or path.lstat().st_mtime


class _Bases:
    """What runs are called after: a config file below `configs`, a shipped config, or the run of that name without
    overrides.
    """

    def __init__(self, runs: Mapping[str, Config], configs: Path) -> None:
        own = sorted(configs.rglob("*.toml"), reverse=True)
        self._runs, self._files = runs, {path.stem: path for path in (*FOLDER.glob("*.toml"), *own)}
        self._configs: dict[str, Config | None] = {}

    def differences(self, name: str, config: Config) -> tuple[str, ...] | None:
        """The fields of a run of that name that are not as its base has them; None where it has none."""
        base = _SUFFIX.sub("", name)
        if base not in self._configs:
            self._configs[base] = self._of_file(base)
        reference = self._configs[base] or (self._runs.get(base) if base != name else None)
        if reference is None:
            return None
        own, other = _fields(config), _fields(reference)
        names = [field for field in dict.fromkeys([*own, *other]) if own.get(field) != other.get(field)]
        return tuple(f"{field} = {_shown(own.get(field))}" for field in names if kind_of(field) != "elastic")

    def _of_file(self, base: str) -> Config | None:
        with suppress(UserError):
            return load(self._files[base]) if base in self._files else None
        return None


def _fields(config: Config) -> dict[str, Any]:
    """By dotted names; without the end of the schedule where it is that of the run, which has been said then."""
    fields = dict(fields_of(resolved(config)))
    if fields.get("optimiser.horizon") == config.train.steps:
        del fields["optimiser.horizon"]
    return fields


def _shown(value: Any) -> str:
    return "absent" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def differing(run: ListedRun, most: int = 3) -> str:
    """The differences in one line, the first `most` of them."""
    if not run.differs:
        return "" if run.differs is None else "as its file"
    more: Sequence[str] = run.differs[most:]
    return ", ".join(run.differs[:most]) + (f" and {len(more)} more" if more else "")


def cells(run: ListedRun) -> tuple[str, ...]:
    """A run as a row of a table, in the order of `COLUMNS`; the time is local."""
    steps = "–" if run.done is None else f"{run.done:,} of {run.planned:,}"
    when = datetime.fromtimestamp(run.last).strftime("%Y-%m-%d %H:%M")
    return run.name, differing(run), steps, run.state, shown_bytes(run.size), when
