"""A sweep's folder as claims see it: its runs, which values of the axes each stands for, and how far each is."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from analysis.aggregation.gap import Gap
from analysis.aggregation.matching import Array, Steps
from analysis.aggregation.summary import Summary, summaries
from analysis.claims.evaluated import Evaluated
from analysis.claims.roles import having
from analysis.claims.rules import EVALUATED
from analysis.runs.run import Run, open_run
from coupled.config.differences import fields_of
from coupled.config.fields import Schedule
from coupled.errors import UserError, printable
from coupled.store.manifest import RUN_JSON
from coupled.store.objects import object_path
from coupled.sweeps.fields import target
from coupled.sweeps.folder import SWEEP_JSON, Entry
from coupled.sweeps.folder import read as read_entries
from coupled.terminal.counting import Progress

# What claims call an axis, by the config field that it sets. Others keep the field's name.
AXES: Final[Mapping[str, str]] = {
    "data.classes": "classes",
    "batches.size": "batch_size",
    "optimiser.scaling": "lr_rule",
    "data.imbalance": "imbalance",
}
SEED: Final = "seed"


@dataclass(frozen=True, eq=False)
class SweepRun:
    """A run of a sweep. `values`: of the axes, by the names that claims have for them, several where they make the same
    run. `summary` is None where the run has not begun, which `lacks` says. `progress` is told how far evaluation is.
    """

    name: str
    path: Path
    values: Mapping[str, tuple[Any, ...]]
    summary: Summary | None
    lacks: str = ""
    progress: Progress | None = None
    _fields: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    @property
    def seed(self) -> int | None:
        """None where it is not known: the run has not begun, and the seed is no axis."""
        return self.summary.seed if self.summary is not None else next(iter(self.values.get(SEED, ())), None)

    @property
    def arms(self) -> dict[str, dict[str, Any]]:
        """The arms as the resolved config has them, in its order; none where the run has not begun."""
        tables = [] if self.summary is None else self.summary.about["config"]["arms"]
        return {table["name"]: table for table in tables}

    def series(self, quantity: str, arm: str) -> tuple[Steps, Array] | Gap:
        """Steps and values of a measure of an arm, or why there are none."""
        if self.summary is None:
            return Gap(f"{self.name}: {self.lacks}")
        return (self.evaluated if quantity in EVALUATED else self.summary).series(quantity, arm)

    def keeps(self) -> list[int]:
        """The steps of which a checkpoint is kept, once the run is finished."""
        assert self.summary is not None
        config = self.summary.about["config"]
        keep = config["checkpoints"]["keep"]
        return Schedule(**{**keep, "steps": tuple(keep["steps"])}).upto(config["train"]["steps"])

    @cached_property
    def evaluated(self) -> Evaluated:
        """What is measured at its checkpoints. Made when it is first asked for."""
        roles = dict.fromkeys(arm for role in ("cl", "nscl") for arm in having(self.arms, role))
        return Evaluated(self.opened, tuple(roles), self.progress)

    @cached_property
    def opened(self) -> Run:
        """The run, for what its summary does not hold."""
        return open_run(self.path)

    def has(self, axis: str, value: Any) -> bool:
        """Does the run stand for this value of an axis?"""
        if axis in self.values:
            return value in self.values[axis]
        return value == self.setting(axis)

    def setting(self, axis: str) -> Any:
        """The value of an axis, or of a field of the config; None where it is left out or the run has not begun."""
        if self.summary is not None and not self._fields:
            self._fields.update(fields_of(self.summary.about["config"]))
        return self._fields.get(next((name for name, called in AXES.items() if called == axis), axis))


@dataclass(frozen=True, eq=False)
class Sweep:
    """The runs of one sweep, in the order of sweep.json. Its name is the last `parts` of its path."""

    path: Path
    runs: tuple[SweepRun, ...]
    parts: int = 1

    @property
    def name(self) -> str:
        return _name(self.path, self.parts)


def read(paths: Iterable[str | Path], progress: Progress | None = None) -> list[Sweep]:
    """The sweeps of these folders, each run summarised. `progress(work, done, all)` is told how far long work is.

    Raises UserError for a folder that is no sweep, one that is given twice and a run that is not the sweep's;
    StoreError (exit code 3) for what is damaged.
    """
    folders = [Path(path) for path in paths]
    for at, folder in enumerate(folders):
        if not (folder / SWEEP_JSON).is_file():
            raise UserError(f"{folder} is not a sweep", f"a sweep's folder holds {SWEEP_JSON}", "coupled-run sweep")
        if folder.resolve() in [other.resolve() for other in folders[:at]]:
            raise UserError(f"{folder} is given twice", "every sweep once", "leave one out")
    entries = [(folder, entry, object_path(folder, entry.name)) for folder in folders for entry in read_entries(folder)]
    for folder in folders:
        if folder not in [of for of, _, _ in entries]:
            raise UserError(f"{folder / SWEEP_JSON} lists no points", "a sweep has at least one", "coupled-run sweep")
    begun = [path for _, _, path in entries if (path / RUN_JSON).is_file()]

    def summarised(done: int, total: int) -> None:
        if progress is not None:
            progress("summaries of runs", done, total)

    made = dict(zip(begun, summaries(begun, progress=summarised), strict=True))
    runs = [(folder, _run(entry, path, made.get(path), progress)) for folder, entry, path in entries]
    parts = parts_of(folders)
    return [
        Sweep(folder, tuple(run for of, run in runs if of == folder), many)
        for folder, many in zip(folders, parts, strict=True)
    ]


def parts_of(folders: Sequence[Path]) -> list[int]:
    """How many parts of each path tell it from the others; none is given twice."""
    whole = [folder.resolve().parts for folder in folders]

    def of(own: tuple[str, ...]) -> int:
        return next(k for k in range(1, len(own) + 1) if [each[-k:] for each in whole].count(own[-k:]) == 1)

    return [of(own) for own in whole]


def is_named(path: Path, name: str) -> bool:
    """Whether the sweep of this path may be called so, whatever it was given with."""
    return any(_name(path, parts) == name for parts in range(1, len(path.resolve().parts) + 1))


def _name(path: Path, parts: int) -> str:
    return printable("/".join(path.resolve().parts[-parts:]))


def _run(entry: Entry, path: Path, summary: Summary | None, progress: Progress | None) -> SweepRun:
    values = {AXES.get(target(axis), target(axis)): tuple(each) for axis, each in entry.values.items()}
    if summary is None:
        return SweepRun(entry.name, path, values, None, "it has not begun")
    if summary.about["digest"] != entry.digest:
        sides = f"{path} is {summary.about['digest'][:12]}…, {SWEEP_JSON} has {entry.digest[:12]}…"
        raise UserError(sides, "the runs of a sweep are those that it planned", "give the folder of the whole sweep")
    return SweepRun(entry.name, path, values, summary, progress=progress)
