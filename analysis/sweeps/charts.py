"""The charts of a sweep's page: each axis against each measure, at every match."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from analysis.aggregation.seeds import LEAST_SEEDS
from analysis.output.styles import Style
from analysis.report.charts import Chart, base_layout
from analysis.report.traces import Trace, escaped, points
from analysis.report.wording import capital
from analysis.runs.curve import Band
from analysis.sweeps.axes import ARM, Line, Scale, lines, once, scale_of
from analysis.sweeps.numbers import MATCHES, QUANTITIES, TO_REFERENCE, Numbers, Row, too_few
from analysis.sweeps.reading import Swept
from analysis.sweeps.wording import INTERVAL, amount_words, amounts_of, cell, plain

ALL: Final = "all"
MOST_AXES: Final = 6  # each with five charts
_MOST_OTHERS: Final = 12  # combinations of other axes in one chart
_MOST_TICKS: Final = 12
SYMBOLS: Final = ("circle", "square", "diamond", "triangle-up", "x", "star")
SYMBOL_WORDS: Final = ("circles", "squares", "diamonds", "triangles", "crosses", "stars")


def against(
    swept: Swept, numbers: Numbers, style_of: Mapping[str, Style], axis: str, quantity: str, *, id: str
) -> Chart | None:
    """One axis against one measure; None where no run has it."""
    rows = [row for row in numbers.rows if row.quantity == quantity]
    if not any(row.number.known for row in rows):
        return None
    scale = scale_of(swept, axis)
    by_match = {match: lines(swept, scale, (row for row in rows if row.match == match)) for match in MATCHES}
    others = list(dict.fromkeys(line.others for its in by_match.values() for line in its if line.others))
    left_out, others = len(others) - _MOST_OTHERS, others[:_MOST_OTHERS]
    data = []
    for match, its in by_match.items():
        for choice in [ALL, *others] if len(others) > 1 else [None]:
            shown = [line for line in its if choice in (None, line.others) or (choice == ALL and line.others in others)]
            data += [_trace(line, style_of[line.family], scale, match, choice, others) for line in once(shown)]
    return Chart(
        id=id,
        title=capital(QUANTITIES[quantity] if axis == ARM else f"{QUANTITIES[quantity]} by {axis}"),
        lead=_lead(rows, others),
        data=data,
        layout=_layout(scale, quantity),
        x="numbers",
        choices=(ALL, *others) if len(others) > 1 else (),
        menu="other axes",
        y_log=False,
        alt=f"{QUANTITIES[quantity]} by {axis}. {_described(by_match[numbers.best_match])}",
        arms=tuple(dict.fromkeys(line.family for its in by_match.values() for line in its)),
        notes=tuple(_notes(rows, left_out)),
        matched={match: f", at {_at(numbers, match, quantity)}" for match in MATCHES},
    )


def _at(numbers: Numbers, match: str, quantity: str) -> str:
    amounts = amounts_of(numbers, match, quantity)
    words = dict.fromkeys(amount_words(match, amount) for amount in amounts)
    return next(iter(words)) if len(words) == 1 else f"equal {match}, each family of arms at its own"


def _trace(line: Line, style: Style, scale: Scale, match: str, choice: str | None, others: Sequence[str]) -> Trace:
    numbers = [spot.row.number for spot in line.spots]
    values = [number.value for number in numbers]
    low, high = np.array([number.interval for number in numbers], np.float64).T.copy()
    meta: Trace = {"arm": line.family, "choice": choice, "match": match}
    name = f"{line.family}, {line.others}" if len(others) > 1 else line.family
    # Names stand in the place of numbers on an axis of categories.
    at = list(range(len(values))) if scale.kind == "category" else [spot.x for spot in line.spots]
    trace = points(at, values, style, name=name, meta=meta, band=Band(low, high, INTERVAL))  # type: ignore[arg-type]
    if scale.kind == "category":
        trace["x"] = [escaped(str(spot.x)) for spot in line.spots]
    if scale.axis == ARM:
        trace["mode"] = "markers"
    if choice == ALL:
        trace["marker"] = {**trace["marker"], "symbol": SYMBOLS[others.index(line.others) % len(SYMBOLS)], "size": 7}
    trace["text"] = [_hover(name, spot.row) for spot in line.spots]
    return {**trace, "hovertemplate": "%{text}<extra></extra>"}


def _hover(name: str, row: Row) -> str:
    """What is read at a point: its value, its seeds, how far anything had moved."""
    number = row.number
    reference = row.point.arms[row.arm].reference
    parts = [
        escaped(f"{name}{f', to {reference}' if reference and row.quantity in TO_REFERENCE else ''}: {cell(number)}"),
        f"{len(number.known)} of {len(number.by_seed)} seeds",
        f"weights moved {plain(row.motion.value)}, Σ {plain(row.similarity_motion.value)}",
    ]
    return "<br>".join(parts)


def _layout(scale: Scale, quantity: str) -> dict[str, Any]:
    layout = base_layout()
    layout["hovermode"] = "closest"
    layout["xaxis"] |= {"title": {"text": escaped(scale.axis), "standoff": 8}, "type": scale.kind}
    layout["yaxis"] |= {"title": {"text": QUANTITIES[quantity], "standoff": 6}}
    if scale.kind == "category":
        layout["xaxis"] |= {"categoryorder": "array", "categoryarray": [escaped(name) for name in scale.names]}
    elif len(scale.names) <= _MOST_TICKS:
        places = list(scale.places.values())
        layout["xaxis"] |= {"tickvals": places, "ticktext": [escaped(name) for name in scale.names]}
    return layout


def _lead(rows: Sequence[Row], others: Sequence[str]) -> str:
    few = too_few(row.number for row in rows)
    bars = f"Bars: {INTERVAL}{f'; none with fewer than {LEAST_SEEDS} seeds' if few else ''}."
    if len(others) < 2:
        return bars
    symbols = [f"{SYMBOL_WORDS[i % len(SYMBOLS)]} for {words}" for i, words in enumerate(others)]
    return f"{bars} Markers: {'; '.join(symbols)}."


def _notes(rows: Sequence[Row], left_out: int) -> Iterable[str]:
    if left_out > 0:
        yield f"{left_out} more combinations of the other axes are in sweep.csv alone."
    lacking = sum(not row.number.known for row in rows if row.match == "step")
    if lacking:
        yield f"{lacking} of {sum(row.match == 'step' for row in rows)} numbers at equal step are gaps: see the table."


def _described(its: Sequence[Line]) -> str:
    """At most twelve numbers in words, for those who do not see them."""
    parts = [
        f"{line.family} at {spot.x}: {plain(spot.row.number.value)}"
        for line in its
        for spot in line.spots
        if not math.isnan(spot.row.number.value)
    ]
    return f"{'; '.join(parts[:12])}."
