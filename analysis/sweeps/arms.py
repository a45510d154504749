"""Arms of a sweep: which are copies of one arm for the values of an axis, and how each looks.

Where a value comes from: an arm that an axis has made is called `<arm>_<value>` (an objective: by the value alone), and
its config has the value in the field of that axis. Both must agree; else the arm was there before, once for all values.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from analysis.output.styles import Style, styles
from analysis.runs.controls import control_of
from coupled.config import Arm
from coupled.config.controls import MATCHED
from coupled.sweeps.naming import shown_in_arm

OBJECTIVE: Final = "objective"  # the family of arms that an axis of objectives has made
_NAMING: Final = ("of", "match", "against", "reference")


@dataclass(frozen=True)
class Placed:
    """The family of an arm (the name that it had before any axis of arms), and its values of the axes that made it."""

    family: str
    values: Mapping[str, Any]


def placed(arms: Mapping[str, Arm], axes: Mapping[str, Sequence[Any]]) -> dict[str, Placed]:
    """Every arm in its place."""
    return {name: _placed(name, spec, axes) for name, spec in arms.items()}


def _placed(name: str, spec: Arm, axes: Mapping[str, Sequence[Any]]) -> Placed:
    values: dict[str, Any] = {}
    # The last axis wrote the last part of the name.
    for axis in reversed(list(axes)):
        field = axis.rpartition(".")[2]
        for value in sorted(axes[axis], key=lambda value: -len(shown_in_arm(value))):
            words = shown_in_arm(value)
            if getattr(spec, field, None) != value:
                continue
            if field == OBJECTIVE and name == words:
                name, values[axis] = OBJECTIVE, value
                break
            if name.endswith(f"_{words}") and name != f"_{words}":
                name, values[axis] = name.removesuffix(f"_{words}"), value
                break
    return Placed(name, values)


def family_styles(arms: Mapping[str, Arm], places: Mapping[str, Placed]) -> dict[str, Style]:
    """The style of every family, as that of an arm; its label says what it is, floor and ceiling by name."""
    first: dict[str, Arm] = {}
    for name, spec in arms.items():
        named = {
            field: places[of].family if of in places else of
            for field in _NAMING
            if (of := getattr(spec, field, None)) is not None
        }
        first.setdefault(places[name].family, replace(spec, **named))
    return {
        family: replace(style, label=f"{family}: {_words(first[family])}") for family, style in styles(first).items()
    }


def _words(spec: Arm) -> str:
    words = control_of(spec) or f"{spec.objective}{' with the positive' if spec.positive_in_denominator else ''}"
    end = {"nudged": "the floor", "independent": "the ceiling"}.get(spec.kind, "")
    own = spec.reference == spec.of and getattr(spec, "scale", None) != MATCHED and not getattr(spec, "at", 0)
    return f"{words} ({end})" if end and own else words
