"""How two resolved configs differ, field by field."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from coupled.config.identity import kind_of


class Fact(NamedTuple):
    """A field and its value in each run; `kind`: identity, recorded, or the part of run.json that is not config."""

    name: str
    kind: str
    a: Any
    b: Any


def config_facts(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[Fact]:
    """The fields in which two resolved configs differ."""
    one, other = dict(fields_of(a)), dict(fields_of(b))
    for name in dict.fromkeys([*one, *other]):
        if one.get(name) != other.get(name):
            yield Fact(name, _kind(name), one.get(name), other.get(name))


def fields_of(tables: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values of a resolved config's fields; arms by their names, a schedule as one value."""
    for key, value in tables.items():
        if key == "arms" and isinstance(value, list):
            for arm in value:
                yield from fields_of({k: v for k, v in arm.items() if k != "name"}, f"arms.{arm['name']}.")
        elif isinstance(value, Mapping) and (not prefix.startswith("record.") or f"{prefix}{key}" == "record.own"):
            yield from fields_of(value, f"{prefix}{key}.")
        elif prefix == "record.own.":  # what differs mostly comes first
            yield f"{prefix}{key}", {part: value[part] for part in sorted(value, key=_place) if value[part]}
        else:
            yield f"{prefix}{key}", value


def _place(part: str) -> tuple[bool, str]:
    return part not in ("every", "log", "steps", "last"), part


def _kind(name: str) -> str:
    if name.startswith("arms."):
        return "recorded" if name.endswith(".reference") else "identity"
    return kind_of(name)
