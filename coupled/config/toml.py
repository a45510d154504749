"""A resolved config as TOML."""

from pathlib import Path
from typing import Any

from coupled.config import Config, resolved
from coupled.config.identity import given


def to_toml(config: Config, *, elastic: bool = False) -> str:
    """The resolved config as TOML (identity and recorded fields, and where a user's code is); loading it gives the
    same digest. `elastic`: those fields too, so that loading it gives the same config.
    """
    tables = resolved(config, ("identity", "recorded", "elastic")) if elastic else resolved(config)
    lines = [f"{key} = {_toml(value)}" for key, value in tables.items() if not isinstance(value, dict | list)]
    if config.code.files:
        tables["code"]["files"] = [str(Path(file).resolve()) for file in config.code.files]
    for section, table in tables.items():
        if isinstance(table, dict):
            lines += ["", f"[{section}]", *_entries(table)]
    for arm in tables["arms"]:
        lines += ["", f"[arms.{arm['name']}]", *_entries(given(arm))]
    return "\n".join(lines)


def _entries(table: dict[str, Any]) -> list[str]:
    return [f"{key} = {_toml(value)}" for key, value in table.items() if value is not None]


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    return repr(value)
