"""TOML values to dataclasses: types, ranges and unknown keys, each mistake one line."""

import dataclasses
import math
import types
from collections.abc import Mapping
from typing import Any, Union, get_args, get_origin, get_type_hints

from coupled.config.fields import allowed, within
from coupled.errors import UserError, unknown
from coupled.userfiles import expanded


def build(cls: type, raw: Mapping[str, Any], where: str = "") -> Any:
    """An instance of the dataclass `cls` from a TOML table; `where` is the dotted prefix for messages.

    Raises UserError for an unknown key, a wrong type or a value out of range.
    """
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for key in raw:
        if key not in fields:
            raise unknown("key", key, fields, where)
    hints = get_type_hints(cls)
    values = {}
    for key, value in raw.items():
        values[key] = _convert(hints[key], value, f"{where}{key}", fields[key].metadata)
    return cls(**values)


def _convert(hint: Any, value: Any, path: str, metadata: Mapping[str, Any]) -> Any:
    if dataclasses.is_dataclass(hint):
        _require(isinstance(value, Mapping), path, value, "a table")
        return build(hint, value, f"{path}.")  # type: ignore[arg-type]
    if get_origin(hint) is Mapping:
        _require(
            isinstance(value, Mapping) and all(isinstance(v, Mapping) for v in value.values()), path, value, "tables"
        )
        return {name: build(get_args(hint)[1], table, f"{path}.{name}.") for name, table in value.items()}
    if get_origin(hint) is tuple:
        kinds = kinds_of(get_args(hint)[0])
        plural = " or ".join(_PLURALS[kind] for kind in kinds)
        _require(isinstance(value, (list, tuple)), path, value, f"a list of {plural}")
        return tuple(_scalar(kinds, item, path, metadata) for item in value)
    return _scalar(kinds_of(hint), value, path, metadata)


def kinds_of(hint: Any) -> tuple[type, ...]:
    """The types of a union; else the one type."""
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _scalar(options: tuple[type, ...], value: Any, path: str, metadata: Mapping[str, Any]) -> Any:
    wanted = [option for option in options if option is not type(None)]
    if type(value) is int and int not in wanted and float in wanted:
        # An integer too large for a float is infinite, which no field allows.
        value = float(value) if abs(value) < 1 << 1000 else math.inf
    # type(), not isinstance(): true is not the integer 1.
    sets = f"it sets: {metadata['meaning']}"  # so that the reader can choose another
    kinds = " or ".join(_NAMES[option] for option in wanted)
    _require(type(value) in wanted, path, value, kinds, allowed(metadata), sets)
    if metadata["choices"] and value not in metadata["choices"]:
        raise UserError(f"{path} = {_shown(value)}", allowed(metadata), sets)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and not within(value, metadata):
        finite = "a finite number with " if isinstance(value, float) and not math.isfinite(value) else ""
        raise UserError(f"{path} = {_shown(value)}", finite + allowed(metadata), sets)
    if metadata["path"]:
        return expanded(str(value), path)
    return value + 0.0 if type(value) is float else value  # −0.0 is 0.0 to training, and must be to the digest


_PLURALS = {int: "integers", str: "strings"}
_NAMES = {int: "an integer", float: "a number", str: "a string", bool: "true or false"}


def _require(condition: bool, path: str, value: Any, wanted: str, limits: str = "", do: str = "") -> None:
    if not condition:
        raise UserError(f"{path} = {_shown(value)}", f"{wanted} is needed" + (f" ({limits})" if limits else ""), do)


def _shown(value: Any) -> str:
    # As TOML has it; letters that only look like those of an allowed value are seen.
    text = str(value).lower() if isinstance(value, bool) else ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."
