"""Short names of runs and arms, made of what is varied."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final


def shown(value: Any) -> str:
    """A value as a part of a name: 0.5, shape_colour, 0_1."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value).removesuffix(".0").replace("+", "")
    if isinstance(value, list | tuple):
        return "_".join(map(shown, value))
    if isinstance(value, Mapping):
        return "_".join(f"{key}{shown(item)}" for key, item in value.items())
    return re.sub(r"[^A-Za-z0-9.-]+", "_", str(value)).strip("_.-")


def shown_in_arm(value: Any) -> str:
    """The same for the name of an arm, which has no point: 0p5."""
    return shown(value).replace(".", "p")


def labels(names: Sequence[str]) -> dict[str, str]:
    """What stands for each axis in the names of runs: the initials of its last word where no other axis has them, else
    that word, else all of its name.
    """
    return {name: next(short(name) for short in _SHORT if _is_alone(name, names, short)) for name in names}


def part(label: str, values: Sequence[Any]) -> str:
    """One axis in a run's name: bs64, lr_rule_linear, i10_100."""
    text = "_".join(map(shown, values))
    return f"{label}{text}" if text[:1].isdigit() else f"{label}_{text}"


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _initials(name: str) -> str:
    return "".join(word[:1] for word in _last(name).split("_"))


# From short to long: the last tells any two names apart.
_SHORT: Final[tuple[Callable[[str], str], ...]] = (_initials, _last, lambda name: name.replace(".", "_"))


def _is_alone(name: str, names: Sequence[str], short: Callable[[str], str]) -> bool:
    return short is _SHORT[-1] or [short(other) for other in names].count(short(name)) == 1
