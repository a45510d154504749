"""The charts of a response: what came out over what was put in, and distances with their path bounds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from analysis.output.styles import Style, styles
from analysis.report import wording
from analysis.report.charts import Chart, base_layout, bound_styles
from analysis.report.content import Content
from analysis.report.traces import Trace, escaped, line, points
from analysis.response.paths import bound_label
from analysis.response.points import Point
from analysis.runs.controls import is_floor
from analysis.runs.curve import Band, Curve

_GREY: Final = "#6E6E6E"
_NUDGES: Final = Style(_GREY, "-", "nudges at the start, by size")
_EQUAL: Final = Style("#8C8C8C", ":", "as much as was put in")
_MEASURED: Final = Style("#1A1A1A", "-", "measured")
_MOST_NAMES: Final = 16  # beside markers: more run into each other
_ABOVE: Final = 1e3  # a bound is drawn up to so many times the largest distance
ALL: Final = "all arms, without bounds"


@dataclass(frozen=True)
class Spread:
    """A number over seeds: mean, least and most; NaN where it cannot be told of one of them."""

    mean: float
    low: float
    high: float


_Place = tuple[Spread, Spread]  # what was put in, and what came out


def spread(values: Sequence[float]) -> Spread:
    """The mean and the range of a number that every seed has."""
    if not values or any(math.isnan(value) for value in values):
        return Spread(math.nan, math.nan, math.nan)
    return Spread(math.fsum(values) / len(values), min(values), max(values))


def by_arm(content: Content) -> dict[str, list[Point]]:
    """The points of every arm, of each seed."""
    arms: dict[str, list[Point]] = {}
    for _, found in content.responses:
        for point in found.points:
            arms.setdefault(point.arm, []).append(point)
    return arms


def response(content: Content) -> Chart | None:
    """What came out over what was put in, both logarithmic: nudges as a line, other arms as markers with their names;
    None where it is known of no arm what was put in.
    """
    run, style_of, known = content.run, styles(content.run.arms), _known(content)
    if not known:
        return None
    nudges = {arm: place for arm, place in known.items() if is_floor(run, arm)}
    others = {arm: place for arm, place in known.items() if arm not in nudges}
    low = min(min(x.low, y.low) for x, y in known.values())
    high = max(max(x.high, y.high) for x, y in known.values())
    equal = points([low, high], [low, high], _EQUAL, name="", meta={"arm": None, "choice": None})
    data = [equal | {"mode": "lines", "hoverinfo": "skip", "hovertemplate": None}]
    for reference in dict.fromkeys(run.arms[arm].reference for arm in nudges):
        line_of = sorted((p for a, p in nudges.items() if run.arms[a].reference == reference), key=lambda p: p[0].mean)
        x, y = ([number.mean for number in axis] for axis in zip(*line_of, strict=True))
        through = points(x, y, _NUDGES, name="", meta={"arm": None, "choice": None})
        data.append(through | {"mode": "lines", "hoverinfo": "skip", "hovertemplate": None})
    data += _names(others, style_of, low, high)
    data += [_marker(arm, place, style_of[arm], nudge=arm in nudges) for arm, place in known.items()]
    layout = base_layout()
    layout |= {"height": 400, "hovermode": "closest"}
    layout["xaxis"] |= {"type": "log", "title": {"text": "put in", "standoff": 8}, "exponentformat": "e"}
    layout["xaxis"] |= {"dtick": max(1, round(math.log10(high / low) / 5)), "range": _range(low, high, names=others)}
    layout["yaxis"] |= {"title": {"text": f"came out: |w−w'| at {at_step(content)}", "standoff": 6}}
    return Chart(
        id="response",
        title="What came out over what was put in",
        lead="Each marker is an arm: to the right, what was put in to make it differ from its reference; upwards, how "
        "far apart their weights are at the end. Where the line of nudges is flat, it does not matter for the distance "
        "how much was put in.",
        data=data,
        layout=layout,
        x="numbers",
        y_log=True,
        alt=f"What came out over what was put in. {_described(known)}",
        arms=tuple(others) if len(others) > _MOST_NAMES else (),
        legend=(*([_NUDGES] if nudges else []), _EQUAL),
        notes=tuple(_notes(content, known)),
    )


def paths(content: Content) -> Chart | None:
    """Distance to the reference over steps: arm by arm with the path bounds, then all arms together."""
    distances = [curve for curve in content.response_curves if curve.measure == "distance"]
    bounds = [curve for curve in distances if curve.kind != "measured"]
    measured = {curve.arm: curve for curve in distances if curve.kind == "measured"}
    if not measured:
        return None
    style_of, data = styles(content.run.arms), []
    arms = sorted(dict.fromkeys(bound.arm for bound in bounds), key=lambda arm: _kind(content, arm) != "objective")
    names: dict[str, Style] = {}
    starred = False
    for arm in arms:
        own = [_cut(bound, measured[arm]) for bound in bounds if bound.arm == arm]
        starred = starred or any(bound_label(bound) != bound.bound for bound in own)
        group = wording.Bounded(_choice(content, arm), measured[arm], own, [])
        for curve, style in bound_styles(group):
            traces = line(curve, style, name=style.label, choice=group.name)
            # No arm's button hides a bound: the menu says of which arm it is.
            data += [trace | {"meta": trace["meta"] | {"arm": None}} for trace in traces]
            names.setdefault(style.label, style)
    for arm, curve in measured.items():
        data += line(curve, style_of[arm], choice=ALL if bounds else None)
    layout = base_layout()
    layout["height"] = 400
    layout["yaxis"] |= {"title": {"text": "|w−w'|", "standoff": 6}}
    lead = "Distance of all shared weights to the reference's."
    lead += " Broken: what the ledger says it can be at most, summed up along the path." if bounds else ""
    notes = [*wording.remarks(list(measured.values()))]
    notes += ["* No bound here: the table below says what the run does not meet."] if starred else []
    if any(len(bound.values) and (bound.values > _ABOVE * measured[bound.arm].values.max()).any() for bound in bounds):
        notes.append(f"Bounds are drawn up to {_ABOVE:,.0f} times the largest distance; response_curves.csv has all.")
    return Chart(
        id="paths",
        title="Distance and path bounds" if bounds else "Distance to the reference",
        lead=lead,
        data=data,
        layout=layout,
        choices=(*(_choice(content, arm) for arm in arms), ALL) if bounds else (),
        menu="shown",
        y_log=True,
        alt=f"Distance to the reference. {wording.described([*measured.values(), *bounds])}",
        # With bounds the legend is theirs: the looks of arms are those of the buttons above.
        arms=() if bounds else tuple(measured),
        legend=tuple(names.values()),
        notes=tuple(notes),
    )


def at_step(content: Content) -> str:
    """The last step in words, or the last steps where seeds have others."""
    steps = dict.fromkeys(point.step for of_arm in by_arm(content).values() for point in of_arm)
    return f"step{'s' if len(steps) > 1 else ''} {', '.join(f'{step:,}' for step in steps)}"


def _known(content: Content) -> dict[str, _Place]:
    """(put in, came out) of every arm that has a place on logarithmic axes."""
    places = {
        arm: (spread([p.put_in for p in of_arm]), spread([p.distance for p in of_arm]))
        for arm, of_arm in by_arm(content).items()
    }
    return {arm: (x, y) for arm, (x, y) in places.items() if x.low > 0 and y.low > 0}


def _marker(arm: str, place: _Place, style: Style, *, nudge: bool) -> Trace:
    x, y = place
    band = None if x.low == x.high and y.low == y.high else Band(np.array([y.low]), np.array([y.high]), "range")
    look = Style(_GREY if nudge else style.colour, "-", style.label)
    trace = points([x.mean], [y.mean], look, name=arm, meta={"arm": arm, "choice": None}, band=band)
    if band is not None:
        trace["error_x"] = trace["error_y"] | {"array": [x.high - x.mean], "arrayminus": [x.mean - x.low]}
    words = f"{escaped(arm)}<br>put in {x.mean:.3g}<br>came out {y.mean:.3g}<br>× put in {y.mean / x.mean:.3g}"
    trace["marker"] |= {"symbol": "circle" if nudge else "diamond", "size": 7 if nudge else 10}
    return trace | {"mode": "markers", "text": [words], "hovertemplate": "%{text}<extra></extra>"}


def _names(others: dict[str, _Place], style_of: dict[str, Style], low: float, high: float) -> list[Trace]:
    """The names of arms, one below the other at the right, each with a line to its marker: these are close together."""
    if len(others) > _MOST_NAMES:
        return []
    # The marker farthest to the right has the highest name, so that no lines cross.
    ordered = sorted(others.items(), key=lambda item: -item[1][0].mean)
    span, right = math.log10(high / low), 10 ** (math.log10(high) + 0.04 * max(math.log10(high / low), 1))
    traces: list[Trace] = []
    for k, (arm, (x, y)) in enumerate(ordered):
        beside = 10 ** (math.log10(low) + span * (0.62 - min(0.08, 0.6 / len(ordered)) * k))
        trace = points([x.mean, right], [y.mean, beside], Style("#B0B0B0", "-", ""), name=arm, meta=_of(arm))
        font: dict[str, Any] = {"color": style_of[arm].colour, "size": 11}
        trace |= {"mode": "lines+text", "text": ["", escaped(arm)], "textposition": "middle right", "textfont": font}
        traces.append(trace | {"line": {"color": "#C8C8C8", "width": 0.8}, "hoverinfo": "skip", "hovertemplate": None})
    return traces


def _of(arm: str) -> Trace:
    return {"arm": arm, "choice": None}


def _range(low: float, high: float, *, names: Sequence[str] | dict[str, Any]) -> list[float]:
    """The decades of the axis, with room for names at the right."""
    a, b = math.log10(low), math.log10(high)
    span = max(b - a, 1)
    longest = max(map(len, names), default=0) if len(names) <= _MOST_NAMES else 0
    return [a - 0.05 * span, b + span * (0.07 + 0.026 * min(longest, 20))]


def _kind(content: Content, arm: str) -> str:
    return content.run.arms[arm].kind


def _choice(content: Content, arm: str) -> str:
    return f"{arm} to {content.run.arms[arm].reference}"


def _cut(bound: Curve, measured: Curve) -> Curve:
    """The bound as far as it is drawn."""
    above = bound.values > _ABOVE * measured.values.max()
    return replace(bound, values=np.where(above, np.nan, bound.values), bound=bound_label(bound))


def _described(known: dict[str, _Place]) -> str:
    """At most twelve markers in words, for those who do not see them."""
    parts = [f"{arm}: put in {x.mean:.3g}, came out {y.mean:.3g}" for arm, (x, y) in list(known.items())[:12]]
    return f"{'; '.join(parts)}."


def _notes(content: Content, known: dict[str, _Place]) -> list[str]:
    arms = by_arm(content)
    without = [arm for arm in arms if arm not in known]
    notes = [f"What was put in is 0 or cannot be told, so no place here: {', '.join(without)}."] if without else []
    if len(content.responses) > 1:
        notes.append(f"Means; bars: range over {len(content.responses)} seeds.")
    return notes
