"""Every config field in words: key, meaning, allowed values, default; made from the dataclasses."""

import dataclasses
import shutil
import textwrap
from collections.abc import Mapping
from typing import Any, Final, get_args, get_origin, get_type_hints

from coupled.config.fields import Schedule, allowed
from coupled.config.schema import Arm, Written
from coupled.data import known as known_data_sets
from coupled.models import ENCODERS
from coupled.objectives.registry import OBJECTIVES
from coupled.views import RECIPES

SCHEDULE: Final = "schedule"
_ABOUT_SCHEDULES: Final = "a schedule is a table, the union of its parts; a part that is not given is off:"


def sections() -> dict[str, str]:
    """The field reference by section, in the order of a config; those that are in none come first, under "run"."""
    found: dict[str, list[str]] = {"run": []}
    for field in dataclasses.fields(Written):
        kind = get_type_hints(Written)[field.name]
        if dataclasses.is_dataclass(kind):
            found[field.name] = _section(f"{field.name}.", kind)
        elif field.name == "arms":
            found["arms"] = _section("arms.<name>.", Arm)
        else:
            found["run"].append(_line(field.name, field))
    found[SCHEDULE] = [_ABOUT_SCHEDULES, *_section("", Schedule)]
    return {name: "\n".join(lines) for name, lines in found.items()}


def field_names() -> list[str]:
    """Every field by its dotted name; of an arm as "arms.<name>.…"."""
    names: list[str] = []
    for field in dataclasses.fields(Written):
        kind = Arm if field.name == "arms" else get_type_hints(Written)[field.name]
        prefix = f"{field.name}.<name>." if field.name == "arms" else f"{field.name}."
        inner = dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ()
        names += [prefix + each.name for each in inner] or [field.name]
    return names


REGISTRIES = {
    "data.name": known_data_sets(),
    "views.recipe": RECIPES,
    "model.encoder": ENCODERS,
    "arms.<name>.objective": OBJECTIVES,
}


def _section(prefix: str, cls: Any) -> list[str]:
    lines, hints = [], get_type_hints(cls)
    for field in dataclasses.fields(cls):
        if get_origin(hints[field.name]) is Mapping:  # a table of tables
            lines += _section(f"{prefix}{field.name}.<name>.", get_args(hints[field.name])[1])
        else:
            lines.append(_line(prefix + field.name, field))
    return lines


def _line(key: str, field: dataclasses.Field[Any]) -> str:
    default = field.default if field.default is not dataclasses.MISSING else None
    if field.default_factory is not dataclasses.MISSING:
        parts = dataclasses.asdict(field.default_factory())
        default = "{ " + ", ".join(f"{k} = {str(v).lower()}" for k, v in parts.items() if v) + " }"
    shown = (
        "" if default in (None, "", ()) else f" [{default if not isinstance(default, bool) else str(default).lower()}]"
    )
    limits = allowed(field.metadata)
    if key in REGISTRIES:
        limits = "one of " + ", ".join(REGISTRIES[key])
    limits = f" ({limits})" if limits else ""
    return _columns(key, f"{field.metadata['meaning']}{limits}{shown}")


_KEYS_WIDTH: Final = 29  # columns, the space before the meaning included
_LEAST_WIDTH: Final = 40  # of the meaning
_NO_BREAK: Final = "\N{NO-BREAK SPACE}"


def _columns(key: str, meaning: str) -> str:
    """A key and its meaning side by side, as wide as the terminal; a long key has a line of its own."""
    for sign in ("<", "≤"):
        meaning = meaning.replace(f" {sign} ", f"{_NO_BREAK}{sign}{_NO_BREAK}")  # a range stays in one line
    width = max(shutil.get_terminal_size().columns - 2 - _KEYS_WIDTH, _LEAST_WIDTH)
    lines = textwrap.wrap(meaning, width, break_long_words=False, break_on_hyphens=False)
    long = len(key) + 3 > _KEYS_WIDTH
    head = f"  {key}\n{'':{_KEYS_WIDTH}}" if long else f"  {key}".ljust(_KEYS_WIDTH)
    return head + f"\n{'':{_KEYS_WIDTH}}".join(lines).replace(_NO_BREAK, " ")
