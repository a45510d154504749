"""A run is known by what it is: the fields that count, their canonical JSON and its digest."""

import dataclasses
from pathlib import Path
from typing import Any, Literal, cast, get_type_hints

from coupled.config.controls import COPIED
from coupled.config.formats import FORMAT, downgraded
from coupled.config.resolved import Config
from coupled.config.schema import Written
from coupled.store.canonical import digest as canonical_digest

Kind = Literal["identity", "recorded", "elastic"]


def classified(value: Any, kinds: tuple[Kind, ...], own: Kind = "identity") -> Any:
    """`value` as plain tables, keeping only fields of the given classes. A nested table's fields have their own."""
    if dataclasses.is_dataclass(value):
        tables = {}
        for field in dataclasses.fields(value):
            child = getattr(value, field.name)
            kind = field.metadata.get("kind", own)
            if field.metadata.get("later") and child == _default(field):
                continue
            if isinstance(child, dict) and "kind" in field.metadata and kind not in kinds:
                continue  # a table of tables that has a class as a whole
            if dataclasses.is_dataclass(child) or isinstance(child, dict) or kind in kinds:
                tables[field.name] = classified(child, kinds, kind)
        return {key: table for key, table in tables.items() if table != {}}
    if isinstance(value, dict):
        return {key: classified(child, kinds, own) for key, child in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _default(field: dataclasses.Field[Any]) -> Any:
    factory = field.default_factory
    return field.default if factory is dataclasses.MISSING else factory()


def kind_of(dotted: str) -> Kind:
    """The class of a field by its dotted name. A name of no field counts as identity, and `build` refuses it."""
    cls, kind = Written, "identity"
    for key in dotted.split("."):
        field = getattr(cls, "__dataclass_fields__", {}).get(key)
        if field is None:
            break
        kind, cls = field.metadata.get("kind", "identity"), get_type_hints(cls)[key]
    return cast(Kind, kind)


def field_of(config: Config, dotted: str) -> Any:
    """The value of a field by its dotted name, a schedule as its parts; None where the config has no such field."""
    value: Any = config
    for key in dotted.split("."):
        value = value.get(key) if isinstance(value, dict) else getattr(value, key, None)
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value


def resolved(config: Config, kinds: tuple[Kind, ...] = ("identity", "recorded")) -> dict[str, Any]:
    """The fields of these classes; by default what run.json holds. Arms stay in order, as a list of tables with their
    names.
    """
    tables = classified(config, kinds)
    tables["arms"] = [{"name": name, **table} for name, table in tables["arms"].items()]
    return tables


def given(arm: dict[str, Any]) -> dict[str, Any]:
    """What a config says of a resolved arm: without its name, and for a control without what it copies."""
    copied = () if arm["kind"] == "objective" else COPIED
    return {key: value for key, value in arm.items() if key not in ("name", *copied)}


def fingerprint(config: Config) -> str:
    """SHA-256 (hex) of the canonical JSON of the identity fields alone: which training it is, however recorded."""
    return canonical_digest(classified(config, ("identity",)))


def digest(config: Config, format_: int = FORMAT) -> str:
    """SHA-256 (hex) of the canonical JSON of `resolved(config)`, as `format_` has it."""
    return canonical_digest(downgraded(resolved(config), format_))


def path_of(config: Config) -> Path:
    """The run directory of a config."""
    return Path(config.paths.runs) / config.name
