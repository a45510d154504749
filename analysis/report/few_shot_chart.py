"""The chart of few-shot error: the error and the bounds on it against the number of shots, at the last step."""

import math
import re
from collections.abc import Sequence
from typing import Final

import numpy as np

from analysis.arrays.few_shot_bounds import BOUNDS
from analysis.evaluation.few_shot.table import WORDS
from analysis.output.styles import Style
from analysis.report.charts import Chart, base_layout
from analysis.report.content import Content
from analysis.report.traces import Trace, points
from analysis.report.usefulness import BoundedError
from analysis.runs.curve import Band
from analysis.runs.numbers import number

# As in the chart of bounds: black is measured, broken lines are bounds, dotted ones limits.
_ERROR: Final = Style("#1A1A1A", "-", "error ± standard error")
_LOOKS: Final = {
    "p1": Style("#D55E00", "--", f"bound {WORDS['p1']}"),
    "p3": Style("#0072B2", "-.", f"bound {WORDS['p3']}"),
    "cantelli": Style("#009E73", "--", f"bound {WORDS['cantelli']}"),
}
_GUESSING: Final = Style("#6E6E6E", ":", "1 − 1/C, the error of guessing: bounds above it are vacuous")
_MOST_FLAGS: Final = 8
_ABOUT: Final = {
    "exact": "exact setting: bounds are theorems",
    "practice": "practice: bounds promise nothing",
}


def chart(content: Content) -> Chart | None:
    """Error and bounds of C-way choices on test, a choice for each arm, feature and setting; None without any."""
    rows = [row for row in content.usefulness.errors if row.split == "test" and row.ways == row.classes]
    step = max((row.step for row in rows), default=0)
    rows = sorted((row for row in rows if row.step == step), key=lambda row: list(_ABOUT).index(row.setting))
    by_entry: dict[str, list[BoundedError]] = {}
    for row in rows:
        by_entry.setdefault(_entry(row, rows), []).append(row)
    if not by_entry:
        return None
    layout = base_layout()
    shots = [row.shots for row in rows]
    layout["xaxis"] |= {
        "type": "log",
        "title": {"text": "samples a class (shots)", "standoff": 8},
        "range": [math.log10(0.8 * min(shots)), math.log10(1.25 * max(shots))],
        "dtick": 1 if max(shots) > 10 * min(shots) else "D2",
        "unifiedhovertitle": {"text": "shots: %{x:,.0f}"},
    }
    lead = (
        f"At step {step:,}, on test, {rows[0].classes} classes: the nearest class centre made of so many samples of "
        "each. Exact setting: shots and error are of one population: bounds are theorems about the mean over draws. "
        "Practice: shots of train, error on test; the bounds, made of train's moments, promise nothing."
    )
    return Chart(
        id="few_shot",
        title="Few-shot error and its bounds",
        lead=lead,
        data=[trace for entry, of_entry in by_entry.items() for trace in _traces(of_entry, entry)],
        layout=layout,
        x="numbers",
        choices=tuple(by_entry),
        menu="arm",
        y_log=True,
        alt=f"Few-shot error and its bounds at step {step:,}. {_described(by_entry)}",
        legend=(_ERROR, *_LOOKS.values(), _GUESSING),
        notes=_notes(rows),
    )


def _entry(row: BoundedError, rows: Sequence[BoundedError]) -> str:
    """The entry of the menu that the row belongs to."""
    labels = f"labels: {row.labelling}" if len({other.labelling for other in rows}) > 1 else ""
    return ", ".join(part for part in (f"{row.arm}, {row.feature}", labels, _ABOUT[row.setting]) if part)


def _traces(rows: Sequence[BoundedError], entry: str) -> list[Trace]:
    """The level of guessing, a line for each bound, and the error above them."""
    rows = sorted(rows, key=lambda row: row.shots)
    # Of no arm: the menu already says of which one they are.
    meta: Trace = {"arm": None, "choice": entry}
    x, errors, spread = ([float(getattr(row, name)) for row in rows] for name in ("shots", "error", "standard_error"))
    guessing = points(
        x, [1 - 1 / row.ways for row in rows], _GUESSING, name="guessing: vacuous from here on", meta=meta
    )
    traces = [guessing | {"mode": "lines"}]
    for name in BOUNDS:
        values = [row.bounds[name] for row in rows]
        traces.append(points(x, values, _LOOKS[name], name=_LOOKS[name].label, meta=meta))
    low, high = np.array(errors) - np.array(spread), np.array(errors) + np.array(spread)
    return [*traces, points(x, errors, _ERROR, name="error", meta=meta, band=Band(low, high, "± standard error"))]


def _described(by_entry: dict[str, list[BoundedError]]) -> str:
    """The error and bounds at most shots in words, for those who do not see them; of at most six entries."""
    parts = []
    for entry, rows in list(by_entry.items())[:6]:
        row = max(rows, key=lambda row: row.shots)
        bounds = ", ".join(f"{WORDS[name]} {number(value)}" for name, value in row.bounds.items())
        parts.append(f"{entry}, {row.shots} shots: error {number(row.error)}, bounds {bounds}")
    return f"{'; '.join(parts)}."


def _notes(rows: Sequence[BoundedError]) -> tuple[str, ...]:
    """What the chart cannot show: draws, holes, flags; those of some rows alone, with how many these are."""
    draws = " or ".join(map(str, sorted({row.draws for row in rows})))
    sentences = [f"{rows[0].n:,} test samples, means over {draws} draws of shots; a tie is an error."]
    about: dict[str, int] = {}
    for row in rows:
        # Many flags end with a number of their own, which few_shot.csv has.
        words = {re.sub(r": \d+$", "", flag) for flag in (*row.flags, *(row.note.split("; ") if row.note else ()))}
        about |= {flag: about.get(flag, 0) + 1 for flag in words}
    flags = [
        f"{flag}{'' if n == len(rows) else f' ({n} of {len(rows)} numbers)'}." for flag, n in sorted(about.items())
    ]
    more = [f"{len(flags) - _MOST_FLAGS} more flags are in few_shot.csv."] if len(flags) > _MOST_FLAGS else []
    return (*sentences, *flags[:_MOST_FLAGS], *more, "Train, two-way, tightness and dominant terms: few_shot.csv.")
