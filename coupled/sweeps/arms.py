"""Axes of an arm: arms of one run, a copy of an arm for every value, each compared with the copy of its reference.

An arm is copied where the axis changes what it does, and so is every control that copies, matches or reverses such an
arm. All others are trained once: of a labelling there is one CL, of a temperature a CL for each value.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from coupled.errors import UserError
from coupled.objectives.registry import NEEDS_LABELS, OBJECTIVES
from coupled.sweeps.naming import shown_in_arm

_NAMING = ("of", "match", "against")  # the fields by which a control depends on other arms


@dataclass(frozen=True)
class _Copy:
    """An arm as it is written, and the name that it had before any axis."""

    origin: str
    table: Mapping[str, Any]


def expand(arms: Mapping[str, Mapping[str, Any]], axes: Mapping[str, Sequence[Any]]) -> dict[str, dict[str, Any]]:
    """The arms of a run, as they are written, with `axes` of arms spread out.

    `axes`: values by a field's name (for all arms that it changes) or `arms.<arm>.<field>`. Raises UserError for an
    axis that changes no arm, and for two arms of one name.
    """
    copies = {name: _Copy(name, table) for name, table in arms.items()}
    for axis, values in axes.items():
        *path, field = axis.split(".")
        chosen = _of_origin(copies, path[1], axis) if path else _changed(copies, field, axis)
        copies = _spread(copies, chosen, axis, values)
    return {name: dict(copy.table) for name, copy in copies.items()}


def _of_origin(copies: Mapping[str, _Copy], origin: str, axis: str) -> set[str]:
    """The copies of the arm that an axis names."""
    chosen = {name for name, copy in copies.items() if copy.origin == origin}
    if not chosen:
        raise UserError(f"axis {axis}", "an arm of the base: " + ", ".join({c.origin: 0 for c in copies.values()}))
    return chosen


def _changed(copies: Mapping[str, _Copy], field: str, axis: str) -> set[str]:
    """The arms that another value of a field makes others by themselves."""
    chosen = {name for name, copy in copies.items() if _takes(copy.table, field)}
    if field == "objective":
        first = next(iter(copies.values()), None)
        chosen = {name for name in chosen if first is None or copies[name].origin != first.origin}
        if len({copies[name].origin for name in chosen}) > 1:
            every = ", ".join({copies[name].origin: 0 for name in copies if name in chosen})
            raise UserError(f"axis {axis}", f"it may be that of {every}", "name one: arms.<arm>.objective")
    if not chosen:
        raise UserError(f"axis {axis}", "no arm of the base takes it", "remove it, or write arms.<arm>.…")
    return chosen


def _takes(arm: Mapping[str, Any], field: str) -> bool:
    """Does an arm, as it is written, take a field of its kind?"""
    kind, objective = arm.get("kind", "objective"), arm.get("objective")
    if field == "scale":
        return kind == "nudged"
    if kind != "objective":
        return False
    return {
        "objective": True,
        "temperature": objective != "ce",
        "labelling": objective in NEEDS_LABELS or objective not in OBJECTIVES,
        "lam": objective == "homotopy",
    }[field]


def _spread(copies: Mapping[str, _Copy], chosen: set[str], axis: str, values: Sequence[Any]) -> dict[str, _Copy]:
    """The arms with a copy of the chosen ones, and of what depends on them, for every value."""
    field, first = axis.rpartition(".")[2], next(iter(copies))
    affected = _dependents(copies, chosen, first)
    new = {value: _names(affected, chosen, field, value) for value in map(shown_in_arm, values)}
    initial = new[shown_in_arm(values[0])]
    alone = {name: replace(copy, table=_renamed(copy.table, initial)) for name, copy in copies.items()}
    alone = {name: copy for name, copy in alone.items() if name not in affected}
    # The first arm is the reference of all that name none, so it stays first.
    spread = {} if first in affected else alone
    for value in values:
        names = new[shown_in_arm(value)]
        for name in (name for name in copies if name in affected):
            table = _renamed(copies[name].table, names)
            if name in chosen:
                table[field] = value
            if first in affected and name != first:
                _name_the_first(table, names[first])
            if names[name] in spread or names[name] in alone:
                raise UserError(f"axis {axis} = {value}", f"two arms are called {names[name]}", "rename an arm")
            spread[names[name]] = replace(copies[name], table=table)
    return spread | alone


def _names(affected: set[str], chosen: set[str], field: str, value: str) -> dict[str, str]:
    """What the copies for a value are called: nscl_0p5, nscl_shape; an objective's own arm has its name: scl."""
    return {name: value if field == "objective" and name in chosen else f"{name}_{value}" for name in affected}


def _renamed(arm: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """The arm, with the arms that it names called as they are now."""
    return {key: names.get(value, value) if key in (*_NAMING, "reference") else value for key, value in arm.items()}


def _name_the_first(table: dict[str, Any], first: str) -> None:
    """What an arm leaves out, because it is the first arm, is the first arm's copy of the same value."""
    if table.get("kind", "objective") == "objective":
        table.setdefault("reference", first)
    else:
        table.setdefault("of", first)


def _dependents(copies: Mapping[str, _Copy], chosen: set[str], first: str) -> set[str]:
    """The chosen arms and all controls that depend on them, by way of others too."""
    affected: set[str] = set()
    more = set(chosen)
    while more:
        affected |= more
        more = {name for name, copy in copies.items() if _named_by(copy.table, first) & affected} - affected
    return affected


def _named_by(arm: Mapping[str, Any], first: str) -> set[Any]:
    if arm.get("kind", "objective") == "objective":
        return set()
    return {arm.get("of", first), *(arm[key] for key in _NAMING if key in arm)}
