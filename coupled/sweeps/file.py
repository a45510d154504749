"""A sweep's file as it is written: a base, what is set, axes and points, each name and list checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from coupled.config.formats import with_reference
from coupled.config.identity import kind_of
from coupled.config.load import located_code, merge, read_tables, read_toml
from coupled.config.resolve import check_name
from coupled.config.shipped import located
from coupled.errors import UserError, unknown
from coupled.sweeps.fields import NAMED, OF_ARMS, flat, target
from coupled.sweeps.slurm import Slurm, slurm_of
from coupled.userfiles import expanded

_KEYS: Final = ("base", "arms", "name", "jobs", "slurm", "set", "axes", "points")


@dataclass(frozen=True)
class Row:
    """One of [[points]]: its name, "" where it has none, and what it sets, by names."""

    name: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class File:
    """`base`: tables of a config, with the arms that are kept. `fixed`: what is set for all points; `run_axes` and
    `arm_axes`: the values of each axis, by names (`fields.flat`). `rows`: [[points]], one that sets nothing where there
    are none.
    """

    name: str
    base: Mapping[str, Any]
    jobs: int | None
    slurm: Slurm | None
    fixed: Mapping[str, Any]
    run_axes: Mapping[str, Sequence[Any]]
    arm_axes: Mapping[str, Sequence[Any]]
    rows: tuple[Row, ...]


def read(path: Path) -> File:
    """The sweep's file. Raises UserError."""
    path = located(path)
    tables = read_toml(path, "sweep", "it names a base, and axes or points", "configs/sweeps/")
    for key in tables:
        if key not in _KEYS:
            raise unknown("key", key, _KEYS)
    axes = _axes(_table(tables, "axes"))
    of_arms = {name for name in axes if name in OF_ARMS or name.startswith("arms.")}
    file = File(
        name=_name(tables.get("name", path.stem)),
        base=_with_arms(_base(tables.get("base"), path), tables.get("arms")),
        jobs=_jobs(tables.get("jobs")),
        slurm=slurm_of(_table(tables, "slurm")) if "slurm" in tables else None,
        fixed=_fixed(_table(tables, "set"), path.parent),
        run_axes={name: values for name, values in axes.items() if name not in of_arms},
        arm_axes={name: values for name, values in axes.items() if name in of_arms},
        rows=_rows(tables.get("points"), bool(axes)),
    )
    _check_once(file)
    return file


def overridden(file: File, overrides: Sequence[str]) -> File:
    """The file with `--set` overrides of what it fixes, or of its name. Raises UserError, also for one of an axis."""
    tables: dict[str, Any] = {}
    for override in overrides:
        merge(tables, override)
    name = _name(tables.pop("name", file.name))
    fixed = flat(tables, "--set")
    targets = {target(each) for each in fixed}
    for varied in (*file.run_axes, *file.arm_axes, *(each for row in file.rows for each in row.values)):
        if target(varied) in targets:
            raise UserError(f"--set {target(varied)}", f"the sweep varies it ({varied})", "change the sweep's file")
    kept = {each: value for each, value in file.fixed.items() if target(each) not in targets}
    changed = replace(file, name=name, fixed={**kept, **fixed})
    _check_once(changed)
    return changed


def _table(tables: Mapping[str, Any], key: str) -> dict[str, Any]:
    table = tables.get(key, {})
    if not isinstance(table, dict):
        raise UserError(f"{key} = {table!a}", f"a table is needed: [{key}]")
    return table


def _name(name: Any) -> str:
    if not isinstance(name, str):
        raise UserError(f"name = {name!a}", "a string is needed")
    check_name(name)
    return name


def _base(base: Any, path: Path) -> dict[str, Any]:
    if not isinstance(base, str) or not base:
        given = "no base" if base is None else f"base = {base!a}"
        do = 'such as base = "../quickstart.toml"'
        raise UserError(f"sweep {path}: {given}", "a config's path, seen from the sweep's file", do)
    return with_reference(read_tables(path.parent / expanded(base, "base")))


def _with_arms(base: dict[str, Any], arms: Any) -> dict[str, Any]:
    """The base with these of its arms, in its order; None: with all."""
    if arms is None:
        return base
    if not isinstance(arms, list) or not all(isinstance(arm, str) for arm in arms):
        raise UserError(
            f"arms = {arms!a}", "a list of names: the base's arms that are trained", "[set.arms] adds others"
        )
    own = base.get("arms")
    own = own if isinstance(own, dict) else {}
    if other := [arm for arm in arms if arm not in own]:
        raise unknown("arm of the base", other[0], own)
    return {**base, "arms": {name: table for name, table in own.items() if name in arms}}


def _jobs(jobs: Any) -> int | None:
    if jobs is not None and (type(jobs) is not int or jobs < 1):
        raise UserError(f"jobs = {jobs!a}", "an integer from 1: runs at a time")
    return jobs


def _fixed(tables: dict[str, Any], folder: Path) -> dict[str, Any]:
    located_code(tables, folder)
    return flat(tables, "[set]")


def _axes(tables: dict[str, Any]) -> dict[str, list[Any]]:
    axes = flat(tables, "[axes]", {**NAMED, **OF_ARMS})
    for name, values in axes.items():
        if not isinstance(values, list) or not values:
            raise UserError(f"axis {name} = {values!a}", "a list of its values, at least one")
        if twice := [value for i, value in enumerate(values) if value in values[:i]]:
            raise UserError(f"axis {name}", f"{twice[0]} is in it twice", "keep one")
        if kind_of(target(name)) == "elastic" and name not in OF_ARMS:
            raise UserError(f"axis {name}", "it changes no run", "give it in [set]")
    return axes


def _rows(points: Any, has_axes: bool) -> tuple[Row, ...]:
    if points is None and has_axes:
        return (Row("", {}),)
    if not points:
        raise UserError("the sweep has no points", "[axes], [[points]], or both", "see docs/sweeps.md")
    if not isinstance(points, list) or not all(isinstance(row, dict) for row in points):
        raise UserError("points", "tables are needed: [[points]]")
    return tuple(_row(i, dict(row)) for i, row in enumerate(points, 1))


def _row(number: int, row: dict[str, Any]) -> Row:
    where = f"point {number} of [[points]]"
    name = row.pop("name", None)
    values = flat(row, where)
    if "paths.runs" in values:
        raise UserError(f"{where}: paths.runs", "all runs of a sweep are in one folder", "give it in [set]")
    if name is None and not values:
        raise UserError(f"{where} sets nothing", "fields, or a name for the base as it is", "give it a name")
    return Row("" if name is None else _name(name), values)


def _check_once(file: File) -> None:
    """No field is set in two places, nor both by the arms of a run and by runs."""
    axes = [*file.run_axes, *file.arm_axes]
    names: dict[str, None] = dict.fromkeys(each for row in file.rows for each in row.values)
    for one, others in (("[set]", file.fixed), ("[[points]]", names)):
        for name in others:
            if twice := [axis for axis in axes if target(axis) == target(name)]:
                raise UserError(f"{one} {name} and axis {twice[0]}", f"both set {target(name)}", "keep one")
    for name in names:
        if twice := [fixed for fixed in file.fixed if target(fixed) == target(name)]:
            raise UserError(f"[set] {twice[0]} and [[points]] {name}", f"both set {target(name)}", "keep one")
    for axis in file.arm_axes:
        field = axis.rpartition(".")[2]
        for other in (each for each in (*axes, *names) if each != axis):
            if other in (OF_ARMS.get(field), field) or (field == axis and _is_of_an_arm(other, field)):
                kinds = "an axis is of the arms of a run or of runs, once"
                raise UserError(f"axes {axis} and {other}", kinds, "keep one")
        if fixed := [each for each in file.fixed if field == axis and _is_of_an_arm(each, field)]:
            raise UserError(f"[set] {fixed[0]} and axis {axis}", "the axis would overwrite it", "keep one")


def _is_of_an_arm(name: str, field: str) -> bool:
    return name.startswith("arms.") and name.endswith(f".{field}")
