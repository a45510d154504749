"""The figure of class geometry: five measures of z and of h over steps, train and test as two line styles."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from analysis.evaluation.geometry import FEATURES, GeometryCurve
from analysis.output.figure import GREY, Frame, save_figure, steps_axis
from analysis.output.styles import SPLIT_LOOKS, SPLIT_WORDS, Style, styles
from analysis.runs.run import Run

NAMES: Final = ("geometry.png", "geometry.svg")
PANELS: Final = {
    "cdnv": "CDNV",
    "augmentation_collapse": "Two views",
    "within_class_collapse": "Within classes",
    "etf_cosine_rms": "Cosines off ETF's",
    "effective_rank": "Effective rank",
}
_DECADES: Final = 100.0  # values that differ by more get a logarithmic axis


def save(run: Run, curves: Sequence[GeometryCurve]) -> list[Path]:
    """Draws the figure into RUN/analysis/geometry.png and .svg; equal curves give equal bytes."""
    return save_figure(run, NAMES, lambda: draw(run, curves))


def draw(run: Run, curves: Sequence[GeometryCurve]) -> Figure:
    """The figure of the first labelling: a row of panels for z and one for h."""
    # Lines say which split it is: arms are told apart by their colours alone.
    style_of = {arm: replace(style, line="-") for arm, style in styles(run.arms).items()}
    labelling = curves[0].labelling
    counts = {curve.split: curve.n for curve in curves}
    text = "   ·   ".join(
        [
            f"{SPLIT_WORDS['test']}, n = {counts['test']:,}",
            f"{SPLIT_WORDS['train']}, n = {counts['train']:,}",
            f"classes: {labelling}",
            "dotted: at NSCL's optimum, where all else of z is 0",
        ]
    )
    frame = Frame(run, curves, style_of, text=text)
    FigureCanvasAgg(frame.figure)
    grid = frame.grid()[:, :].subgridspec(len(FEATURES), len(PANELS), wspace=0.36, hspace=0.46)
    for row, feature in enumerate(FEATURES):
        for column, (measure, name) in enumerate(PANELS.items()):
            axes = frame.figure.add_subplot(grid[row, column])
            axes.set_title(f"{feature}  {name}", fontsize=12.5)
            shown = [c for c in curves if (c.feature, c.measure, c.labelling) == (feature, measure, labelling)]
            _panel(axes, run, shown, style_of)
            axes.set_xlabel("step", fontsize=11)
            axes.tick_params(labelsize=10)
    return frame.figure


def _panel(axes: Axes, run: Run, curves: Sequence[GeometryCurve], style_of: Mapping[str, Style]) -> None:
    # The first arms lie on top: copies of them are where they are.
    for curve in reversed(curves):
        look = {**SPLIT_LOOKS[str(curve.split)], "color": style_of[curve.arm].colour}
        axes.plot(curve.steps, curve.values, **look, marker="o", markersize=3)
    steps_axis(axes, run, max(int(curve.steps[-1]) for curve in curves), narrow=True)
    values = np.concatenate([curve.values for curve in curves])
    if not np.isfinite(values).any():
        axes.text(0.5, 0.5, "undefined", transform=axes.transAxes, ha="center", va="center", color=GREY)
        axes.set_yticks([])
        return
    optimum = curves[0].at_optimum
    if optimum:
        axes.axhline(optimum, color=GREY, linewidth=1.2, linestyle=":")
    if np.nanmin(values) > 0 and np.nanmax(values) > _DECADES * np.nanmin(values) and not optimum:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(numticks=6))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    else:
        axes.yaxis.set_major_locator(MaxNLocator(5))
