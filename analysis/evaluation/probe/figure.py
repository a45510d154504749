"""The figure of probes: test accuracy against the number of shots, and over steps, for h and z."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator, NullLocator
from numpy.typing import ArrayLike

from analysis.evaluation.probe.curves import AccuracyCurve
from analysis.evaluation.probe.table import HEADS, SHOWN
from analysis.output.figure import GREY, Frame, save_figure, steps_axis
from analysis.output.styles import Style, styles
from analysis.runs.run import Run

NAMES: Final = ("probe.png", "probe.svg")
_ALL_AT: Final = 2.5  # "all" stands so many times to the right of the most shots
_MOST_TICKS: Final = 5


def save(run: Run, curves: Sequence[AccuracyCurve]) -> list[Path]:
    """Draws the figure into RUN/analysis/probe.png and .svg; equal curves give equal bytes."""
    return save_figure(run, NAMES, lambda: draw(run, curves))


def draw(run: Run, curves: Sequence[AccuracyCurve]) -> Figure:
    """The figure of the first labelling: a row of panels for each feature. C-way, test, means over samples: three
    classifiers against shots at the last step, the difference to the reference's, and one over steps.
    """
    style_of = {arm: replace(style, line="-") for arm, style in styles(run.arms).items()}
    labelling = curves[0].labelling
    ways = max(curve.ways for curve in curves if curve.labelling == labelling)
    shown = [
        curve
        for curve in curves
        if (curve.labelling, curve.split, curve.ways) == (labelling, "test", ways)
        and curve.measure in ("accuracy", "accuracy_difference")
    ]
    features = list(dict.fromkeys(str(curve.feature) for curve in shown))
    classifiers = [name for name in SHOWN if any(curve.classifier == name for curve in shown)]
    compared = "linear" if "linear" in classifiers else classifiers[0]
    step, draws = int(shown[0].steps[-1]), max(curve.draws for curve in shown)
    most = None if any(curve.shots is None for curve in shown) else max(curve.shots or 0 for curve in shown)
    text = "   ·   ".join(
        [
            f"{shown[0].n:,} test images, {ways} classes: {labelling}",
            f"bands: 95 % intervals ({draws} draws), of all: over samples" if draws > 1 else "bars: 95 % intervals",
            f"shots: step {step:,}",
            *([] if shown[0].protocol == "default" else [f"protocol {shown[0].protocol}"]),
        ]
    )
    frame = Frame(run, [], style_of, text=text, temperature=False)
    FigureCanvasAgg(frame.figure)
    columns = [*classifiers, "difference", "steps"]
    grid = frame.grid()[:, :].subgridspec(len(features), len(columns), wspace=0.34, hspace=0.46)
    chance = 1 / ways
    for row, feature in enumerate(features):
        for column, name in enumerate(columns):
            axes = frame.figure.add_subplot(grid[row, column])
            of_feature = [curve for curve in shown if curve.feature == feature]
            if name == "steps":
                axes.set_title(f"{feature}  {HEADS[compared]}, {_word(most)}", fontsize=12)
                _over_steps(axes, run, [c for c in of_feature if _is(c, compared, most)], style_of)
            else:
                classifier = compared if name == "difference" else name
                difference = name == "difference"
                words = f"{HEADS[classifier]}, less ref." if difference else HEADS[classifier]
                axes.set_title(f"{feature}  {words}", fontsize=12.5)
                drawn = [
                    c for c in of_feature if c.classifier == classifier and (c.reference is not None) == difference
                ]
                _against_shots(axes, drawn, style_of, chance=None if difference else chance)
            axes.set_xlabel("step" if name == "steps" else "shots a class", fontsize=11)
            axes.tick_params(labelsize=10)
    return frame.figure


def _is(curve: AccuracyCurve, classifier: str, shots: int | None) -> bool:
    return (curve.classifier, curve.shots, curve.reference) == (classifier, shots, None)


def _word(shots: int | None) -> str:
    return "all" if shots is None else f"{shots} shots"


def _against_shots(
    axes: Axes, curves: Sequence[AccuracyCurve], style_of: dict[str, Style], *, chance: float | None
) -> None:
    few = sorted({curve.shots for curve in curves if curve.shots is not None})
    at_all = _ALL_AT * few[-1] if few else 1.0
    for arm in reversed(list(dict.fromkeys(curve.arm for curve in curves))):
        of_arm = {curve.shots: curve for curve in curves if curve.arm == arm}
        colour = style_of[arm].colour
        there = [of_arm[m] for m in few if m in of_arm]
        if there:
            at = [m for m in few if m in of_arm]
            axes.plot(at, _last(there, "value"), color=colour, marker="o", markersize=3, linewidth=1.6)
            _band(axes, at, _last(there, "low"), _last(there, "high"), colour)
        if None in of_arm:
            value, low, high = (_last([of_arm[None]], what)[0] for what in ("value", "low", "high"))
            bars = np.nan_to_num([[value - low], [high - value]])
            axes.errorbar([at_all], [value], yerr=bars, color=colour, marker="D", markersize=4, capsize=2)
    axes.axhline(chance or 0.0, color=GREY, linewidth=1.0, linestyle=":")
    ticks: list[float] = [*few[:: max(1, -(-len(few) // _MOST_TICKS))]]
    labels = [f"{m:g}" for m in ticks]
    if any(curve.shots is None for curve in curves):
        ticks, labels = [*ticks, at_all], [*labels, "all"]
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FixedFormatter(labels))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(MaxNLocator(6))


def _last(curves: Sequence[AccuracyCurve], what: str) -> list[float]:
    """Values, or limits of intervals, at the last step."""
    if what == "value":
        return [float(curve.values[-1]) for curve in curves]
    return [np.nan if curve.interval is None else float(getattr(curve.interval, what)[-1]) for curve in curves]


def _over_steps(axes: Axes, run: Run, curves: Sequence[AccuracyCurve], style_of: dict[str, Style]) -> None:
    for curve in reversed(curves):
        colour = style_of[curve.arm].colour
        axes.plot(curve.steps, curve.values, color=colour, marker="o", markersize=3, linewidth=1.6)
        if curve.interval is not None:
            _band(axes, curve.steps, curve.interval.low, curve.interval.high, colour)
    steps_axis(axes, run, max(int(curve.steps[-1]) for curve in curves), narrow=True)
    axes.yaxis.set_major_locator(MaxNLocator(6))


def _band(axes: Axes, at: ArrayLike, low: ArrayLike, high: ArrayLike, colour: str) -> None:
    """The range between low and high; a bar where it is of one point, which a band would not show."""
    if np.size(at) == 1:
        axes.vlines(at, low, high, color=colour, linewidth=1.2)
    else:
        axes.fill_between(at, low, high, color=colour, alpha=0.16, lw=0)
