"""The JSON schema (draft 2020-12) of configs, made from the dataclasses that read them."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final, get_args, get_origin, get_type_hints

from coupled.config.build import kinds_of
from coupled.config.schema import Written

_TYPES: Final = {int: "integer", float: "number", str: "string", bool: "boolean"}


def json_schema(names: Mapping[str, Sequence[str] | Mapping[str, Any]]) -> dict[str, Any]:
    """`names`: what is registered for a field (`data.name`, `arms.<name>.objective`), which editors then propose. A
    user's own file may register more, so others are allowed.
    """
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "a config of coupled-run",
        **_table(Written, "", names),
    }


def _table(cls: Any, prefix: str, names: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of the table that a dataclass is written as; `prefix`: of its fields' names."""
    hints = get_type_hints(cls)
    properties = {
        field.name: _property(hints[field.name], field.metadata, f"{prefix}{field.name}", names)
        for field in dataclasses.fields(cls)
    }
    about = (cls.__doc__ or "").strip().splitlines()
    described = {"description": about[0]} if about else {}
    return {"type": "object", **described, "properties": properties, "additionalProperties": False}


def _property(hint: Any, metadata: Mapping[str, Any], path: str, names: Mapping[str, Any]) -> dict[str, Any]:
    meaning = {"description": metadata["meaning"]} if "meaning" in metadata else {}
    if dataclasses.is_dataclass(hint):
        return {**_table(hint, f"{path}.", names), **meaning}
    if get_origin(hint) is Mapping:
        of_each = _table(get_args(hint)[1], f"{path}.<name>.", names)
        return {"type": "object", "additionalProperties": of_each, **meaning}
    if get_origin(hint) is tuple:
        return {"type": "array", "items": _value(kinds_of(get_args(hint)[0]), metadata), **meaning}
    value = _value([each for each in kinds_of(hint) if each is not type(None)], metadata)
    if path in names:
        value = {"anyOf": [{"enum": list(names[path])}, value]}
    return {**value, **meaning}


def _value(kinds: Sequence[type], metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Of one of a few types, within the field's choices or bounds; bounds are of numbers alone."""
    if metadata["choices"]:
        return {"enum": list(metadata["choices"])}
    allowed = [_TYPES[kind] for kind in kinds]
    return {"type": allowed[0] if len(allowed) == 1 else allowed, **_bounds(metadata)}


def _bounds(metadata: Mapping[str, Any]) -> dict[str, Any]:
    low, high, open_low, open_high = metadata["bounds"]
    bounds = {}
    if low is not None:
        bounds["exclusiveMinimum" if open_low else "minimum"] = low
    if high is not None:
        bounds["exclusiveMaximum" if open_high else "maximum"] = high
    return bounds
