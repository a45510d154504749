"""What the page of a watched run shows, as JSON: its head, and charts as plotly.js takes them."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from analysis.output.styles import Style, styles
from analysis.output.thinning import spread
from analysis.report.traces import line
from analysis.report.wording import capital
from analysis.runs.curve import Curve
from analysis.watch.following import Following
from analysis.watch.state import facts_of, title_of, words_of

_POINTS: Final = 600  # of one line: it is sent whole at every change
# By measure: the chart's title, and whether it begins with a logarithmic y axis.
_CHARTS: Final = {
    "cka": ("CKA to the reference", False),
    "rsa": ("RSA to the reference", False),
    "weight_gap": ("Weight gap to the reference", True),
    "gap": ("Loss gap CL − NSCL", False),
    "loss": ("Own loss", False),
}
_LEADS: Final[dict[str, Callable[[Curve], str]]] = {
    "cka": lambda c: f"{capital(c.estimator)} of panel h, n = {c.n} {c.split} images, d = {c.d}",
    "rsa": lambda c: f"{capital(c.estimator)} of panel h, n = {c.n} {c.split} images, d = {c.d}",
    "weight_gap": lambda c: capital(c.estimator),
    "gap": lambda c: "Exact, on each arm's own batch",
    "loss": lambda c: "Each arm's own objective on its own batch; scales differ",
}


def content(following: Following) -> bytes:
    """All of it. Equal moments give equal bytes."""
    style_of, curves = styles(following.run.arms), following.curves()
    charts = [_chart(measure, [c for c in curves if c.measure == measure], style_of) for measure in _CHARTS]
    planned = following.run.planned_steps
    shown = {
        "title": title_of(following),
        "state": following.state,
        "words": words_of(following),
        "progress": following.done / planned if planned else 1.0,
        "facts": facts_of(following),
        "arms": [
            {"name": arm, "label": style.label, "colour": style.colour, "line": style.line}
            for arm, style in style_of.items()
        ],
        "charts": [chart for chart in charts if chart is not None],
    }
    return json.dumps(shown, allow_nan=False, separators=(",", ":")).encode()


def _chart(measure: str, curves: Sequence[Curve], style_of: dict[str, Style]) -> dict[str, Any] | None:
    if not curves:
        return None
    title, log = _CHARTS[measure]
    # Controls first: what is drawn later lies above.
    ordered = sorted(curves, key=lambda curve: style_of[curve.arm].line == "-")
    traces = [trace for curve in ordered for trace in line(_thinned(curve), style_of[curve.arm])]
    return {"id": measure, "title": title, "lead": f"{_LEADS[measure](curves[0])}.", "log": log, "data": traces}


def _thinned(curve: Curve) -> Curve:
    at = spread(curve.steps, _POINTS)
    return replace(curve, steps=curve.steps[at], values=curve.values[at])
