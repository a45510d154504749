"""Curves as plotly traces: plain dictionaries, which plotly.js reads (building them with plotly in Python is slow).

Every trace carries `meta`: the arm that its button hides, and the choice of the chart's menu that it belongs to.
"""

import html
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from analysis.output.styles import Style
from analysis.output.thinning import spread
from analysis.runs.curve import Band, Curve

Trace = dict[str, Any]

MOST_POINTS: Final = 2000  # of one line; more are not seen, and ten arms of 100,000 steps would be 60 MB
_FEW: Final = 60  # up to so many steps are markers with bars, more are a line with a band
_DASHES: Final = {"-": "solid", "--": "dash", "-.": "dashdot", ":": "dot"}


def escaped(text: str) -> str:
    """Text for plotly, which takes some tags in names and titles for markup: escaped, it is shown as it is."""
    return html.escape(text)


def numbers(values: NDArray[Any], digits: int = 6) -> list[float | int | None]:
    """Values for JSON with so many significant digits; what is not finite is None, a hole in the line."""
    if np.issubdtype(values.dtype, np.integer):
        return values.tolist()
    return [float(f"{value:.{digits}g}") if np.isfinite(value) else None for value in values.tolist()]


def line(
    curve: Curve,
    style: Style,
    *,
    name: str | None = None,
    choice: str | None = None,
    strong: bool = True,
) -> list[Trace]:
    """The traces of a curve: its null band, its interval and itself. `strong`: the one that the eye should follow."""
    at = spread(curve.steps, MOST_POINTS)
    steps, values = curve.steps[at], curve.values[at]
    few = len(curve.steps) <= _FEW
    meta = {"arm": curve.arm, "choice": choice}
    bands: list[Trace] = []
    if curve.null is not None:
        # Grey: the bands of all arms lie on each other, and mixed colours would mean nothing.
        bands += _band(curve, curve.null, at, meta, colour="#8C8C8C", opacity=0.12)
    if curve.interval is not None and strong and not few:
        bands += _band(curve, curve.interval, at, meta, colour=style.colour, opacity=0.16)
    own: Trace = {
        "type": "scatter",
        "mode": "lines+markers" if few and strong else "lines",
        "x": numbers(steps),
        "y": numbers(values),
        "name": escaped(name or curve.arm),
        "line": {"color": style.colour, "dash": _DASHES[style.line], "width": _width(few, strong)},
        "opacity": 1 if strong else 0.5,
        "meta": meta,
        "hovertemplate": "%{y:.4~g}",
    }
    if few and strong:
        own["marker"] = {"color": style.colour, "size": 6}
    if curve.interval is not None:
        own |= interval(curve.interval, at, values, style.colour if few and strong else None)
    return [*bands, own]


def points(
    x: Sequence[float], values: Sequence[float], style: Style, *, name: str, meta: Trace, band: Band | None = None
) -> Trace:
    """Markers at numbers that are no steps, joined by a line, with their intervals as bars."""
    shown = np.array(values, np.float64)
    own: Trace = {
        "type": "scatter",
        "mode": "lines+markers",
        "x": numbers(np.array(x, np.float64)),
        "y": numbers(shown),
        "name": escaped(name),
        "line": {"color": style.colour, "dash": _DASHES[style.line], "width": 2},
        "marker": {"color": style.colour, "size": 6},
        "meta": meta,
        "hovertemplate": "%{y:.4~g}",
    }
    return own if band is None else own | interval(band, np.arange(len(shown)), shown, style.colour)


def _width(few: bool, strong: bool) -> float:
    # A line through every step jitters: thin, it is still seen where five of them cross.
    return 2 if few and strong else 1.5 if strong else 1


def interval(band: Band, at: NDArray[np.intp], values: NDArray[np.float64], bars: str | None) -> Trace:
    """The interval in the hover text, and as bars if there is a colour for them."""
    low, high = numbers(band.low[at]), numbers(band.high[at])
    known = np.isfinite(band.low[at]) & np.isfinite(band.high[at])
    texts = ("%{y:.4~g}", "%{y:.4~g}  (%{customdata[0]:.4~g} – %{customdata[1]:.4~g})")
    trace: Trace = {
        "customdata": [list(pair) for pair in zip(low, high, strict=True)],
        "hovertemplate": texts[1] if known.all() else [texts[there] for there in known.astype(int)],
    }
    if bars is not None:
        with np.errstate(invalid="ignore"):  # ∞ − ∞ is a hole
            above, below = np.maximum(band.high[at] - values, 0), np.maximum(values - band.low[at], 0)
        trace["error_y"] = {
            "type": "data",
            "symmetric": False,
            "array": numbers(above),
            "arrayminus": numbers(below),
            "color": bars,
            "thickness": 1.2,
            "width": 3,
        }
    return trace


def _band(curve: Curve, band: Band, at: NDArray[np.intp], meta: Trace, *, colour: str, opacity: float) -> list[Trace]:
    """One closed outline for every stretch without a hole: a fill across holes would claim values that are not."""
    # A band may be known at some steps only; that is no hole. Where the value itself is undefined, there is one.
    at = at[np.isfinite(band.low[at]) | np.isnan(curve.values[at])]
    low, high, steps = band.low[at], band.high[at], curve.steps[at]
    there = np.isfinite(low) & np.isfinite(high)
    outlines: list[Trace] = []
    for stretch in stretches(there):
        outlines.append(
            {
                "type": "scatter",
                "mode": "lines",
                "x": numbers(np.concatenate([steps[stretch], steps[stretch][::-1]])),
                "y": numbers(np.concatenate([high[stretch], low[stretch][::-1]])),
                "fill": "toself",
                "fillcolor": _faint(colour, opacity),
                "line": {"width": 0, "color": colour},
                "hoverinfo": "skip",
                "name": escaped(band.what),
                "meta": meta,
            }
        )
    return outlines


def stretches(there: NDArray[np.bool_]) -> list[slice]:
    """The unbroken stretches of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], there, [False]]).astype(int)))
    return [slice(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _faint(colour: str, opacity: float) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def thinned(curves: Sequence[Curve]) -> bool:
    """Has any of the curves more steps than a line shows?"""
    return any(len(curve.steps) > MOST_POINTS for curve in curves)
