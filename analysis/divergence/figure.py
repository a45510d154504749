"""The figure of divergence: relative distance with fitted windows, excess over the floor, angle, and a map by layer."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from analysis.divergence import twin_faults
from analysis.divergence.growth import Growth, cumulative_rate
from analysis.divergence.layers import LayerMap, layers
from analysis.divergence.table import headline_arm
from analysis.output.figure import ALARM, GREY, Frame, mark_break, note, nothing, save_figure, steps_axis
from analysis.output.styles import Style, styles
from analysis.runs.controls import floor_of, is_ceiling, is_floor, is_twin
from analysis.runs.curve import Curve, pick
from analysis.runs.run import Run

NAMES: Final = ("divergence.png", "divergence.svg")
_ROWS: Final = 45  # layer names that fit beside the map


def save(run: Run, curves: Sequence[Curve], growths: Sequence[Growth]) -> list[Path]:
    """Draws the figure into RUN/analysis/divergence.png and .svg; equal records give equal bytes."""
    return save_figure(run, NAMES, lambda: draw(run, curves, growths))


def draw(run: Run, curves: Sequence[Curve], growths: Sequence[Growth]) -> Figure:
    """The figure of `divergence(run)` and `growth(run)`; exact twins are left out while they are exact."""
    style_of = styles(run.arms)
    text = "a thin dots: the law that AIC prefers, ticks where late begins   ·   d grey: 0   ·   all shared weights"
    measured = {curve.arm for curve in curves if curve.measure == "relative_distance" and not _exact(run, curve)}
    frame = Frame(
        run, curves, {arm: style for arm, style in style_of.items() if arm in measured} or style_of, text=text
    )
    FigureCanvasAgg(frame.figure)
    figure, grid = frame.figure, frame.grid()
    _distance(figure.add_subplot(grid[0, 0]), run, curves, growths, style_of)
    halves = grid[1, 0].subgridspec(2, 1, hspace=1.0)
    _excess(figure.add_subplot(halves[0]), run, curves, style_of)
    _angle(figure.add_subplot(halves[1]), run, curves, style_of)
    figure.align_ylabels(figure.axes)
    right = grid[:, 1].subgridspec(1, 4, width_ratios=(0.13, 0.77, 0.025, 0.045), wspace=0.05)
    _layers(figure.add_subplot(right[1]), figure.add_subplot(right[2]), run, curves)
    return figure


def _distance(
    axes: Axes, run: Run, curves: Sequence[Curve], growths: Sequence[Growth], style_of: Mapping[str, Style]
) -> None:
    axes.set_title("a  Relative distance to the reference")
    rate = cumulative_rate(run)
    for arm, style in style_of.items():
        curve = pick(curves, "relative_distance", arm)
        if curve is None or _exact(run, curve):
            continue
        at, values = rate[curve.steps], _positive(curve.values)
        axes.plot(at, values, **style.drawn, linewidth=2.2, zorder=3)
        if is_floor(run, arm):
            axes.fill_between(at, np.full(len(at), 1e-300), values, color="#D6D6D6", alpha=0.5, lw=0)
        for fitted in growths:
            if fitted.arm == arm and fitted.layer is None and not fitted.undefined:
                _fit(axes, curve, fitted, rate, style)
    if not axes.lines:
        nothing(axes, run, "scalars")
        return
    _growth_axis(axes, rate, growths)
    floors = [f"floor: {floor_of(run, arm)}" for arm in run.arms if is_floor(run, arm)]
    ceilings = ["ceiling: other initial weights"] if any(is_ceiling(run, a) for a in run.arms) else []
    exact = [c for arm in run.arms if (c := pick(curves, "distance", arm)) is not None and _exact(run, c)]
    twins = ["exact twin: 0 at every step"] if exact else []
    axes.text(
        0.985,
        0.05,
        "\n".join([*ceilings, *twins, *dict.fromkeys(floors)]),
        transform=axes.transAxes,
        ha="right",
        fontsize=12,
        color=GREY,
    )
    axes.text(0.985, 0.5, "\n".join(twin_faults(run, curves)), transform=axes.transAxes, ha="right", color=ALARM)


def _fit(axes: Axes, curve: Curve, fitted: Growth, rate: NDArray[np.float64], style: Style) -> None:
    """The law that AIC prefers, exponential or power law, through the mean of log(relative distance) in a window; none
    where it cannot tell them apart.
    """
    inside = (curve.steps >= fitted.first) & (curve.steps <= fitted.last) & (curve.values > 0)
    s = rate[curve.steps[inside]]
    if not len(s):
        return
    if fitted.better != "undecided":
        slope, x = (fitted.power, np.log(s)) if fitted.better == "power law" else (fitted.exponent, s)
        line = np.exp(np.log(curve.values[inside]).mean() + slope * (x - x.mean()))
        axes.plot(s, line, color=style.colour, linestyle=(0, (1, 1.6)), linewidth=1.4, alpha=0.8, zorder=2)
    if fitted.window == "late":
        start = (s[:1], curve.values[inside][:1])
        axes.plot(*start, "|", color=style.colour, markersize=13, markeredgewidth=1.8, zorder=4)


def _growth_axis(axes: Axes, rate: NDArray[np.float64], growths: Sequence[Growth]) -> None:
    """S is linear while D grows, where exponentials are straight, and logarithmic from there on."""
    ends = [g.s_last for g in growths if g.window == "early" and g.layer is None and not g.undefined]
    values = np.concatenate([np.asarray(line.get_ydata(), float) for line in axes.lines])
    last = float(rate[-1]) or 1.0
    edge = min(max(ends, default=last), last)
    axes.set_yscale("log")
    least = float(np.nanmin(values[values > 0], initial=0.5))
    axes.set_ylim(least / 3, 4)
    axes.set_xscale("symlog", linthresh=edge, linscale=1.6)
    axes.set_xlim(0, last * 1.05)
    inside = [x for x in MaxNLocator(5).tick_values(0, edge) if 0 <= x <= edge]
    beyond = [x for k in range(-6, 9) for x in (10.0**k, 3 * 10.0**k) if edge * 1.5 < x < last / 1.9]
    axes.xaxis.set_major_locator(FixedLocator([*inside, *beyond, *([last] if last > edge * 1.5 else [])]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.2g}"))
    if edge < last:
        mark_break(axes, edge)
    axes.yaxis.set_major_locator(LogLocator(numticks=7))
    axes.set_xlabel(f"cumulative learning rate S (to {edge:.2g} linear, then logarithmic)")
    axes.set_ylabel("|w−w'| / mean norm")


def _excess(axes: Axes, run: Run, curves: Sequence[Curve], style_of: Mapping[str, Style]) -> None:
    axes.set_title("b  Excess")
    ends, first = [], headline_arm(run, curves)
    for curve in curves:
        if curve.measure == "excess" and not is_floor(run, curve.arm):
            style = style_of[curve.arm]
            axes.plot(curve.steps, _positive(curve.values), **style.drawn, linewidth=2.2)
            if curve.arm == first:
                over = curve.estimator.partition("(")[2].rstrip(")")
                ends.append(f"{curve.arm} over {over}: {curve.values[-1]:.3g}")
    steps_axis(axes, run)
    axes.set_xlabel("step")
    if not axes.lines:
        axes.text(
            0.5, 0.5, "no nudged twin of a reference", transform=axes.transAxes, ha="center", va="center", color=GREY
        )
        axes.set_yticks([])
        return
    axes.axhline(1, color=GREY, linewidth=1)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(numticks=5))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylabel("× floor")
    note(axes, f"distance over that of {'each' if len(ends) > 1 else 'the'} nudged twin")
    axes.text(0.985, 0.93, "\n".join(ends), transform=axes.transAxes, ha="right", va="top", fontsize=11, color=GREY)


def _angle(axes: Axes, run: Run, curves: Sequence[Curve], style_of: Mapping[str, Style]) -> None:
    axes.set_title("c  Angle to the reference")
    for arm, style in style_of.items():
        curve = pick(curves, "angle", arm)
        if curve is not None and not _exact(run, curve):
            axes.plot(curve.steps, _positive(curve.values), **style.drawn, linewidth=2.2)
    steps_axis(axes, run)
    axes.set_xlabel("step")
    if not axes.lines:
        nothing(axes, run, "scalars")
        return
    if all(np.isnan(line.get_ydata()).all() for line in axes.lines):
        axes.set_ylim(0.1, 1)  # a run that is at its shared start: a logarithmic axis needs limits of its own
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(numticks=5))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylabel("radians")


def _layers(axes: Axes, bar: Axes, run: Run, curves: Sequence[Curve]) -> None:
    arm = headline_arm(run, curves)
    axes.set_title("d  Relative distance by layer" + (f": {arm}" if arm and len(arm) < 16 else ""))
    recorded = run.schedules("layers", "state") and arm is not None
    if arm is None or not recorded or run.awaits("layers", arm, str(run.arms[arm].reference)):
        bar.set_axis_off()
        nothing(axes, run, "layers")
        return
    map_ = layers(run, arm, "relative_distance")
    values = np.ma.masked_invalid(np.where(map_.values > 0, map_.values, np.nan)).T
    axes.set_facecolor("#C8C8C8")
    axes.grid(visible=False)
    low, high = float(values.min() if values.count() else 0.1), float(values.max() if values.count() else 1)
    norm = LogNorm(low, max(high, low * 1.01))
    steps = map_.steps.astype(float)
    rows = np.arange(len(map_.layers) + 1) - 0.5
    mesh = axes.pcolormesh(_edges(steps), rows, values, norm=norm, cmap="cividis", rasterized=True)
    steps_axis(axes, run)
    axes.set_ylim(len(map_.layers) - 0.5, -0.5)
    _names(axes, map_)
    axes.set_xlabel("step")
    axes.figure.colorbar(mesh, cax=bar)
    bar.tick_params(labelsize=11)


def _edges(steps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cell borders halfway between recorded steps; the outer ones as far out as the inner ones, not below −½."""
    if len(steps) == 1:
        return np.array([steps[0] - 0.5, steps[0] + 0.5])
    inner = (steps[1:] + steps[:-1]) / 2
    return np.concatenate([[max(2 * steps[0] - inner[0], -0.5)], inner, [2 * steps[-1] - inner[-1]]])


def _names(axes: Axes, map_: LayerMap) -> None:
    """As many layer names as fit: all, or every k-th. ".weight" and "encoder." are left out."""
    every = -(-len(map_.layers) // _ROWS)
    shown = range(0, len(map_.layers), every)
    names = [map_.layers[i].removeprefix("encoder.").removesuffix(".weight") for i in shown]
    axes.set_yticks(list(shown), names, fontsize=8.5)


def _exact(run: Run, curve: Curve) -> bool:
    return is_twin(run, curve.arm) and not curve.values.any()


def _positive(values: NDArray[np.float64]) -> NDArray[np.float64]:
    # Zero, such as the shared start, has no place on a logarithmic axis.
    return np.where(values > 0, values, np.nan)
