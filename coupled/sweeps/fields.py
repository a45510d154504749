"""The names that a sweep's file gives values to: config fields by their dotted names, and a few of its own."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Final, get_args, get_origin, get_type_hints

from coupled.config.fields import Schedule
from coupled.config.schema import Written
from coupled.errors import UserError, unknown

# Names of a sweep's own for what a point sets, with the field that each sets (`named.settle` says how).
NAMED: Final[Mapping[str, str]] = {
    "batch_size": "batches.size",
    "imbalance": "data.imbalance",
    "classes": "data.classes",
    "images": "data.per_class",
    "lr_rule": "optimiser.scaling",
    "epochs": "train.steps",
    "samples": "train.steps",
}
# Fields of an arm that may be an axis without the arm's name, with what sets them for all arms of a run.
OF_ARMS: Final[Mapping[str, str]] = {
    "objective": "",
    "labelling": "data.labelling",
    "temperature": "train.temperature",
    "lam": "",
    "scale": "",
}


def target(name: str) -> str:
    """The config field that a name sets."""
    return NAMED.get(name, name)


def flat(tables: Mapping[str, Any], where: str, own: Mapping[str, str] = NAMED) -> dict[str, Any]:
    """The values of nested tables by dotted names. `own`: names that are allowed beside those of fields.

    A schedule is one value. `where` stands before names in messages. Raises UserError for a name of no field.
    """
    values = dict(_leaves(_nested(tables, where), Written, "", where, own))
    targets: dict[str, str] = {}
    for name in values:
        if (other := targets.setdefault(target(name), name)) != name:
            raise UserError(f"{where} {other} and {name}", f"both set {target(name)}", "keep one")
    return values


def _nested(tables: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The tables, with keys such as "train.steps" taken apart. Raises UserError for a field that is given twice."""
    nested: dict[str, Any] = {}
    for path, value in _paths(tables):
        table: Any = nested
        for key in path[:-1]:
            table = table.setdefault(key, {}) if isinstance(table, dict) else None
        if not isinstance(table, dict) or path[-1] in table:
            raise UserError(f"{where} {'.'.join(path)}", "it is given twice", "keep one")
        table[path[-1]] = value
    return nested


def _paths(tables: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value, where it is; an empty table is one."""
    for dotted, value in tables.items():
        keys = (*path, *dotted.split("."))
        if isinstance(value, Mapping) and value:
            yield from _paths(value, keys)
        else:
            yield keys, value


def _leaves(
    tables: Mapping[str, Any], cls: type, prefix: str, where: str, own: Mapping[str, str]
) -> Iterator[tuple[str, Any]]:
    hints = get_type_hints(cls)
    names = [field.name for field in dataclasses.fields(cls) if prefix or field.name != "name"]
    for key, value in tables.items():
        if key in own and not prefix:
            yield key, value
            continue
        if key not in names:
            raise unknown(f"field in {where}", key, [*names, *([] if prefix else own)], prefix)
        hint, dotted = hints[key], f"{prefix}{key}"
        is_tables = get_origin(hint) is Mapping  # arms, or streams of one's own
        if not is_tables and (not dataclasses.is_dataclass(hint) or hint is Schedule):
            yield dotted, value
            continue
        if not isinstance(value, Mapping) or (is_tables and not all(isinstance(v, Mapping) for v in value.values())):
            raise UserError(f"{where} {dotted}", "it is a section, not a field", f"name a field, such as {dotted}.…")
        if is_tables:
            for each, table in value.items():
                yield from _leaves(table, get_args(hint)[1], f"{dotted}.{each}.", where, own)
        else:
            assert isinstance(hint, type)
            yield from _leaves(value, hint, f"{dotted}.", where, own)


def put(raw: dict[str, Any], dotted: str, value: Any) -> None:
    """Set a field of a config's tables; None takes it out."""
    *path, last = dotted.split(".")
    table = raw
    for key in path:
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            raise UserError(f"{dotted}: {key} is a value in the base, not a table", "a section", "correct the base")
    if value is None:
        table.pop(last, None)
    else:
        table[last] = value


def section(raw: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A section of a config's tables as it is written; {} where it is not, or is no table (which `build` refuses)."""
    table = raw.get(name, {})
    return table if isinstance(table, Mapping) else {}
