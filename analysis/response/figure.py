"""The figure of a response: what came out over what was put in, distances, flips, and a path with its bounds."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.output.figure import GREY, Frame, note, save_figure, steps_axis
from analysis.output.styles import Style, styles
from analysis.response import Response
from analysis.response.paths import bound_label
from analysis.response.points import Point
from analysis.runs.controls import is_floor
from analysis.runs.curve import Curve, pick
from analysis.runs.run import Run

NAMES: Final = ("response.png", "response.svg")
_LINES: Final = ((0, (1, 1.2)), (0, (5, 1.5)), (0, (3, 1, 1, 1)), (0, (8, 2)))


def save(run: Run, found: Response) -> list[Path]:
    """Draws the figure into RUN/analysis/response.png and .svg; equal records give equal bytes."""
    return save_figure(run, NAMES, lambda: draw(run, found))


def draw(run: Run, found: Response) -> Figure:
    """The figure of `response(run)`."""
    style_of = styles(run.arms)
    text = "a line: nudges by size, markers: other arms   ·   d broken: path bounds (* not one here)   ·   all weights"
    frame = Frame(run, list(found.curves), style_of, text=text)
    FigureCanvasAgg(frame.figure)
    figure, grid = frame.figure, frame.grid()
    _response(figure.add_subplot(grid[0, 0]), run, found, style_of)
    for place, measure, heading, label in (
        (grid[0, 1], "distance", "b  Distance to the reference", "|w−w'|"),
        (grid[1, 0], "flipped", "c  Flipped units", "units on the watched images"),
    ):
        axes = figure.add_subplot(place)
        axes.set_title(heading)
        _over_steps(axes, run, found, style_of, measure, label)
    _path(figure.add_subplot(grid[1, 1]), run, found, style_of)
    figure.align_ylabels(figure.axes)
    return figure


def _response(axes: Axes, run: Run, found: Response, style_of: Mapping[str, Style]) -> None:
    axes.set_title("a  What came out over what was put in")
    known = [point for point in found.points if point.put_in > 0 and point.distance > 0]
    by_reference: dict[str, list[Point]] = {}
    for point in known:
        if is_floor(run, point.arm):
            by_reference.setdefault(point.reference, []).append(point)
    for nudges in by_reference.values():
        ordered = sorted(nudges, key=lambda point: point.put_in)
        axes.plot([p.put_in for p in ordered], [p.distance for p in ordered], "o-", color=GREY, linewidth=1.8)
    others = sorted((p for p in known if not is_floor(run, p.arm)), key=lambda point: point.distance)
    for k, point in enumerate(others):
        axes.plot(point.put_in, point.distance, "D", color=style_of[point.arm].colour, markersize=8, zorder=4)
        # One below the other, beside the markers: these are close to each other.
        place = (0.97, 0.06 + min(0.085, 0.9 / len(others)) * k)
        axes.annotate(
            point.arm, (point.put_in, point.distance), place, textcoords="axes fraction", fontsize=11, ha="right",
            color=style_of[point.arm].colour, arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.6},
        )  # fmt: skip
    if not known:
        _nothing(axes, "no arm whose size put in is known: record.ledger, or nudges")
        return
    low = min(min(point.put_in, point.distance) for point in known)
    high = max(max(point.put_in, point.distance) for point in known)
    axes.plot([low, high], [low, high], color=GREY, linewidth=0.9, linestyle=(0, (1, 2)), zorder=1)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("put in   (dotted: no amplification)")
    axes.set_ylabel(f"|w−w'| at step {known[0].step:,}")


def _over_steps(axes: Axes, run: Run, found: Response, style_of: Mapping[str, Style], measure: str, label: str) -> None:
    for arm, style in style_of.items():
        curve = pick(found.curves, measure, arm)
        if curve is not None and curve.values.any():
            on_top = 4 if style.line == "-" else 3  # a loss of its own is seen among many controls
            axes.plot(curve.steps, _positive(curve.values), **style.drawn, linewidth=2.0, zorder=on_top)
    steps_axis(axes, run)
    axes.set_xlabel("step")
    if not axes.lines:
        _nothing(axes, "not recorded: record.flips" if measure == "flipped" else "all are 0")
        return
    axes.set_yscale("log")
    axes.set_ylabel(label)


def _path(axes: Axes, run: Run, found: Response, style_of: Mapping[str, Style]) -> None:
    axes.set_title("d  Path bounds")
    arm = headline(run, found)
    if arm is None:
        _nothing(axes, "none: see docs/controls.md")
        steps_axis(axes, run)
        return
    note(axes, arm)
    distance = pick(found.curves, "distance", arm)
    assert distance is not None
    axes.plot(distance.steps, _positive(distance.values), color=style_of[arm].colour, linewidth=2.4, label="measured")
    for bound, line in zip(_bounds(found, arm), _LINES, strict=False):
        axes.plot(
            bound.steps, _positive(bound.values), color=GREY, linestyle=line, linewidth=1.6, label=bound_label(bound)
        )
    steps_axis(axes, run)
    axes.set_yscale("log")
    positive = distance.values[distance.values > 0]
    if len(positive):
        axes.set_ylim(float(positive.min()) / 3, float(positive.max()) * 1e3)
    axes.set_xlabel("step")
    axes.set_ylabel("|w−w'|")
    axes.legend(loc="lower right", fontsize=11)


def headline(run: Run, found: Response) -> str | None:
    """The arm whose path is drawn: the first with an objective of its own that has bounds, else the first with any."""
    arms = [arm for arm in run.arms if _bounds(found, arm)]
    return next(iter([*(arm for arm in arms if run.arms[arm].kind == "objective"), *arms]), None)


def _bounds(found: Response, arm: str) -> list[Curve]:
    return [curve for curve in found.curves if curve.arm == arm and curve.kind == "upper bound"]


def _nothing(axes: Axes, why: str) -> None:
    axes.text(0.5, 0.5, why, transform=axes.transAxes, ha="center", va="center", color=GREY)
    axes.set_yticks([])


def _positive(values: NDArray[np.float64]) -> NDArray[np.float64]:
    # Zero, such as the shared start, has no place on a logarithmic axis.
    return np.where(values > 0, values, np.nan)
