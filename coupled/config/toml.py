"""A resolved config as TOML."""

from pathlib import Path
from typing import Any

from coupled.config import Config, resolved
from coupled.config.identity import given
from coupled.config.toml_value import toml_value


def to_toml(config: Config, *, elastic: bool = False) -> str:
    """The resolved config as TOML (identity and recorded fields, and where a user's code is); loading it gives the
    same digest. `elastic`: those fields too, so that loading it gives the same config.
    """
    tables = resolved(config, ("identity", "recorded", "elastic")) if elastic else resolved(config)
    lines = [f"{key} = {toml_value(value)}" for key, value in tables.items() if not isinstance(value, dict | list)]
    if config.code.files:
        tables["code"]["files"] = [str(Path(file).resolve()) for file in config.code.files]
    for section, table in tables.items():
        if isinstance(table, dict):
            lines += ["", f"[{section}]", *_entries(table)]
    for arm in tables["arms"]:
        lines += ["", f"[arms.{arm['name']}]", *_entries(given(arm))]
    return "\n".join(lines)


def _entries(table: dict[str, Any]) -> list[str]:
    return [f"{key} = {toml_value(value)}" for key, value in table.items() if value is not None]
