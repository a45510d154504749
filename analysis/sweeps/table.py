"""sweep.csv: every number of a sweep, a row each, at every match."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from analysis.aggregation.gap import Gap
from analysis.output import files
from analysis.output.csv import number_cell, write_rows_to
from analysis.sweeps.numbers import Difference, Number, Numbers, Row
from analysis.sweeps.reading import Swept
from coupled.store import canonical_json

CSV_NAME: Final = "sweep.csv"
_BEFORE: Final = ("match", "amount", "point")
_AFTER: Final = (
    "arm", "against", "quantity", "n", "mean", "low", "high", "seeds", "values", "motion", "motion_low", "motion_high",
    "similarity_motion", "similarity_motion_low", "similarity_motion_high", "variance_ratio", "ratio_low", "ratio_high",
    "note",
)  # fmt: skip


def write(swept: Swept, numbers: Numbers) -> Path:
    """Writes SWEEP/analysis/sweep.csv: full precision, an empty cell where there is no number, `note` says why."""
    axes = [*swept.axes, *swept.arm_axes]
    rows = [*_rows(swept, numbers.rows), *_differences(swept, numbers)]
    return write_rows_to(files.folder(swept.path) / CSV_NAME, (*_BEFORE, *axes, *_AFTER), rows)


def _rows(swept: Swept, rows: Sequence[Row]) -> Iterator[list[object]]:
    for row in rows:
        number = row.number
        yield [
            row.match, "" if isinstance(row.amount, Gap) else number_cell(row.amount), row.point.name or "all runs",
            *_values(swept, row), row.arm, "", row.quantity, *_over_seeds(number), *_of(row.motion),
            *_of(row.similarity_motion), "", "", "", "; ".join(_notes(number)),
        ]  # fmt: skip


def _differences(swept: Swept, numbers: Numbers) -> Iterator[list[object]]:
    by_place = {(row.match, row.point.name, row.arm, row.quantity): row for row in numbers.rows}
    for one in numbers.differences:
        row = by_place[one.match, one.point.name, one.arm, one.quantity]
        ratios, note = _ratios(one)
        number = Number({}) if isinstance(one.contrast, Gap) else Number(one.contrast.by_seed)
        yield [
            one.match, "" if isinstance(row.amount, Gap) else number_cell(row.amount), one.point.name or "all runs",
            *_values(swept, row), one.arm, one.against, one.quantity, *_over_seeds(number), *_of(row.motion),
            *_of(row.similarity_motion), *ratios, note,
        ]  # fmt: skip


def _ratios(one: Difference) -> tuple[list[str], str]:
    if isinstance(one.contrast, Gap):
        return [""] * 3, one.contrast.reason
    value = one.contrast
    missing = "; ".join(f"seed {seed}: {reason}" for seed, reason in value.missing.items())
    return [number_cell(each) for each in (value.variance_ratio, value.ratio_low, value.ratio_high)], missing


def _values(swept: Swept, row: Row) -> list[str]:
    """The values of each axis: of runs that stand for several of them, all; of arms that were there before, none."""
    of_arm = swept.placed[row.arm].values
    cells = [_cell(row.point.values.get(axis, [])) for axis in swept.axes]
    return [*cells, *(_cell([of_arm[axis]] if axis in of_arm else []) for axis in swept.arm_axes)]


def _cell(values: Sequence[Any]) -> str:
    return "; ".join(value if isinstance(value, str) else _json(value) for value in values)


def _json(value: Any) -> str:
    try:
        return canonical_json(value).decode()
    except (ValueError, TypeError):
        return ascii(value)


def _over_seeds(number: Number) -> list[object]:
    known = {
        seed: value for seed, value in number.by_seed.items() if not isinstance(value, Gap) and math.isfinite(value)
    }
    edges = [number_cell(edge) for edge in number.interval]
    seeds, values = " ".join(map(str, known)), " ".join(map(repr, known.values()))
    return [len(known), number_cell(number.value), *edges, seeds, values]


def _of(number: Number) -> list[str]:
    return [number_cell(value) for value in (number.value, *number.interval)]


def _notes(number: Number) -> list[str]:
    few = number.known and isinstance(number.mean, Gap)
    return [*(["fewer than three seeds: no interval"] if few else []), *number.reasons]
