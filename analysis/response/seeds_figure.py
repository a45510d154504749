"""The figure over seeds: every arm's weight gap and CKA, seed by seed, and arms less their controls."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.output.figure import GREY, heading, save_figure
from analysis.output.styles import Style, styles
from analysis.response.seeds import MEASURES, SeedCurve
from analysis.runs.run import Run

NAMES: Final = ("response_seeds.png", "response_seeds.svg")
_ROW: Final = 0.34  # inches


def save(runs: Sequence[Run], curves: Sequence[SeedCurve]) -> list[Path]:
    """Draws the figure into the first run's analysis/, as .png and .svg; equal records give equal bytes."""
    return save_figure(runs[0], NAMES, lambda: draw(runs, curves))


def draw(runs: Sequence[Run], curves: Sequence[SeedCurve]) -> Figure:
    """Small dots: seeds; large ones: their mean, with the 95 % interval. Below, differences within each seed."""
    rows = [
        [[curve for curve in of_measure if bool(curve.against) == beside] for of_measure in _by_measure(curves)]
        for beside in (False, True)
    ]
    # A measure that a seed lacks has no panel.
    rows = [[drawn for drawn in row if drawn] for row in rows if any(row)]
    heights = [0.9 + _ROW * max(len(column) for column in row) for row in rows]
    figure = Figure(figsize=(13.34, 1.25 + sum(heights) + 0.5))
    FigureCanvasAgg(figure)
    seeds = [run.config.seed for run in runs]
    heading(figure, runs[0], seeds=seeds)
    total = float(figure.get_figheight())
    grid = figure.add_gridspec(
        len(rows), 2, left=0.155, right=0.985, bottom=0.85 / total, top=1 - 1.25 / total,
        wspace=0.34, hspace=0.9 * len(rows) / sum(heights), height_ratios=heights,
    )  # fmt: skip
    style_of = styles(runs[0].arms)
    letters = iter("abcd")
    for place, row in enumerate(rows):
        for column, drawn in enumerate(row):
            axes = figure.add_subplot(grid[place, column])
            label, beside = MEASURES[drawn[0].measure], bool(drawn[0].against)
            axes.set_title(
                f"{next(letters)}  {label[0].upper()}{label[1:]}{', less that of a control' if beside else ''}"
            )
            _dots(axes, runs[0], drawn, style_of)
    shown = [curve for row in rows for drawn in row for curve in drawn]
    lasts = dict.fromkeys(f"{int(curve.steps[-1]):,}" for curve in shown)
    unfinished = "" if all(run.finished for run in runs) else "   ·   UNFINISHED"
    parts = [
        f"step {' and '.join(lasts)}{unfinished}", "small dots: one seed each", "large dots: mean and 95 % interval",
        "CKA: panel h",
    ]  # fmt: skip
    text = "   ·   ".join(parts)
    figure.text(0.5, 0.16 / total, text, fontsize=12, ha="center", color=GREY)
    return figure


def _by_measure(curves: Sequence[SeedCurve]) -> list[list[SeedCurve]]:
    return [[curve for curve in curves if curve.measure == measure] for measure in MEASURES]


def _dots(axes: Axes, run: Run, curves: Sequence[SeedCurve], style_of: dict[str, Style]) -> None:
    places = np.arange(len(curves))[::-1]
    for place, curve in zip(places.tolist(), curves, strict=True):
        colour = style_of[curve.against or curve.arm].colour
        mean, low, high = curve.interval()
        values = curve.values[:, -1]
        axes.plot(values, np.full(len(values), place), "o", color=colour, markersize=4, alpha=0.45, linewidth=0)
        axes.plot([low, high], [place, place], "-", color=colour, linewidth=2.4)
        axes.plot([mean], [place], "o", color=colour, markersize=8)
    axes.set_yticks(places, [_name(curve, run) for curve in curves])
    axes.set_ylim(-0.7, len(curves) - 0.3)
    axes.xaxis.set_major_locator(MaxNLocator(5))  # small numbers have long labels
    if any(curve.against for curve in curves):
        axes.axvline(0, color=GREY, linewidth=1.1)


def _name(curve: SeedCurve, run: Run) -> str:
    """An arm, with its reference where that is not the first arm; or an arm less its control."""
    if curve.against:
        return f"{curve.arm} − {curve.against}"
    reference = run.arms[curve.arm].reference
    return curve.arm if reference == next(iter(run.arms)) else f"{curve.arm}, to {reference}"
