"""The figure of bounds beside what was measured: loss gap, drift of Σ, biased CKA and RSA."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from numpy.typing import NDArray

from analysis.bounds import BY_STEP, TRIVIAL
from analysis.bounds.alignment import SOURCES
from analysis.bounds.gap import NOT_A_BOUND
from analysis.output.figure import Frame, note, nothing, save_figure, steps_axis
from analysis.output.styles import Style, styles
from analysis.runs.controls import arms_with_reference
from analysis.runs.curve import Curve, pick, running_mean
from analysis.runs.run import Run

NAMES: Final = ("bounds.png", "bounds.svg")
_FAINT: Final[dict[str, Any]] = {"linewidth": 0.9, "alpha": 0.25, "zorder": 2}
_BOUND: Final[dict[str, dict[str, Any]]] = {
    "data set": {"color": "#8C6BB1", "linestyle": "-."},
    "per anchor": {"color": "#5A5A5A", "linestyle": "--"},
    "tighter": {"color": "#5A5A5A", "linestyle": ":"},
    "equal similarity": {"color": "#A6A6A6", "linestyle": (0, (1, 3))},
    "paper": {"color": "#8C6BB1", "linestyle": "-."},
    "free": {"color": "#5A5A5A", "linestyle": "--"},
    "rows": {"color": "#5A5A5A", "linestyle": ":"},
}
_LINES: Final[tuple[tuple[str | None, str, Literal["-", ":", "--"]], ...]] = (
    (None, "measured", "-"), ("sharp", "sharp bound", ":"), ("P2", "P2's bound", "--"),
)  # fmt: skip
_ROOM: Final = 16.0  # the axis of steps ends at this times the last step: the labels stand in the room behind that step
_LEAST_GAP: Final = 0.062  # between two labels, of the panel's height


def save(run: Run, curves: Sequence[Curve]) -> list[Path]:
    """Draws `analysis.bounds.bounds(run)` into RUN/analysis/bounds.png and .svg; equal curves give equal bytes."""
    return save_figure(run, NAMES, lambda: draw(run, curves))


def draw(run: Run, curves: Sequence[Curve]) -> Figure:
    """The figure of a run's bounds, 2 × 2 panels over steps."""
    style_of = styles(run.arms)
    frame = Frame(run, curves, style_of, text=_caption(curves))
    FigureCanvasAgg(frame.figure)
    figure, grid = frame.figure, frame.grid()
    _gap(figure.add_subplot(grid[0, 0]), run, curves, style_of)
    _drift(figure.add_subplot(grid[0, 1]), run, curves, style_of)
    _alignment(figure.add_subplot(grid[1, 0]), run, curves, style_of, measure="cka_biased", title="c  Biased CKA of z")
    _alignment(figure.add_subplot(grid[1, 1]), run, curves, style_of, measure="rsa", title="d  RSA of z")
    return figure


def _caption(curves: Sequence[Curve]) -> str:
    panel = next((curve for curve in curves if curve.measure == "drift"), None)
    parts = ["a, c, d: mean over steps t/1.2 … 1.2 t; c, d: dotted sharp, dashed P2's bound"]
    if panel is not None:
        parts.append(f"b: Σ of the surrogate panel, {panel.n} views; bounds are of the surrogate")
    return "   ·   ".join(parts)


def _featured(run: Run, curves: Sequence[Curve]) -> tuple[str, str] | None:
    """The first pair of arms that the drift bounds are about; else the first objective arm with a reference."""
    pairs = [(curve.arm, curve.reference) for curve in curves if curve.measure == "surrogate_drift"]
    pairs += [(arm, spec.reference) for arm, spec in run.arms.items() if spec.kind == "objective"]
    return next(((arm, reference) for arm, reference in pairs if reference is not None), None)


class _Labels:
    """Texts behind the ends of lines, moved apart where they would overlap."""

    def __init__(self) -> None:
        self._at: list[tuple[float, str, Any]] = []

    def add(self, value: float, text: str, colour: Any) -> None:
        if not np.isnan(value):
            self._at.append((value, text, colour))

    def draw(self, axes: Axes, step: float) -> None:
        """Writes them from `step` on, on an axis whose limits are final."""
        scale = axes.yaxis.get_transform().transform
        (low, high), order = scale(axes.get_ylim()), sorted(self._at, key=lambda label: label[0])
        wanted = [(float(scale([value])[0]) - low) / (high - low) for value, _, _ in order]
        for place, (_, text, colour) in zip(_apart(wanted), order, strict=True):
            axes.text(
                step, place, text, transform=axes.get_xaxis_transform(), color=colour, fontsize=11, va="center",
                clip_on=False,
            )  # fmt: skip


def _apart(wanted: list[float]) -> list[float]:
    """Ascending places in [0, 1], moved until neighbours are `_LEAST_GAP` apart: up, then back from the top."""
    places: list[float] = []
    for want in wanted:
        places.append(max(min(max(want, 0.02), 0.985), places[-1] + _LEAST_GAP if places else 0.0))
    highest = 0.985
    for k in reversed(range(len(places))):
        places[k] = min(places[k], highest)
        highest = places[k] - _LEAST_GAP
    return places


def _steps(axes: Axes, run: Run, *, room: bool) -> float:
    """The axis of steps, with room for labels behind the last; returns where they begin."""
    steps_axis(axes, run)
    axes.set_xlabel("step")
    last = max(run.steps or 0, 1)
    if room:
        axes.set_xlim(-0.08, last * _ROOM)
    return last * 1.2


def _gap(axes: Axes, run: Run, curves: Sequence[Curve], style_of: dict[str, Style]) -> None:
    axes.set_title("a  Loss gap CL − NSCL")
    pair, labels = _featured(run, curves), _Labels()
    shown = pair[::-1] if pair else tuple(run.arms)[:1]
    labelling = run.arms[pair[0] if pair else shown[0]].labelling
    for arm in shown:
        curve = pick(curves, "gap", arm, labelling=labelling)
        if curve is not None:
            axes.plot(curve.steps, curve.values, color=style_of[arm].colour, **_FAINT)
            axes.plot(*running_mean(curve), color=style_of[arm].colour, linewidth=2.4, zorder=4)
    for bound in ("data set", "per anchor", "tighter", "equal similarity"):
        curve = pick(curves, "gap", shown[0], labelling=labelling, bound=bound)
        if curve is not None:
            steps, values = running_mean(curve)
            axes.plot(steps, values, linewidth=2.0, zorder=3, **_BOUND[bound])
            weak = "*" if any(flag.startswith(NOT_A_BOUND) for flag in curve.flags) else ""
            labels.add(float(values[-1]), f"{bound}{weak}", _BOUND[bound]["color"])
            if weak:
                note(axes, "* no bound for these mini-batches")
    if not axes.lines:
        nothing(axes, run, "similarity")
        _steps(axes, run, room=False)
        return
    measured = pick(curves, "gap", shown[0], labelling=labelling)
    if measured is not None:
        labels.add(float(running_mean(measured)[1][-1]), "measured", style_of[shown[0]].colour)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylabel("mean over anchors")
    axes.set_ylim(top=axes.get_ylim()[1] * 1.25)
    labels.draw(axes, _steps(axes, run, room=True))


def _drift(axes: Axes, run: Run, curves: Sequence[Curve], style_of: dict[str, Style]) -> None:
    axes.set_title("b  Drift of Σ between arms")
    labels, pair = _Labels(), _featured(run, curves)
    for arm, style in style_of.items():
        curve = pick(curves, "drift", arm)
        if curve is not None and curve.values.any():
            axes.plot(
                curve.steps, _positive(curve.values), **style.drawn, linewidth=2.2, marker="o",
                markersize=5.5, markeredgecolor="white", zorder=4,
            )  # fmt: skip
    if not axes.lines:
        nothing(axes, run, "surrogate")
        _steps(axes, run, room=False)
        return
    axes.set_yscale("log")
    assert pair is not None, "a drift has two arms"
    _limits(axes, curves, pair, labels)
    _bounds_of_drift(axes, curves, pair, labels, style_of)
    axes.set_ylabel("Frobenius norm of ΔΣ")
    labels.draw(axes, _steps(axes, run, room=True))


def _limits(axes: Axes, curves: Sequence[Curve], pair: tuple[str, str], labels: _Labels) -> None:
    """Both trivial limits, and the limits of the axis: a bound far above every possible value says nothing."""
    top, lows = 1.0, [1e-3]
    for measure, text in (("drift", "trivial limit √2·n"), ("surrogate_drift", "trivial limit 2n")):
        limit = pick(curves, measure, pair[0], bound=TRIVIAL)
        if limit is not None:
            top = float(limit.values[0])
            ends, dash = (limit.steps[[0, -1]], limit.values[[0, -1]]), "-" if measure == "drift" else "--"
            axes.plot(*ends, color="#B00020", linewidth=1.0, linestyle=dash, zorder=1)
            labels.add(top, text, "#B00020")
    for measure in ("drift", "surrogate_drift"):
        curve = pick(curves, measure, pair[0])
        if curve is not None and (curve.values > 0).any():
            lows.append(float(curve.values[curve.values > 0].min()))
    axes.set_ylim(max(min(lows) / 2, top * 1e-9), top * 60)


def _bounds_of_drift(
    axes: Axes, curves: Sequence[Curve], pair: tuple[str, str], labels: _Labels, style_of: dict[str, Style]
) -> None:
    arm, reference = pair
    limit, top = pick(curves, "surrogate_drift", arm, bound=TRIVIAL), axes.get_ylim()[1]
    for bound in ("paper", "free", "rows"):
        curve = pick(curves, "drift", arm, bound=bound)
        if curve is not None and limit is not None:
            axes.plot(curve.steps, _positive(curve.values), linewidth=2.0, zorder=3, **_BOUND[bound])
            above = np.flatnonzero(curve.values > limit.values[0])
            for first in above[:1]:
                at = (curve.steps[first], min(curve.values[first], top / 1.5))
                axes.plot(
                    *at, marker="X", markersize=9, color=_BOUND[bound]["color"], markeredgecolor="white", zorder=5
                )
            vacuous = f", vacuous ≥ {curve.steps[above[0]]:,}" if len(above) else ""
            labels.add(min(float(curve.values[-1]), top), f"{bound}{vacuous}", _BOUND[bound]["color"])
    colour, grey = style_of[arm].colour, "#A6A6A6"
    for measure, of, by, text, options in (
        ("drift", arm, BY_STEP, "its measured bound", {"color": colour, "linewidth": 7.0, "alpha": 0.25}),
        ("surrogate_drift", arm, None, "simulated surrogate", {"color": colour, "linewidth": 1.8, "linestyle": "--"}),
        ("drift", arm, None, f"measured, {arm}", None),
        ("moved", reference, None, f"Σ of {reference} since step 0", {"color": grey, "linestyle": (0, (4, 1, 1, 1))}),
    ):
        curve = pick(curves, measure, of, bound=by)
        if curve is not None:
            if options is not None:
                axes.plot(curve.steps, _positive(curve.values), zorder=3, **options)
            labels.add(float(curve.values[-1]), text, grey if measure == "moved" else colour)


def _alignment(
    axes: Axes, run: Run, curves: Sequence[Curve], style_of: dict[str, Style], *, measure: str, title: str
) -> None:
    axes.set_title(title)
    labels, pair = _Labels(), _featured(run, curves)
    arms = [arm for arm in arms_with_reference(run) if run.arms[arm].kind == "objective"]
    recorded = (source for source in SOURCES if any(pick(curves, measure, arm, source=source) for arm in arms))
    source = next(recorded, None)
    for arm in arms if source else ():
        for bound, text, dash in _LINES:
            curve = pick(curves, measure, arm, source=source, feature="z", bound=bound)
            if curve is not None:
                if bound is None:
                    axes.plot(curve.steps, curve.values, color=style_of[arm].colour, **_FAINT)
                mean, width = running_mean(curve), 2.6 if bound is None else 2.0
                axes.plot(*mean, color=style_of[arm].colour, linestyle=dash, linewidth=width, zorder=3)
                if pair and arm == pair[0]:
                    labels.add(float(mean[1][-1]), text, style_of[arm].colour)
                note(axes, f"{source} z, n = {curve.n}")
    if not axes.lines:
        nothing(axes, run, "similarity", "surrogate", "panel")
    else:
        axes.set_ylabel("biased linear CKA" if measure == "cka_biased" else "cosine + Pearson RSA")
        low = min(axes.get_ylim()[0], 0.9)
        axes.set_ylim(low, 1 + 0.04 * (1 - low))
    labels.draw(axes, _steps(axes, run, room=bool(axes.lines)))


def _positive(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Zero has no place on a logarithmic axis, nor has ∞."""
    return np.where((values > 0) & np.isfinite(values), values, np.nan)
