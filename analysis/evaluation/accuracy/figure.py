"""The figure of accuracy against alignment: a point for every run, step and arm."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.evaluation.accuracy import MEASURES, Accuracies, Quantity
from analysis.evaluation.accuracy.points import Point
from analysis.evaluation.accuracy.table import about, remark
from analysis.output.figure import GREY, note, save_figure
from analysis.output.styles import Style, styles
from analysis.statistics.proportions import Interval

NAMES: Final = ("accuracy.png", "accuracy.svg")
_MARKERS: Final = "os^DvPX*<>"  # of runs; those beyond begin anew
_SMALLEST, _LARGEST = 4.0, 13.0  # points, of the first and the last step
_CROSS: Final = 9.0
_PANELS: Final[tuple[tuple[Quantity, str, str], ...]] = (
    ("accuracy", "a  Accuracy", "test accuracy, %"),
    ("difference", "b  Less the reference's", "accuracy less the reference's, percentage points"),
)
_MOST_STEPS, _MOST_RUNS, _MOST_NAME = 6, 8, 58
_LEGEND_CHARACTERS: Final = 135
_TOP, _PANEL, _LINE = 1.25, 4.6, 0.27  # inches


def save(accuracies: Accuracies) -> list[Path]:
    """Draws accuracy.png and .svg into the first run's analysis/; equal points give equal bytes."""
    return save_figure(accuracies.points[0].run, NAMES, lambda: draw(accuracies))


def draw(accuracies: Accuracies) -> Figure:
    """Left accuracy, right the paired difference to the reference's, each against the alignment to the reference."""
    points, by_arm = accuracies.points, _styles(accuracies.points)
    arms = _handles(by_arm)
    steps, runs = _step_handles(points), _run_handles(points)
    rows = [arms, steps, *([runs] if runs else [])]
    columns = [_columns(row) for row in rows]
    heights = [-(-len(row) // wide) for row, wide in zip(rows, columns, strict=True)]
    remarks = {of: [remark(one) for one in accuracies.correlations if one.of == of] for of, _, _ in _PANELS}
    foot = 0.75 + _LINE * (sum(heights) + max(map(len, remarks.values())) + 2)
    height = _TOP + _PANEL + foot
    figure = Figure(figsize=(13.34, height))
    FigureCanvasAgg(figure)
    _head(figure, accuracies, height)
    grid = figure.add_gridspec(1, 2, left=0.07, right=0.985, bottom=foot / height, top=1 - _TOP / height, wspace=0.19)
    for column, (of, heading, unit) in enumerate(_PANELS):
        axes = figure.add_subplot(grid[column])
        axes.set_title(heading)
        _panel(axes, points, of, by_arm)
        asked = accuracies.asked
        axes.set_xlabel(f"alignment to the reference: {MEASURES[asked.measure]} of {asked.feature}")
        axes.set_ylabel(unit)
        left = float(axes.get_position().x0)
        for row, text in enumerate(remarks[of]):
            figure.text(left, (foot - 0.8 - _LINE * row) / height, text, fontsize=11.5, color=GREY)
    at = 0.36
    for row, wide, lines in reversed(list(zip(rows, columns, heights, strict=True))):
        place = {"loc": "lower center", "bbox_to_anchor": (0.5, at / height), "borderaxespad": 0.0}
        figure.legend(handles=row, ncols=wide, **place)
        at += _LINE * lines
    text = "bars: 95 % intervals   ·   black ticks in a: the reference's accuracy at that step"
    figure.text(0.5, 0.14 / height, f"{text}   ·   crosses are in no correlation", fontsize=12, ha="center", color=GREY)
    return figure


def _head(figure: Figure, accuracies: Accuracies, height: float) -> None:
    names = list(dict.fromkeys(point.name for point in accuracies.points))
    first = accuracies.points[0]
    name = names[0] if len(names) == 1 else f"{len(names)} runs of {first.run.config.data.name}"
    name = name if len(name) <= 70 else f"{name[:69]}…"
    facts = f"{about(accuracies)}   ·   {first.n:,} test images, {first.ways}-way"
    figure.text(0.07, 1 - 0.4 / height, name, fontsize=20, fontweight="bold", parse_math=False)
    figure.text(0.07, 1 - 0.69 / height, facts, fontsize=14, color=GREY, parse_math=False)


def _styles(points: Sequence[Point]) -> dict[str, Style]:
    """A style for every arm by its name, in whichever runs it is; where runs differ in it, its label is its name."""
    arms: dict[str, Any] = {}
    differing = set()
    for run in dict.fromkeys(point.run for point in points):
        for name, spec in run.arms.items():
            if arms.setdefault(name, spec) != spec:
                differing.add(name)
    shown = {point.arm for point in points}
    return {
        name: dataclasses.replace(style, label=name) if name in differing else style
        for name, style in styles(arms).items()
        if name in shown
    }


def _look(point: Point, style: Style, marker: str, size: float) -> dict[str, Any]:
    """How a point is drawn: controls hollow, step 0 a cross."""
    look: dict[str, Any] = {"color": style.colour, "markersize": size, "linestyle": "none"}
    look |= {"marker": marker, "markeredgewidth": 1.5}
    if point.step == 0:
        return look | {"marker": "x", "markersize": _CROSS}
    return look if point.objective else look | {"markerfacecolor": "white"}


def _panel(axes: Axes, points: Sequence[Point], of: Quantity, by_arm: dict[str, Style]) -> None:
    markers, sizes = _by_run(points), _sizes(points)
    drawn = 0
    for point in points:
        value: Interval = getattr(point, of)
        if math.isnan(point.alignment.value) or math.isnan(value.value):
            continue
        drawn += 1
        look = _look(point, by_arm[point.arm], markers[point.name], sizes[point.step])
        y = Interval(*(100 * number for number in value))
        bars = {"xerr": _bar(point.alignment), "yerr": _bar(y), "elinewidth": 1.1, "capsize": 0}
        order = 5 if point.step == 0 else 3 if point.objective else 2.5
        axes.errorbar([point.alignment.value], [y.value], **bars, **look, zorder=order)
        if of == "accuracy" and not math.isnan(point.reference_accuracy.value):
            tick = {"marker": "_", "color": "#1A1A1A", "markersize": 15, "markeredgewidth": 1.6, "linestyle": "none"}
            axes.plot([point.alignment.value], [100 * point.reference_accuracy.value], **tick, zorder=4)
    if of == "difference":
        axes.axhline(0, color=GREY, linewidth=1)
        note(axes, "0: as good as the reference")
    if not drawn:
        axes.text(0.5, 0.5, "undefined", transform=axes.transAxes, ha="center", va="center", color=GREY)
        axes.set_yticks([])


def _bar(interval: Interval) -> list[list[float]]:
    below, above = interval.value - interval.low, interval.high - interval.value
    return [[0.0 if math.isnan(side) else max(0.0, side)] for side in (below, above)]


def _by_run(points: Sequence[Point]) -> dict[str, str]:
    names = dict.fromkeys(point.name for point in points)
    return {name: _MARKERS[index % len(_MARKERS)] for index, name in enumerate(names)}


def _sizes(points: Sequence[Point]) -> dict[int, float]:
    """Later steps are larger, by their rank."""
    steps = sorted({point.step for point in points})
    room = (_LARGEST - _SMALLEST) / max(1, len(steps) - 1)
    return {step: _LARGEST - room * (len(steps) - 1 - rank) for rank, step in enumerate(steps)}


def _handles(by_arm: dict[str, Style]) -> list[Line2D]:
    look = {"linestyle": "none", "marker": "o", "markersize": 8, "markeredgewidth": 1.5}
    hollow = {name for name, style in by_arm.items() if style.line != "-"}
    return [
        Line2D([], [], color=style.colour, **look, label=style.label, **_filling(name in hollow))
        for name, style in by_arm.items()
    ]


def _filling(hollow: bool) -> dict[str, Any]:
    return {"markerfacecolor": "white"} if hollow else {}


def _step_handles(points: Sequence[Point]) -> list[Line2D]:
    """Some steps, evenly by rank, with the first and the last."""
    sizes = _sizes(points)
    steps = sorted(sizes)
    count = min(len(steps), _MOST_STEPS)
    chosen = dict.fromkeys(steps[round(k * (len(steps) - 1) / max(1, count - 1))] for k in range(count))
    look = {"color": GREY, "linestyle": "none", "markeredgewidth": 1.5}
    return [
        Line2D(
            [],
            [],
            **look,
            marker="o" if step else "x",
            markersize=sizes[step] if step else _CROSS,
            label=f"step {step:,}",
        )
        for step in chosen
    ]


def _of_step(step: int, size: float) -> dict[str, Any]:
    return {"marker": "o", "markersize": size} if step else {"marker": "x", "markersize": _CROSS}


def _run_handles(points: Sequence[Point]) -> list[Line2D]:
    """The runs, where there are several, as many as there is room for."""
    markers = _by_run(points)
    if len(markers) == 1:
        return []
    differs = {point.name: point.differs for point in points}
    seeds = {point.name: point.seed for point in points}
    handles = []
    for name, marker in list(markers.items())[:_MOST_RUNS]:
        label = ", ".join([name, *([differs[name]] if differs[name] else []), f"seed {seeds[name]}"])
        label = label if len(label) <= _MOST_NAME else f"{label[: _MOST_NAME - 1]}…"
        handles.append(Line2D([], [], color=GREY, linestyle="none", marker=marker, markersize=8, label=label))
    if len(markers) > _MOST_RUNS:
        handles.append(Line2D([], [], linestyle="none", label=f"and {len(markers) - _MOST_RUNS} more"))
    return handles


def _columns(handles: Sequence[Line2D]) -> int:
    longest = max(len(str(handle.get_label())) for handle in handles) + 8
    columns = max(1, min(len(handles), _LEGEND_CHARACTERS // longest))
    return -(-len(handles) // -(-len(handles) // columns))
