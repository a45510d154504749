"""From a sweep's file to its points. Every config is resolved and checked here, before anything starts."""

import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, Final

from coupled.config import Config, digest, from_tables
from coupled.config.build import build
from coupled.config.schema import Written
from coupled.errors import UserError
from coupled.store.canonical import digest as canonical_digest
from coupled.store.lock import SweepLock
from coupled.sweeps.arms import expand
from coupled.sweeps.fields import NAMED, put, section
from coupled.sweeps.file import File, Row, overridden, read
from coupled.sweeps.folder import MOST_COMBINATIONS, MOST_POINTS, SWEEP_JSON
from coupled.sweeps.named import settle
from coupled.sweeps.naming import labels, part
from coupled.sweeps.points import Point, Sweep

_TAKEN: Final = ("analysis", SWEEP_JSON, SweepLock.name)
_ONLY: Final = "run"  # the name of the one run of a sweep over arms


def load(path: str | Path, overrides: Sequence[str] = ()) -> Sweep:
    """The sweep of a file, with overrides such as "train.steps=20" of what it sets for all points.

    Where overrides change what is trained, `-<digest8>` is appended to the sweep's name, so that its folder is its own;
    unless they name it. Raises UserError.
    """
    file = read(Path(path))
    if not overrides:
        return _sweep(file)
    changed = overridden(file, overrides)
    named = any(override.partition("=")[0].strip() == "name" for override in overrides)
    sweep = _sweep(changed)
    if named or _digest(sweep) == _digest_without(file):
        return sweep
    return _sweep(changed, f"{changed.name}-{_digest(sweep)[:8]}")


def _digest_without(file: File) -> str | None:
    """The digest of the sweep without overrides; None where only they make it one."""
    try:
        return _digest(_sweep(file))
    except UserError:
        return None


def _digest(sweep: Sweep) -> str:
    """What is trained, whatever its names."""
    return canonical_digest([digest(point.config) for point in sweep.points])


@dataclass(frozen=True)
class _Candidate:
    """A row of the list with one value of every axis, and the config that they make."""

    row: int
    values: Mapping[str, Any]
    name: str
    config: Config


def _sweep(file: File, name: str = "") -> Sweep:
    paths = {**section(file.base, "paths")}
    if "paths.runs" in file.fixed:
        paths["runs"] = file.fixed["paths.runs"]
    runs = build(Written, {"paths": paths}).paths.runs
    name = name or file.name
    return Sweep(name, runs, _points(file, str(Path(runs) / name)), file.jobs, file.slurm)


def _points(file: File, folder: str) -> tuple[Point, ...]:
    nameless = (row for row in file.rows if not row.name)
    short = labels([*dict.fromkeys(key for row in nameless for key in row.values), *file.run_axes])
    same: dict[str, list[_Candidate]] = {}
    for number, row in enumerate(file.rows):
        for combination in product(*file.run_axes.values()):
            values = dict(zip(file.run_axes, combination, strict=True))
            name = _name(file, row, {axis: (value,) for axis, value in values.items()}, short)
            config = _config(file, {**row.values, **values}, name, folder)
            same.setdefault(digest(config), []).append(_Candidate(number, values, name, config))
    points: dict[str, Point] = {}
    for candidates in same.values():
        point = _merged(file, candidates, short)
        if point.name in points:
            do = "give points a name" if file.rows[0].values else "write the values so that letters and digits differ"
            raise UserError(f"two points are called {point.name}", "names are made of values", do)
        if point.name in _TAKEN:
            raise UserError(
                f"a point is called {point.name}", "the sweep's folder has that of its own", "give it a name"
            )
        if (stands_for := math.prod(map(len, point.values.values()))) > MOST_COMBINATIONS:
            raise UserError(f"point {point.name} stands for {stands_for:,} values", f"at most {MOST_COMBINATIONS:,}")
        points[point.name] = point
    if len(points) > MOST_POINTS:
        raise UserError(f"{len(points):,} points", f"a sweep has at most {MOST_POINTS:,}", "make several of it")
    return tuple(points.values())


def _merged(file: File, candidates: Sequence[_Candidate], short: Mapping[str, str]) -> Point:
    """The point of all candidates that are the same run."""
    first = candidates[0]
    values = {axis: _each([candidate.values[axis] for candidate in candidates]) for axis in file.run_axes}
    # Where it is no product of values, they would not tell which of them make this run.
    if any(other.row != first.row for other in candidates) or len(candidates) != math.prod(map(len, values.values())):
        other = next((each for each in candidates if each.row != first.row), candidates[-1])
        is_said = f"are the same run (digest {digest(first.config)[:8]})"
        raise UserError(
            f"points {first.name} and {other.name} {is_said}", "every point is a run of its own", "drop one"
        )
    row = file.rows[first.row]
    name = _name(file, row, values, short)
    of_row = {key: (value,) for key, value in row.values.items()}
    of_arms = {axis: tuple(each) for axis, each in file.arm_axes.items()}
    return Point(name, replace(first.config, name=name), {**of_row, **values, **of_arms})


def _each(values: Sequence[Any]) -> tuple[Any, ...]:
    """The different ones, in their order. They may be lists."""
    return tuple(value for i, value in enumerate(values) if value not in values[:i])


def _name(file: File, row: Row, values: Mapping[str, Sequence[Any]], short: Mapping[str, str]) -> str:
    """The row's name or values, and those of every axis that are not all of the axis."""
    parts = [row.name] if row.name else [part(short[key], [value]) for key, value in row.values.items()]
    for axis, chosen in values.items():
        if len(chosen) == 1 or len(chosen) < len(file.run_axes[axis]):
            parts.append(part(short[axis], chosen))
    return "-".join(parts) or _ONLY


def _refuse_auto(raw: Mapping[str, Any]) -> None:
    """A sweep is the same runs on every machine; what `auto` is depends on the machine."""
    train = raw.get("train")
    if isinstance(train, dict) and train.get("device") == "auto":
        raise UserError(
            "train.device = auto", "cpu or cuda: a sweep plans the same runs everywhere", "set train.device"
        )


def _config(file: File, values: Mapping[str, Any], name: str, folder: str) -> Config:
    """The resolved config of a point; `folder` is the sweep's."""
    assigned = {**file.fixed, **values}
    try:
        raw = deepcopy(dict(file.base))
        for key, value in assigned.items():
            if key not in NAMED:
                put(raw, key, value)
        settle(raw, {key: value for key, value in assigned.items() if key in NAMED})
        raw["name"] = name
        put(raw, "paths.runs", folder)
        _refuse_auto(raw)
        if file.arm_axes:
            build(Written, raw)  # what an arm names is a name
            raw["arms"] = expand(raw.get("arms", {}), file.arm_axes)
        return from_tables(raw)
    except UserError as error:
        raise UserError(f"point {name}: {error}", "") from None
