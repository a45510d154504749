"""A run is known by what it is: the fields that count, their canonical JSON and its digest."""

import dataclasses
from typing import Any, Literal

from coupled.config.arms import COPIED
from coupled.config.schema import Config
from coupled.store.canonical import digest as canonical_digest

Kind = Literal["identity", "recorded", "elastic"]


def classified(value: Any, kinds: tuple[Kind, ...], own: Kind = "identity") -> Any:
    """`value` as plain tables, keeping only fields of the given classes. A nested table's fields have their own."""
    if dataclasses.is_dataclass(value):
        tables = {}
        for field in dataclasses.fields(value):
            child = getattr(value, field.name)
            kind = field.metadata.get("kind", own)
            if dataclasses.is_dataclass(child) or isinstance(child, dict) or kind in kinds:
                tables[field.name] = classified(child, kinds, kind)
        return {key: table for key, table in tables.items() if table != {}}
    if isinstance(value, dict):
        return {key: classified(child, kinds, own) for key, child in value.items()}
    return list(value) if isinstance(value, tuple) else value


def resolved(config: Config) -> dict[str, Any]:
    """What run.json holds: identity and recorded fields. Arms stay in order, as a list of tables with their names."""
    tables = classified(config, ("identity", "recorded"))
    tables["arms"] = [{"name": name, **table} for name, table in tables["arms"].items()]
    return tables


def given(arm: dict[str, Any]) -> dict[str, Any]:
    """What a config says of a resolved arm: without its name, and for a control without what it copies."""
    copied = () if arm["kind"] == "objective" else COPIED
    return {key: value for key, value in arm.items() if key not in ("name", *copied)}


def fingerprint(config: Config) -> str:
    """SHA-256 (hex) of the canonical JSON of the identity fields alone: which training it is, however recorded."""
    return canonical_digest(classified(config, ("identity",)))


def digest(config: Config) -> str:
    """SHA-256 (hex) of the canonical JSON of `resolved(config)`."""
    return canonical_digest(resolved(config))
