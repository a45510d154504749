"""A sweep's folder, read: its runs and how far each has come, and the points that they make over seeds.

sweep.json and the runs are anybody's: names are checked where they are read, and no run is looked for outside.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from analysis.aggregation.gap import Gap
from analysis.aggregation.points import Point
from analysis.aggregation.summary import DEFAULT, Summary, summaries
from analysis.runs.run import Run, open_run
from analysis.sweeps.arms import Placed, placed
from analysis.sweeps.kept import with_kept
from coupled.config import Arm
from coupled.errors import UserError, printable
from coupled.store import canonical_json
from coupled.store.manifest import MANIFEST, RUN_JSON
from coupled.store.objects import object_path
from coupled.sweeps.fields import OF_ARMS
from coupled.sweeps.folder import SWEEP_JSON, Entry, read

SEED: Final = "seed"
CLASS_AXES: Final = ("classes", "data.classes", "labelling", "data.labelling")  # along which the number of classes goes
_LARGEST: Final = 1 << 53  # of a number on an axis


@dataclass(frozen=True, eq=False)
class Member:
    """A run of the sweep: its line of sweep.json, where it lies, and the run itself; None where it has not begun."""

    entry: Entry
    path: Path
    run: Run | None
    summary: Summary | None = None

    @property
    def is_finished(self) -> bool:
        return self.run is not None and self.run.finished

    @property
    def seed(self) -> int | None:
        """That of its config; of a run that has not begun what sweep.json says, None where it says nothing."""
        if self.run is not None:
            return self.run.config.seed
        seed = self.entry.values.get(SEED, [None])[0]
        return seed if type(seed) is int else None

    @property
    def state(self) -> str:
        """ "finished", "30 of 100 steps" or "not begun"."""
        if self.run is None:
            return "not begun"
        steps = self.run.planned_steps
        return "finished" if self.run.finished else f"{self.run.steps or 0:,} of {steps:,} steps"


@dataclass(frozen=True, eq=False)
class SweptPoint:
    """The runs of a sweep that differ in the seed alone: one value, or several that make the same run, of every axis.

    `values`: by axis, those of runs but for the seed.
    """

    name: str
    values: Mapping[str, Sequence[Any]]
    members: tuple[Member, ...]

    @cached_property
    def begun(self) -> Point:
        """The runs that have begun, to be joined over seeds."""
        return Point(self.name, tuple(m.summary for m in self.members if m.summary is not None))

    @cached_property
    def whole(self) -> list[Summary]:
        """The finished runs; all that have begun where none is finished."""
        finished = [m.summary for m in self.members if m.summary is not None and m.is_finished]
        return finished or list(self.begun.runs)

    @cached_property
    def not_begun(self) -> dict[int, Gap]:
        """By seed, why there is no number of a run; below 0 where sweep.json does not say which seed it has."""
        waiting = [member for member in self.members if member.run is None]
        return {
            -1 - i if member.seed is None else member.seed: Gap(f"{printable(member.entry.name)} has not begun")
            for i, member in enumerate(waiting)
        }

    @cached_property
    def arms(self) -> dict[str, Arm]:
        """The arms of its runs, in the config's order; none before one of them has begun."""
        return next((member.run.arms for member in self.members if member.run is not None), {})

    @property
    def run(self) -> Run | None:
        """One of its runs, where the seed does not matter."""
        return next((member.run for member in self.members if member.run is not None), None)


@dataclass(frozen=True, eq=False)
class Swept:
    """A sweep as it is now. `axes`: by name, the values of runs, but for the seed; `arm_axes`: those of arms."""

    path: Path
    axes: Mapping[str, Sequence[Any]]
    arm_axes: Mapping[str, Sequence[Any]]
    points: tuple[SweptPoint, ...]

    @property
    def name(self) -> str:
        return printable(self.path.resolve().name)

    @property
    def members(self) -> list[Member]:
        return [member for point in self.points for member in point.members]

    @cached_property
    def arms(self) -> dict[str, Arm]:
        """Every arm of any run, in the order of the first that has it."""
        arms: dict[str, Arm] = {}
        for point in self.points:
            arms = arms | {name: spec for name, spec in point.arms.items() if name not in arms}
        return arms

    @cached_property
    def placed(self) -> dict[str, Placed]:
        """By arm, which arm it is a copy of and for which values of arm axes."""
        return placed(self.arms, self.arm_axes)

    @property
    def shown_arms(self) -> list[str]:
        """The arms in the order of menus: those that a reader looks at first, then controls and what all start from."""
        first = next(iter(self.placed.values())).family
        return sorted(self.arms, key=lambda arm: (self.arms[arm].kind != "objective", self.placed[arm].family == first))

    @property
    def has_classes(self) -> bool:
        """Does the number of classes go along an axis?"""
        return any(axis in CLASS_AXES for axis in (*self.axes, *self.arm_axes))


def is_sweep(path: Path) -> bool:
    """Is this the folder of a sweep?"""
    return (path / SWEEP_JSON).is_file()


def open_sweep(path: Path, progress: Callable[[int, int], None] | None = None) -> Swept:
    """The sweep in a folder; summaries of its runs are made where none are kept, and `progress` is told.

    Raises UserError where nothing of it has begun, or a run is another than sweep.json lists; StoreError for damage.
    """
    members = [_member(path, entry) for entry in read(path)]
    begun = [member for member in members if member.run is not None]
    if not begun:
        raise UserError(f"{path} has no run that has begun", "a report is of at least one", "coupled-run sweep trains")
    varied = _varied(members)
    arm_axes = {axis: values for axis, values in varied.items() if _is_of_arms(axis, values, members)}
    axes = {axis: values for axis, values in varied.items() if axis not in arm_axes and axis != SEED}
    has_classes = any(axis in CLASS_AXES for axis in varied)
    # Every batch of a run is compared only where a map of them is drawn.
    quantities = (*DEFAULT, "batch_cka") if has_classes else DEFAULT
    made = dict(zip(begun, summaries([m.path for m in begun], quantities, progress), strict=True))
    kept = with_kept([(member.run, made[member]) for member in begun if member.run is not None])
    of = dict(zip(begun, kept, strict=True))
    whole = [Member(m.entry, m.path, m.run, of.get(m)) for m in members]
    return Swept(path, axes, arm_axes, _points(whole, axes))


def _member(path: Path, entry: Entry) -> Member:
    where = object_path(path, entry.name)
    if not (where / RUN_JSON).is_file() or not (where / MANIFEST).is_file():
        return Member(entry, where, None)
    run = open_run(where)
    if run.facts.get("config_digest") != entry.digest:
        said = f"{SWEEP_JSON} lists {entry.digest[:12]}…, its config has {str(run.facts.get('config_digest'))[:12]}…"
        raise UserError(f"{where} is another run than the sweep's", said, "coupled-run sweep says how to go on")
    return Member(entry, where, run)


def _varied(members: Sequence[Member]) -> dict[str, list[Any]]:
    """The axes with more than one value, or with one that not all runs have, and the values of each in the order in
    which they come.
    """
    values: dict[str, dict[bytes, Any]] = {}
    for member in members:
        for axis, of_axis in member.entry.values.items():
            values.setdefault(axis, {}).update((key(value), value) for value in of_axis)
    return {
        axis: list(by_key.values())
        for axis, by_key in values.items()
        if len(by_key) > 1 or any(axis not in member.entry.values for member in members)
    }


def _is_of_arms(axis: str, values: Sequence[Any], members: Sequence[Member]) -> bool:
    """Is it an axis of arms: one by its name, of which every run has all values?"""
    named = axis in OF_ARMS or axis.startswith("arms.")
    return named and all(len(member.entry.values.get(axis, ())) == len(values) for member in members)


def _points(members: Sequence[Member], axes: Mapping[str, Sequence[Any]]) -> tuple[SweptPoint, ...]:
    groups: dict[bytes, list[Member]] = {}
    for member in members:
        groups.setdefault(key([member.entry.values.get(axis) for axis in axes]), []).append(member)
    points = []
    for group in groups.values():
        values = {axis: group[0].entry.values[axis] for axis in axes if axis in group[0].entry.values}
        seeds = [member.seed for member in group if member.seed is not None]
        if len(set(seeds)) < len(seeds):
            both = f"{group[0].path.parent} has two runs of one seed and equal values of its axes"
            raise UserError(both, "every point has each seed once", "its sweep.json is not one that was written here")
        points.append(SweptPoint(_named(values), values, tuple(group)))
    return tuple(points)


def _named(values: Mapping[str, Sequence[Any]]) -> str:
    return ", ".join(f"{axis} = {' or '.join(map(shown, of_axis))}" for axis, of_axis in values.items())


def key(value: Any) -> bytes:
    """What tells values apart: 1 and 1.0 too. Numbers that JSON cannot hold are told by their names."""
    try:
        return canonical_json(value)
    except (ValueError, TypeError):
        return repr(value).encode(errors="backslashreplace")


def shown(value: Any) -> str:
    """A value of an axis in words, at most 60 characters."""
    words = value if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)
    words = printable(words)
    return words if len(words) <= 60 else f"{words[:59]}…"


def number(value: Any) -> float | None:
    """The value as a number on an axis; None for what is none."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST
    return float(value) if is_number and math.isfinite(value) else None
