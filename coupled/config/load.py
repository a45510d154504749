"""From a TOML file and `--set` overrides to a resolved config. Every mistake is a UserError."""

import tomllib
from pathlib import Path
from typing import Any

from coupled.config.build import build
from coupled.config.identity import digest
from coupled.config.resolve import resolve
from coupled.config.schema import Config
from coupled.errors import UserError


def load(path: str | Path, overrides: list[str] | None = None) -> Config:
    """The resolved config of a TOML file, with overrides such as "arms.nscl.temperature=0.2" merged before validation.

    A config whose overrides change what it is (its digest) and that names no name gets `-<digest8>` appended to its
    name, so that its run directory is its own.
    """
    path = Path(path)
    raw = _read(path)
    config = from_tables({"name": path.stem, **raw})
    if not overrides:
        return config
    for override in overrides:
        _merge(raw, override)
    named = "name" in raw
    changed = from_tables({"name": path.stem, **raw})
    if named or digest(changed) == digest(config):
        return changed
    return from_tables({**raw, "name": f"{path.stem}-{digest(changed)[:8]}"})


def from_tables(raw: dict[str, Any]) -> Config:
    """The resolved config of nested tables (what TOML gives)."""
    return resolve(build(Config, raw))


def from_resolved(tables: dict[str, Any]) -> Config:
    """The config that `identity.resolved` made these tables of (run.json's); its name and paths are the defaults.

    Raises UserError where a field is unknown or out of range, KeyError or TypeError where arms are not named tables.
    """
    arms = {table["name"]: {k: v for k, v in table.items() if k != "name"} for table in tables["arms"]}
    return build(Config, _with_values({**tables, "arms": arms}))


def _with_values(tables: dict[str, Any]) -> dict[str, Any]:
    """TOML has no null: what is null in JSON has no value."""
    return {k: _with_values(v) if isinstance(v, dict) else v for k, v in tables.items() if v is not None}


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"no config at {path}", "give the path of a TOML file", "see configs/") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder", "give the path of a TOML file") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{path} is not TOML", str(error)) from None


def _merge(raw: dict[str, Any], override: str) -> None:
    """Set one dotted key of `raw` to the TOML value in "section.field=value"; a bare word is a string."""
    dotted, equals, text = override.partition("=")
    keys = dotted.strip().split(".")
    if not equals or not all(keys) or "\n" in override:
        raise UserError(f"--set {override}", "section.field=value is needed")
    table = raw
    for key in keys[:-1]:
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            raise UserError(f"--set {override}", f"{key} is a value, not a table")
    table[keys[-1]] = _value(text.strip(), override)


def _value(text: str, override: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        if not text or any(mark in text for mark in "\"'[]{}=,#"):
            raise UserError(f"--set {override}", "the value is neither TOML nor a bare word") from None
        return text
