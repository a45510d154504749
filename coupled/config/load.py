"""From a TOML file and `--set` overrides to a resolved config. Every mistake is a UserError."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from coupled.config.build import build
from coupled.config.formats import renamed, with_reference
from coupled.config.identity import digest, given
from coupled.config.own_streams import refuse_no_arms
from coupled.config.resolve import resolve
from coupled.config.resolved import Config
from coupled.config.schema import Written
from coupled.config.shipped import located
from coupled.config.toml_value import toml_value
from coupled.errors import UserError
from coupled.store.manifest import RUN_JSON
from coupled.terminal.shell import shell
from coupled.userfiles import read_text


def load(path: str | Path, overrides: Sequence[str] | Mapping[str, Any] | None = None) -> Config:
    """The resolved config of a TOML file, or of a shipped one by its name ("quickstart"), with overrides such as
    "arms.nscl.temperature=0.2", or {"arms.nscl.temperature": 0.2}, merged before validation.

    Where overrides change what the config is (its digest), `-<digest8>` is appended to its name, so that its run
    directory is its own; unless they name it.
    """
    of_strings = overrides is None or isinstance(overrides, Mapping) or all(isinstance(one, str) for one in overrides)
    if isinstance(overrides, str | bytes) or not of_strings:
        raise UserError(f"overrides {overrides!r}", "a dictionary, or a list of strings, is needed", "give one of them")
    path = located(Path(path))
    if not isinstance(overrides, list) and _is_run(path):  # the command line gives a list
        raise UserError(f"{path} is a run directory", "a config is needed", f"was coupled.resume({str(path)!r}) meant?")
    raw = read_tables(path)
    option = "overrides, " if isinstance(overrides, Mapping) else "--set "
    if isinstance(overrides, Mapping):
        overrides = [f"{field}={_given(field, value)}" for field, value in overrides.items()]
    if not overrides:
        return from_tables({"name": path.stem, **raw})
    # Before overrides are merged: they may use the new name where the file has the old one.
    raw = with_reference(raw)
    # First, so that a user's code that runs last is that of the config that is returned.
    before = _digest_of({"name": path.stem, **raw})
    for override in overrides:
        merge(raw, override, option)
    fields = [renamed(override).partition("=")[0].strip() for override in overrides]
    try:
        changed = from_tables({"name": path.stem, **raw})
    except UserError as error:
        own = any(f"{error.field}.".startswith(f"{field}.") for field in fields)
        if before is None or own or not (error.field and error.fits):
            raise
        raise _one_more(error, fields, in_python=option != "--set ") from None
    named = "name" in fields
    if named or digest(changed) == before:
        return changed
    return replace(changed, name=f"{changed.name}-{digest(changed)[:8]}")


def _given(field: str, value: Any) -> str:
    if _holds_none(value):
        raise UserError(f"overrides, {field} = {value}", "a value is needed", "leave it out, and the file's own holds")
    return toml_value(value)


def _holds_none(value: Any) -> bool:
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return value is None or any(map(_holds_none, parts))


def _one_more(error: UserError, fields: Sequence[str], *, in_python: bool) -> UserError:
    """The error with the override that would have to come with the ones given: without them the file's value fits."""
    value = error.fits[0]
    more = f'{{"{error.field}": "{value}"}}' if in_python else f"--set {error.field}={value}"
    return UserError(str(error), f"the file's own does not fit {', '.join(fields)}: add {more}")


def _digest_of(raw: dict[str, Any]) -> str | None:
    """The digest of the config without overrides; None where only they make it one."""
    try:
        return digest(resolve(build(Written, raw)))
    except UserError:
        return None


def read_tables(path: Path) -> dict[str, Any]:
    """The tables of a config file as its user wrote them, its own code's files seen from the working directory."""
    if _is_run(path):
        raise UserError(
            f"{path} is a run directory", "a config is needed", f"was coupled-run resume {shell(path)} meant?"
        )
    raw = read_toml(path, "config", "it names at least one arm", "configs/")
    if "base" in raw:
        raise UserError(f"{path} is a sweep", "a config is needed", f"was coupled-run sweep {shell(path)} meant?")
    located_code(raw, path.parent)
    return raw


def _is_run(path: Path) -> bool:
    try:
        return (path / RUN_JSON).is_file()
    except OSError:
        return False  # the reader of the config says what is wrong with the path


def located_code(raw: dict[str, Any], folder: Path) -> None:
    """A config's own code.files are relative to the config; those of an override to the working directory."""
    code = raw.get("code")
    if isinstance(code, dict) and isinstance(code.get("files"), list):
        code["files"] = [_located(file, folder) if isinstance(file, str) else file for file in code["files"]]


def _located(file: str, folder: Path) -> str:
    """The file's path from the working directory, its home folder not yet put in: `build` does that for all paths."""
    if file.startswith("~"):
        return file
    path = str(folder / file)
    return f"./{path}" if path.startswith("~") else path


def from_tables(raw: dict[str, Any], *, begun: bool = False) -> Config:
    """The resolved config of nested tables (what TOML gives). `begun`: of a run that goes on as it began."""
    refuse_no_arms(raw)
    return resolve(build(Written, with_reference(raw)), begun=begun)


def from_resolved(tables: dict[str, Any]) -> Config:
    """The config that `identity.resolved` made these tables of (run.json's), by the same rules as any other.

    Its name and paths are placeholders; no code of its user is run. Raises UserError where fields break a rule,
    KeyError, TypeError or AttributeError where arms are not named tables.
    """
    return resolve(build(Written, {"name": "resolved", **tables_of(tables)}), elsewhere=True)


def tables_of(resolved: dict[str, Any]) -> dict[str, Any]:
    """What TOML would say of the tables that `identity.resolved` made. Raises like `from_resolved`."""
    return _with_values({**resolved, "arms": {table["name"]: given(table) for table in resolved["arms"]}})


def _with_values(tables: dict[str, Any]) -> dict[str, Any]:
    """TOML has no null: what is null in JSON has no value."""
    return {k: _with_values(v) if isinstance(v, dict) else v for k, v in tables.items() if v is not None}


def read_toml(path: Path, kind: str, content: str, examples: str) -> dict[str, Any]:
    """The tables of a TOML file. `kind`: what messages call it; `content`: what it holds at least; `examples`: a folder
    of such files.
    """
    text = read_text(path, f"{kind} ", f"give the path of a TOML file, such as those in {examples}")
    if not text.strip():
        raise UserError(f"{kind} {path} is empty", content, f"see {examples}")
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{kind} {path} is not TOML", _parsers_message(str(error), text)) from None


def _parsers_message(message: str, text: str) -> str:
    """The parser's message, with the character that it stopped at where that one only looks like another."""
    place = re.search(r"\(at line (\d+), column (\d+)\)", message)
    if place:
        line, column = map(int, place.groups())
        there = text.replace("\r\n", "\n").split("\n")[line - 1][column - 1 :][:1]
        if not there.isascii() or there == "\r":
            return f"{message}: the character there is {there!a}"
    return message.splitlines()[0]


def merge(raw: dict[str, Any], override: str, option: str = "--set ") -> None:
    """Set one dotted key of `raw` to the TOML value in "section.field=value"; a bare word is a string. `option`: what
    messages begin with.
    """
    dotted, equals, text = renamed(override).partition("=")
    keys = dotted.strip().split(".")
    if not equals or not all(keys) or "\n" in override:
        raise UserError(f"{option}{override}", "section.field=value is needed")
    table = raw
    for key in keys[:-1]:
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            raise UserError(f"{option}{override}", f"{key} is a value, not a table")
    table[keys[-1]] = _value(text.strip(), f"{option}{override}")


def _value(text: str, given: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        if not text or any(mark in text for mark in "\"'[]{}=,#"):
            raise UserError(given, "the value is neither TOML nor a bare word") from None
        return text
