"""The charts of a report: curves in, plotly figures as plain dictionaries out."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from analysis.output.styles import Style, styles
from analysis.report import wording
from analysis.report.content import Content
from analysis.report.layers import ANGLE
from analysis.report.traces import Trace, escaped, line, numbers
from analysis.runs.curve import Curve, pick

_INK, _GRID = "#1A1A1A", "#E6E6E6"
_FONT: Final = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
# Okabe and Ito 2008, as in analysis/output/styles.py; here a colour is a bound, not an arm.
_BOUND_COLOURS: Final = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_BOUND_LINES: Final[tuple[Literal["--", "-."], ...]] = ("--", "-.")


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One figure: `data` and `layout` as plotly.js takes them, and what the page puts around it.

    `x`: "step" follows the page's choice of axis, "rate" can also be drawn over the cumulative learning rate, "own" is
    left alone, "numbers" are numbers on the axis that `layout` has, "panels" are squares with axes of their own.
    `choices`: entries of a menu, of which one is shown. `y_log`: is there a switch for y, and how it stands at first
    (None: no switch). `legend`: looks that are not of arms. `notes`: remarks, `notes_of` those of single choices.
    `matched`: how the title goes on, by what is matched.
    """

    id: str
    title: str
    lead: str
    data: list[Trace]
    layout: dict[str, Any]
    x: Literal["step", "rate", "own", "numbers", "panels"] = "step"
    choices: tuple[str, ...] = ()
    menu: str = ""
    y_log: bool | None = None
    alt: str = ""
    arms: tuple[str, ...] = ()
    legend: tuple[Style, ...] = ()
    notes: tuple[str, ...] = ()
    notes_of: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    matched: Mapping[str, str] = field(default_factory=dict)


def alignment(content: Content, measure: str) -> Chart | None:
    """CKA or RSA to the reference: panel h strong, batch z thin; None if there is neither."""
    name = measure.upper()
    strong, thin = _headline(content, measure), _of(content, measure, source="batch", feature="z")
    data: list[Trace] = []
    for curve, style in _styled(content, thin):
        data += line(curve, style, strong=False, name=f"{curve.arm}, batch z")
    for curve, style in _styled(content, strong):
        data += line(curve, style, name=f"{curve.arm}, panel h")
    lead = wording.sources(strong, thin)
    return _chart(data, strong or thin, id=measure, title=f"{name} to the reference", lead=lead, y_log=False)


def other_alignment(content: Content) -> Chart | None:
    """Every other alignment curve, one kind at a time."""
    shown = {id(c) for m in ("cka", "rsa") for c in [*_headline(content, m), *_of(content, m, "batch", "z")]}
    shown |= {id(c) for c in _own(content)}
    rest = [c for c in content.curves if c.feature and c.reference and id(c) not in shown]
    lead = "Choose a measure and its source."
    return _menu(content, rest, wording.kind_of, id="other", title="Other alignment measures", lead=lead)


def own_measures(content: Content) -> Chart | None:
    """The measures of the user's own, one at a time; None where none is registered."""
    lead = "Made by the user's own code, and so no part of this program: the file says what it is."
    title = "Measures of the user's own"
    return _menu(content, _own(content), wording.kind_of, id="own", title=title, lead=lead, y_log=False)


def weights(content: Content, measure: str) -> Chart | None:
    """Weight gap or distance to the reference."""
    title = {"weight_gap": "Weight gap to the reference", "distance": "Distance of all weights to the reference"}[
        measure
    ]
    curves = _of(content, measure)
    data = [trace for curve, style in _styled(content, curves) for trace in line(curve, style)]
    lead = f"{wording.capital(curves[0].estimator)}." if curves else ""
    return _chart(data, curves, id=measure, title=title, lead=lead, y_log=_spans(curves))


def losses(content: Content) -> Chart | None:
    """The loss that each arm minimises."""
    curves = _of(content, "loss")
    data = [trace for curve, style in _styled(content, curves) for trace in line(curve, style)]
    lead = "Each arm's own objective on its own batch; values of different objectives have different scales."
    return _chart(data, curves, id="loss", title="Own loss", lead=lead, y_log=False)


def gaps(content: Content) -> Chart | None:
    """The exact loss gap and the same-class mass, for each labelling."""
    curves = [c for c in content.curves if c.measure in ("gap", "mass")]
    lead = "The loss CL − NSCL on an arm's own similarities (exact), or the softmax mass of its same-class negatives."
    return _menu(content, curves, wording.kind_of, id="gap", title="Loss gap CL − NSCL", lead=lead)


def divergence(content: Content) -> Chart | None:
    """‖D‖ and the measures made of it; the recorded distance alone where there is nothing else."""
    # The controls' own curves are the floor and the ceiling: their copies as limits of every arm would hide them.
    curves = [c for c in content.divergence if c.kind == "measured"] or _of(content, "distance")
    lead = "Over the cumulative learning rate, a straight line on a logarithmic axis is exponential growth."
    title = "Divergence of the weights"
    return _menu(content, curves, wording.kind_of, id="divergence", title=title, lead=lead, x="rate", y_log=True)


def bounds(content: Content) -> Chart | None:
    """Each measured curve with the bounds on it, one at a time."""
    data: list[Trace] = []
    groups = wording.bounded(content)
    for group in groups:
        for curve, style in bound_styles(group):
            data += line(curve, style, name=style.label, choice=group.name, strong=curve not in group.beside)
    every = [curve for group in groups for curve in (group.measured, *group.bounds) if curve is not None]
    lead = "Black: measured. Broken: bounds; upper ones hold if the black line stays below, lower ones if above."
    # No arm's button hides a bound: the menu already says of which arm it is.
    for trace in data:
        trace["meta"]["arm"] = None
    choices = tuple(group.name for group in groups)
    title = "Bound and measured"
    return _chart(data, every, id="bounds", title=title, lead=lead, choices=choices, menu="quantity", y_log=False)


def bound_styles(group: wording.Bounded) -> list[tuple[Curve, Style]]:
    """The curves of a bounded quantity with their styles: measured ones black, limits and those beside it grey."""
    styled = [(group.measured, Style(_INK, "-", "measured"))] if group.measured else []
    for index, bound in enumerate(group.bounds):
        if bound.kind == "limit":
            styled.append((bound, Style("#6E6E6E", ":", str(bound.bound))))
        else:
            colour, dash = _BOUND_COLOURS[index % len(_BOUND_COLOURS)], _BOUND_LINES[index % len(_BOUND_LINES)]
            styled.append((bound, Style(colour, dash, f"{bound.bound} ({bound.kind})")))
    styled += [(curve, Style("#8C8C8C", "-", f"{curve.arm}: {wording.measure_name(curve)}")) for curve in group.beside]
    return styled


# By chart: its title, and what its menu does not say.
_WHOLE: Final = {
    "whole_alignment": ("Alignment on whole splits", "Of h, z and weights, to the arm's reference or another arm."),
    "whole_losses": ("Losses and gaps on whole splits", "Scope split: all images at once; scope batch: mini-batches."),
    "whole_geometry": (
        "Class geometry on whole splits",
        "At the minimum of NSCL all of z is 0, but for the centres' norm (1) and the effective rank (classes less 1).",
    ),
}


def on_whole_splits(content: Content, chart: str) -> Chart | None:
    """What a command has left of kept checkpoints on train and test, one kind at a time."""
    arms = content.run.arms
    curves = [curve for curve in content.evaluated.get(chart, []) if curve.arm in arms]
    title, lead = _WHOLE[chart]

    def kind(curve: Curve) -> str:
        return wording.evaluated_kind(curve, arms[curve.arm].reference)

    return _menu(content, curves, kind, id=chart, title=title, lead=lead)


def layer_map(content: Content) -> Chart | None:
    """Layers × steps, for one arm and measure at a time."""
    if not content.layers:
        return None
    data: list[Trace] = []
    for grid in content.layers:
        angle = grid.measure == ANGLE
        data.append(
            {
                "type": "heatmap",
                "x": [f"{step}" for step in grid.steps],
                "y": [escaped(wording.layer(name)) for name in grid.names],
                "z": [numbers(row, 4) for row in grid.values.T],
                "colorscale": "Cividis",
                "zmin": 0,
                "zmax": 90 if angle else None,
                "colorbar": {"orientation": "h", "y": 1.0, "yanchor": "bottom", "thickness": 10, "len": 1},
                "meta": {"arm": None, "choice": wording.map_name(grid)},
                "hovertemplate": "%{y}<br>step %{x}<br>%{z}<extra></extra>",
            }
        )
    names = content.layers[0].names
    layout = base_layout()
    layout["xaxis"] |= {"type": "category", "tickangle": 0, "showgrid": False} | _columns(content.layers[0].steps)
    layout["yaxis"] |= {"type": "category", "autorange": "reversed", "showgrid": False, "tickfont": {"size": 9}}
    del layout["xaxis"]["title"]  # it would lie on the ticks; the lead says what a column is
    layout |= {"height": 130 + max(10, min(13, 1600 // len(names))) * len(names), "hovermode": "closest"}
    lead = "From the first layer (top) to the last; a column is a recorded step. White: undefined, all weights are 0."
    choices = tuple(dict.fromkeys(wording.map_name(grid) for grid in content.layers))
    alt = f"Heat map of {len(names)} layers by {len(content.layers[0].steps)} steps for each arm and measure."
    return Chart(
        id="layers",
        title="Layer by layer",
        lead=lead,
        data=data,
        layout=layout,
        x="own",
        choices=choices,
        menu="arm and measure",
        alt=alt,
    )


def _columns(steps: NDArray[np.int64]) -> dict[str, Any]:
    """Ticks of a map's columns: the recorded steps nearest to 0, 1, 3, 10, 30 …"""
    wanted = [0, *(factor * 10**power for power in range(12) for factor in (1, 3))]
    near = (int(np.abs(steps - step).argmin()) for step in wanted if step <= steps[-1])
    at = list(dict.fromkeys([*near, len(steps) - 1]))
    # Columns are named by their steps; a number would be taken for a name first, for a position only then.
    return {"tickvals": [f"{steps[i]}" for i in at], "ticktext": [f"{steps[i]:,}" for i in at]}


def _menu(
    content: Content,
    curves: Sequence[Curve],
    kind: Callable[[Curve], str],
    *,
    id: str,
    title: str,
    lead: str,
    x: Literal["step", "rate"] = "step",
    y_log: bool = False,
) -> Chart | None:
    """A chart of which a menu shows one `kind` of curve at a time."""
    data = [trace for curve, style in _styled(content, curves) for trace in line(curve, style, choice=kind(curve))]
    of_kind: dict[str, list[Curve]] = {}
    for curve in curves:
        of_kind.setdefault(kind(curve), []).append(curve)
    notes_of = {choice: _notes(of, lead) for choice, of in of_kind.items()}
    options: dict[str, Any] = {"x": x, "choices": tuple(of_kind), "menu": "measure", "y_log": y_log}
    return _chart(data, curves, id=id, title=title, lead=lead, notes=(), notes_of=notes_of, **options)


def _chart(
    data: list[Trace], curves: Sequence[Curve], *, id: str, title: str, lead: str, **options: Any
) -> Chart | None:
    """The chart of some traces, with a description and remarks in words; None without traces."""
    if not data:
        return None
    return Chart(
        id=id,
        title=title,
        lead=lead,
        data=data,
        layout=base_layout(),
        alt=f"{title}. {wording.described(curves)}",
        arms=tuple(dict.fromkeys(curve.arm for curve in curves)),
        **{"notes": _notes(curves, lead), **options},
    )


def _notes(curves: Sequence[Curve], lead: str) -> tuple[str, ...]:
    return tuple(note for note in wording.remarks(curves) if not wording.is_repeated(note, lead))


def base_layout() -> dict[str, Any]:
    """What the layouts of all charts have in common."""
    axis = {"gridcolor": _GRID, "zeroline": False, "automargin": True, "ticks": "outside", "tickcolor": _GRID}
    return {
        "height": 330,
        "margin": {"l": 46, "r": 10, "t": 8, "b": 42},
        "font": {"family": _FONT, "size": 12, "color": _INK},
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "showlegend": False,
        "hovermode": "x unified",
        "hoverlabel": {"font": {"size": 12}, "namelength": -1},
        "dragmode": "zoom",
        "xaxis": axis | {"title": {"text": "step", "standoff": 8}},
        "yaxis": dict(axis),
    }


def _headline(content: Content, measure: str) -> list[Curve]:
    """Panel h of every arm: the first curve of that kind, which is the headline's estimator."""
    picked = (pick(content.curves, measure, arm, source="panel", feature="h") for arm in content.run.arms)
    return [curve for curve in picked if curve is not None]


def _own(content: Content) -> list[Curve]:
    names = {own.name for own in content.own}
    return [curve for curve in content.curves if curve.measure in names]


def _of(content: Content, measure: str, source: str | None = None, feature: str | None = None) -> list[Curve]:
    picked = (pick(content.curves, measure, arm, source=source, feature=feature) for arm in content.run.arms)
    return [curve for curve in picked if curve is not None]


def _styled(content: Content, curves: Iterable[Curve]) -> list[tuple[Curve, Style]]:
    """Curves with the styles of their arms, controls first: what is drawn later lies above."""
    style_of = styles(content.run.arms)
    return sorted(((curve, style_of[curve.arm]) for curve in curves), key=lambda pair: pair[1].line == "-")


def _spans(curves: Sequence[Curve]) -> bool:
    """Is a logarithmic axis the better first view: are there positive values over more than two decades?"""
    values = np.concatenate([curve.values for curve in curves]) if curves else np.zeros(0)
    positive = values[values > 0]
    return len(positive) > 0 and float(positive.max() / positive.min()) > 100
