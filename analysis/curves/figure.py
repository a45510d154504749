"""The figure of a run: alignment to the reference, weight gap against its floor, losses and the exact loss gap; and,
one panel each, measures of the user's own.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.divergence import twin_faults
from analysis.output.figure import ALARM, GREY, Frame, note, nothing, save_figure, steps_axis
from analysis.output.styles import Style, styles
from analysis.runs.controls import is_ceiling, is_floor, is_twin, nudge_of
from analysis.runs.curve import Curve, pick, running_mean
from analysis.runs.own_measures import own_among
from analysis.runs.recorded import labellings_of
from analysis.runs.run import Run

_LETTERS: Final = "efghijklmnopqrstuvwxyz"
NAMES: Final = ("curves.png", "curves.svg")
_THIN: Final[dict[str, Any]] = {"linewidth": 1.0, "alpha": 0.5, "zorder": 2}
_FAINT: Final[dict[str, Any]] = {"linewidth": 0.9, "alpha": 0.25, "zorder": 2}
_BOLD: Final[dict[str, Any]] = {
    "linewidth": 2.6, "marker": "o", "markersize": 6.5, "markeredgecolor": "white", "markeredgewidth": 1.0,
}  # fmt: skip


def save(run: Run, curves: Sequence[Curve]) -> list[Path]:
    """Draws the figure of the run's curves into RUN/analysis/curves.png and .svg; equal curves give equal bytes."""
    return save_figure(run, NAMES, lambda: draw(run, curves))


def draw(run: Run, curves: Sequence[Curve]) -> Figure:
    """The figure of a run's curves (`analysis.curves(run)`): panels over steps, two in a row."""
    style_of, own = styles(run.arms), own_among(curves)
    frame = Frame(run, curves, style_of, rows=2 + -(-len(own) // 2))
    FigureCanvasAgg(frame.figure)
    figure, grid = frame.figure, frame.grid()
    _alignment(figure.add_subplot(grid[0, 0]), run, curves, style_of, measure="cka", title="a  CKA to the reference")
    _alignment(figure.add_subplot(grid[0, 1]), run, curves, style_of, measure="rsa", title="b  RSA to the reference")
    _weight_gap(figure.add_subplot(grid[1, 0]), run, curves, style_of)
    halves = grid[1, 1].subgridspec(2, 1, height_ratios=(3, 2), hspace=0.14)
    upper = figure.add_subplot(halves[0])
    _losses(upper, run, curves, style_of)
    _loss_gaps(figure.add_subplot(halves[1], sharex=upper), run, curves, style_of)
    figure.align_ylabels(figure.axes[-2:])
    for place, measure in enumerate(own):
        axes = figure.add_subplot(grid[2 + place // 2, place % 2])
        axes.set_title(f"{_LETTERS[place % len(_LETTERS)]}  {measure}")
        _own_measure(axes, run, [curve for curve in curves if curve.measure == measure], style_of)
    return figure


def _own_measure(axes: Axes, run: Run, curves: Sequence[Curve], style_of: dict[str, Style]) -> None:
    """A measure of the user's own, of every arm that has it."""
    for curve in curves:
        style = style_of[curve.arm]
        axes.plot(curve.steps, curve.values, **style.drawn, **_BOLD, zorder=_order(style))
        _bands(axes, curve, style)
        axes.set_ylabel(curve.estimator.partition(", SHA")[0])
    note(axes, ", ".join(dict.fromkeys(f"{curve.source} {curve.feature}" for curve in curves)))
    steps_axis(axes, run)
    axes.set_xlabel("step")


def _alignment(
    axes: Axes, run: Run, curves: Sequence[Curve], style_of: dict[str, Style], *, measure: str, title: str
) -> None:
    axes.set_title(title)
    for arm, style in style_of.items():
        thin, bold = pick(curves, measure, arm, source="batch"), pick(curves, measure, arm, source="panel", feature="h")
        for curve in (thin, bold):
            if curve is not None:
                axes.set_ylabel(curve.estimator)
        if thin is not None:
            axes.plot(thin.steps, thin.values, color=style.colour, **_THIN)
        if bold is not None:
            axes.plot(bold.steps, bold.values, **style.drawn, **_BOLD, zorder=_order(style))
            _bands(axes, bold, style)
    if not axes.lines:
        nothing(axes, run, "panel", "similarity")
    else:
        low = min(axes.get_ylim()[0], 0.95)
        axes.set_ylim(low, 1 + 0.04 * (1 - low))
    steps_axis(axes, run)
    axes.set_xlabel("step")


def _bands(axes: Axes, curve: Curve, style: Style) -> None:
    """The interval as bars, and what chance alone gives in grey, as on the report's page."""
    if curve.null is not None:
        known = np.isfinite(curve.null.low)
        axes.fill_between(
            curve.steps[known], curve.null.low[known], curve.null.high[known], color="#8C8C8C", alpha=0.12, lw=0
        )
    if curve.interval is not None:
        with np.errstate(invalid="ignore"):  # ∞ − ∞ is a hole
            below, above = curve.values - curve.interval.low, curve.interval.high - curve.values
        sides = np.fmax([below, above], 0)
        axes.errorbar(
            curve.steps, curve.values, sides, fmt="none", ecolor=style.colour, elinewidth=1.2, capsize=2.5, zorder=2.5
        )


def _weight_gap(axes: Axes, run: Run, curves: Sequence[Curve], style_of: dict[str, Style]) -> None:
    axes.set_title("c  Weight gap")
    exact, floors = 0, []
    for arm, style in style_of.items():
        curve, distance = pick(curves, "weight_gap", arm), pick(curves, "distance", arm)
        if curve is None:
            continue
        if is_twin(run, arm) and distance is not None and not distance.values.any():
            exact += 1
            continue
        # Zero, such as the shared start, has no place on a logarithmic axis.
        positive = np.where(curve.values > 0, curve.values, np.nan)
        axes.plot(curve.steps, positive, **style.drawn, linewidth=2.4, zorder=_order(style))
        if is_floor(run, arm):
            axes.fill_between(curve.steps, np.full(len(positive), 1e-300), positive, color="#D6D6D6", alpha=0.5, lw=0)
            floors.append(f"floor: {nudge_of(run.arms[arm])}, {run.precision}")
        if is_ceiling(run, arm) and not axes.texts:
            _label_ceiling(axes, curve)
    twins = {0: "", 1: "exact twin: 0 at every step"}.get(exact, f"{exact} exact twins: 0 at every step")
    note(axes, twins and f"{twins}, in all weights")
    if axes.lines:
        axes.set_ylabel("relative gap to the reference")
        _log_limits(axes, len(dict.fromkeys(floors)))
    elif not exact:
        nothing(axes, run, "scalars")
    for line, text in enumerate(dict.fromkeys(floors)):
        axes.text(0.985, 0.045 + 0.085 * line, text, transform=axes.transAxes, ha="right", fontsize=12.5, color=GREY)
    faults = "\n".join(twin_faults(run, curves))
    axes.text(0.985, 0.5, faults, transform=axes.transAxes, ha="right", color=ALARM)
    steps_axis(axes, run)
    axes.set_xlabel("step")


def _label_ceiling(axes: Axes, curve: Curve) -> None:
    place = (float(curve.steps[0]), float(curve.values[0]))
    text = "ceiling: other initial weights"
    axes.annotate(text, place, (6, 5), textcoords="offset points", fontsize=12.5, color=GREY)


def _log_limits(axes: Axes, labels: int) -> None:
    """A logarithmic axis up to 2, the largest gap there can be, with room for labels below and a ceiling's above."""
    values = np.concatenate([np.asarray(line.get_ydata(), float) for line in axes.lines])
    least = np.nanmin(values, initial=0.5)
    range_ = 2 / least
    axes.set_yscale("log")
    axes.set_ylim(least / range_ ** (0.06 + 0.11 * labels), 2 * range_ ** (0.09 if axes.texts else 0.05))


def _losses(axes: Axes, run: Run, curves: Sequence[Curve], style_of: dict[str, Style]) -> None:
    axes.set_title("d  Loss, and exact loss gap CL − NSCL")
    axes.set_ylabel("own loss")
    for arm, style in style_of.items():
        curve = pick(curves, "loss", arm)
        if curve is not None:
            axes.plot(curve.steps, curve.values, color=style.colour, **_FAINT)
            axes.plot(*running_mean(curve), **style.drawn, linewidth=2.2, zorder=_order(style))
    if axes.lines:
        axes.yaxis.set_major_locator(MaxNLocator(4))
    else:
        nothing(axes, run, "scalars")
    steps_axis(axes, run)
    axes.tick_params(labelbottom=False)


def _loss_gaps(axes: Axes, run: Run, curves: Sequence[Curve], style_of: dict[str, Style]) -> None:
    """CL − NSCL on the first arm's similarities, for each labelling in the colour of the arm that uses it."""
    first, medians = next(iter(run.arms)), []
    for labelling in labellings_of(run, first):
        curve = pick(curves, "gap", first, labelling=labelling)
        user = next(
            (a for a, s in run.arms.items() if a != first and s.kind == "objective" and s.labelling == labelling), first
        )
        if curve is not None and not np.isnan(curve.values).all():
            axes.plot(curve.steps, curve.values, color=style_of[user].colour, **_FAINT)
            axes.plot(*running_mean(curve), color=style_of[user].colour, linewidth=2.2, zorder=3)
            medians.append(float(np.nanmedian(curve.values)))
    axes.set_ylabel(f"gap on {first if len(first) < 9 else '1st arm'}")
    if not medians:
        nothing(axes, run, "scalars")
    elif min(medians) > 0 and max(medians) > 5 * min(medians):
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_locator(MaxNLocator(3))
    steps_axis(axes, run)
    axes.set_xlabel("step")


def _order(style: Style) -> int:
    # A broken line lets a line below it show through, so objectives lie above controls.
    return 4 if style.line == "-" else 3
