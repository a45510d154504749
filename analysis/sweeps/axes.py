"""Where the numbers of a sweep stand along its axes.

The values of axes of runs come from sweep.json; those of axes of arms from the arms' names and configs
(`arms.placed`). A point that stands for several values of an axis stands at all of them, and so does an arm that an
axis of arms does not change.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

from analysis.sweeps.kept import ACCURACY
from analysis.sweeps.numbers import Row
from analysis.sweeps.reading import Swept, key, number, shown

ARM: Final = "arm"  # in place of an axis where the sweep has none but the seed
_LABELS: Final = "labelling"  # an axis of arms
_NOT_SET: Final = "not set"
_LOG_SPAN: Final = 10  # numbers that spread so far stand on a logarithmic axis


@dataclass(frozen=True)
class Scale:
    """An axis of a chart. `places`: of each value by its key; numbers, or names in their order."""

    axis: str
    kind: str  # "linear", "log" or "category"
    places: Mapping[bytes, float | str]
    names: tuple[str, ...]  # of the values


@dataclass(frozen=True)
class Spot:
    """A number of a line: where it stands, and its row."""

    x: float | str
    row: Row


@dataclass(frozen=True)
class Line:
    """The numbers of one family of arms along an axis, at the same values of all others. `others` names these."""

    family: str
    others: str
    spots: tuple[Spot, ...]


def scale_of(swept: Swept, axis: str) -> Scale:
    """The axis of a chart: linear or logarithmic for numbers, else categories."""
    if axis == ARM:
        families = tuple(dict.fromkeys(place.family for place in swept.placed.values()))
        return Scale(axis, "category", {key(family): family for family in families}, families)
    values = swept.axes[axis] if axis in swept.axes else swept.arm_axes[axis]
    names = tuple(_apart([shown(value) for value in values]))
    numeric = [at for value in values if (at := number(value)) is not None]
    if len(numeric) < len(values) or len(set(numeric)) < len(numeric) or _may_be_unset(swept, axis):
        unset = {key(None): _NOT_SET} if _may_be_unset(swept, axis) else {}
        places = {**dict(zip(map(key, values), names, strict=True)), **unset}
        return Scale(axis, "category", places, (*names, *unset.values()))
    kind = "log" if min(numeric) > 0 and max(numeric) / min(numeric) >= _LOG_SPAN else "linear"
    return Scale(axis, kind, dict(zip(map(key, values), numeric, strict=True)), names)


def axes_of(swept: Swept) -> list[str]:
    """The axes to draw, without those that go with one before; the arms themselves where nothing but the seed was
    varied.
    """
    drawn: list[str] = []
    for axis in swept.axes:
        if not any(_follows(swept, axis, before) for before in drawn):
            drawn.append(axis)
    return [*drawn, *swept.arm_axes] or [ARM]


def lines(swept: Swept, scale: Scale, rows: Iterable[Row]) -> list[Line]:
    """The lines of a chart, from rows of one match and quantity, in the order of arms and values."""
    by_line: dict[tuple[str, str], dict[float | str, Row]] = {}
    following = {axis for axis in swept.axes if axis != scale.axis and _follows(swept, axis, scale.axis)}
    for row in rows:
        family = swept.placed[row.arm].family
        if row.quantity == ACCURACY and scale.axis == _LABELS and _LABELS not in swept.placed[row.arm].values:
            continue  # of one arm's own labels, whatever those of other arms are
        for values in _values_of(swept, row):
            x = family if scale.axis == ARM else scale.places[key(values[scale.axis])]
            others = _others({axis: value for axis, value in values.items() if axis not in following}, scale.axis)
            by_line.setdefault((family, others), {})[x] = row
    order = list(scale.places.values())
    return [
        Line(family, others, tuple(Spot(x, spots[x]) for x in sorted(spots, key=_ordered(scale, order))))
        for (family, others), spots in by_line.items()
    ]


def once(its: Iterable[Line]) -> list[Line]:
    """Lines without those that are the same numbers again, as of an arm that other axes do not change."""
    seen: dict[tuple[Any, ...], Line] = {}
    for line in its:
        seen.setdefault((line.family, *((spot.x, id(spot.row)) for spot in line.spots)), line)
    return list(seen.values())


def _ordered(scale: Scale, order: Sequence[float | str]):  # noqa: ANN202
    return (lambda x: x) if scale.kind != "category" else order.index


def _values_of(swept: Swept, row: Row) -> Iterator[dict[str, Any]]:
    """Every combination of values that a row stands for."""
    of_arm = swept.placed[row.arm].values
    values = [row.point.values.get(axis, [None]) for axis in swept.axes]
    values += [[of_arm[axis]] if axis in of_arm else every for axis, every in swept.arm_axes.items()]
    for combination in product(*values):
        yield dict(zip((*swept.axes, *swept.arm_axes), combination, strict=True))


def _others(values: Mapping[str, Any], axis: str) -> str:
    return ", ".join(
        f"{name} = {_NOT_SET if value is None else shown(value)}" for name, value in values.items() if name != axis
    )


def _follows(swept: Swept, axis: str, by: str) -> bool:
    """Has an axis of runs one value wherever another has one, as a warm-up that is set for each batch size?"""
    if by not in swept.axes:
        return False
    values: dict[bytes, set[bytes]] = {}
    for point in swept.points:
        for value in point.values.get(by, [None]):
            values.setdefault(key(value), set()).update(map(key, point.values.get(axis, [None])))
    return all(len(of) == 1 for of in values.values())


def _may_be_unset(swept: Swept, axis: str) -> bool:
    return axis in swept.axes and any(axis not in point.values for point in swept.points)


def _apart(names: Sequence[str]) -> list[str]:
    """Names that are told apart by a number where two are equal (1 and 1.0)."""
    return [name if names.count(name) == 1 else f"{name} ({names[:i].count(name) + 1})" for i, name in enumerate(names)]
