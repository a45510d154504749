"""The chart of accuracy beside alignment: a point for each kept step of an arm, of every run that was asked about."""

import math
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from analysis.evaluation.accuracy import MEASURES
from analysis.evaluation.probe.settings import CLASSIFIERS
from analysis.output.styles import Style, styles
from analysis.report.charts import Chart, base_layout
from analysis.report.content import Content
from analysis.report.traces import Trace, escaped, interval, points
from analysis.report.usefulness import AlignedAccuracy
from analysis.runs.curve import Band
from analysis.runs.numbers import number

MOST_POINTS: Final = 4000  # about 1 MB of the page
_SYMBOLS: Final = ("circle", "square", "diamond", "triangle-up", "x", "star")  # of runs
_NAMES: Final = {name: words for of in CLASSIFIERS.values() for name, words in of.items()}
_ELSEWHERE: Final = Style("#B0B0B0", ":", "arms of other runs")
_QUANTITIES: Final = {"accuracy": "accuracy", "difference": "accuracy less the reference's"}


def chart(content: Content) -> Chart | None:
    """Alignment to the reference (x) and accuracy (y), or accuracy less the reference's; None without any."""
    rows = content.usefulness.points
    if not rows:
        return None
    first, runs = rows[0], list(dict.fromkeys(row.run for row in rows))
    by_line: dict[tuple[str, str], list[AlignedAccuracy]] = {}
    for row in sorted(rows, key=lambda row: row.step):
        by_line.setdefault((row.run, row.arm), []).append(row)
    shown: dict[tuple[str, str], list[AlignedAccuracy]] = {}
    for line, its in sorted(by_line.items(), key=lambda pair: runs.index(pair[0][0])):
        if sum(map(len, shown.values())) + len(its) <= MOST_POINTS:
            shown[line] = its
    arms = content.run.arms
    layout = base_layout()
    layout["hovermode"] = "closest"
    layout["xaxis"] |= {"title": {"text": f"{MEASURES[first.measure]} to the reference", "standoff": 8}}
    shots = "all samples" if first.shots is None else f"{first.shots} shots a class"
    lead = (
        f"On test: alignment of {first.feature} to the arm's reference, and the accuracy of a classifier "
        f"on it ({_NAMES[first.classifier]}), fitted to {shots}. A line joins "
        "the kept steps of one arm of one run, in their order."
    )
    apart = any(arm not in arms for _, arm in shown)
    return Chart(
        id="accuracy",
        title="Accuracy beside alignment",
        lead=lead,
        data=[
            trace
            for quantity in _QUANTITIES
            for (run, arm), its in shown.items()
            for trace in _line(content, its, quantity, runs.index(run), several=len(runs) > 1)
        ],
        layout=layout,
        x="numbers",
        choices=tuple(_QUANTITIES.values()),
        menu="y",
        alt=f"Accuracy beside alignment. {_described(shown.values())}",
        arms=tuple(arm for arm in arms if any(arm == own for _, own in shown)),
        legend=(_ELSEWHERE,) if apart else (),
        notes=tuple(_notes(rows, runs, sum(map(len, shown.values())))),
    )


def _line(
    content: Content, rows: Sequence[AlignedAccuracy], quantity: str, number: int, *, several: bool
) -> list[Trace]:
    """The points of one arm of one run, with intervals on both axes."""
    arm, run = rows[0].arm, rows[0].run
    style = styles(content.run.arms).get(arm, _ELSEWHERE)
    x, y = _band(rows, "alignment"), _band(rows, quantity)
    meta: Trace = {"arm": arm if arm in content.run.arms else None, "choice": _QUANTITIES[quantity]}
    trace = points(x[0].tolist(), y[0].tolist(), style, name=arm, meta=meta, band=y[1])
    bars = interval(x[1], np.arange(len(rows)), x[0], style.colour)
    trace |= {"error_x": bars["error_y"], "customdata": [row.step for row in rows]}
    trace["error_y"] |= {"thickness": 1, "width": 2}
    trace["error_x"] |= {"thickness": 1, "width": 2}
    trace["line"] |= {"width": 0.7}
    trace["marker"] |= {"symbol": _SYMBOLS[number % len(_SYMBOLS)], "size": 7}
    of = f", {escaped(run)}" if several else ""
    limits = [
        f"{escaped(arm)}, step {row.step:,}{of}<br>"
        f"alignment {_words(row.alignment)}<br>{_QUANTITIES[quantity]} {_words(getattr(row, quantity))}"
        for row in rows
    ]
    return [trace | {"text": limits, "hovertemplate": "%{text}<extra></extra>"}]


def _band(rows: Sequence[AlignedAccuracy], quantity: str) -> tuple[np.ndarray, Band]:
    """The values of a quantity with their intervals."""
    value, low, high = np.array([getattr(row, quantity) for row in rows], np.float64).T
    return value, Band(low.copy(), high.copy(), "95 % intervals")


def _words(value: tuple[float, float, float]) -> str:
    """A value with its interval, "0.81 (0.80 – 0.82)"."""
    at, *limits = map(number, value)
    return at if math.isnan(value[1]) else f"{at} ({limits[0]} – {limits[1]})"


def _described(lines: Iterable[Sequence[AlignedAccuracy]]) -> str:
    """The last point of at most twelve lines in words, for those who do not see them."""
    last = [rows[-1] for rows in list(lines)[:12]]
    parts = [
        f"{row.arm} at step {row.step:,}: alignment {number(row.alignment[0])}, accuracy {number(row.accuracy[0])}"
        for row in last
    ]
    return f"{'; '.join(parts)}."


def _notes(rows: Sequence[AlignedAccuracy], runs: Sequence[str], shown: int) -> Iterable[str]:
    """What the chart cannot show: samples, runs, what is left out, flags."""
    yield f"{rows[0].n:,} test samples; bars: 95 % intervals."
    if len(runs) > 1:
        yield f"Points of {len(runs)} runs, a kind of marker each: {', '.join(runs[:12])}{' …' * (len(runs) > 12)}."
    if shown < len(rows):
        yield f"Of {len(rows):,} points {shown:,} are shown here; accuracy.csv has all."
    if undefined := sum(math.isnan(row.alignment[0]) or math.isnan(row.accuracy[0]) for row in rows):
        yield f"{undefined} of {len(rows)} points have no place: a number of theirs is undefined."
    yield from dict.fromkeys(f"{flag}." for row in rows for flag in row.flags)
