"""The figure of few-shot error: errors and bounds over shots at the last step, both settings, of h and of z."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from analysis.arrays.few_shot_bounds import BOUNDS
from analysis.evaluation.few_shot import FEATURES, FewShot, Row
from analysis.evaluation.few_shot.measured import Setting
from analysis.output.figure import GREY, Frame, save_figure
from analysis.output.styles import Style, styles
from analysis.runs.run import Run

NAMES: Final = ("few_shot.png", "few_shot.svg")
WORDS: Final = {"p1": "first paper's", "p3": "third paper's", "cantelli": "Cantelli's"}
# Lines say what it is; arms are told apart by their colours alone.
_LOOKS: Final[dict[str, dict[str, Any]]] = {
    "p1": {"linestyle": ":", "linewidth": 1.5},
    "p3": {"linestyle": "-.", "linewidth": 1.2},
    "cantelli": {"linestyle": (0, (5, 1.6)), "linewidth": 1.6},
}
_SHADE: Final = "#F1E9E4"
_ABOVE: Final = 12.0  # bounds up to so many times the error of guessing are drawn
_APART: Final = 3.0  # ticks, as a ratio
_SETTINGS: Final[Mapping[Setting, str]] = {
    "exact": "shots and errors of one\npopulation: bounds hold",
    "practice": "shots of train, errors on test:\nbounds promise nothing",
}


def save(run: Run, measured: FewShot) -> list[Path]:
    """Draws the figure into RUN/analysis/few_shot.png and .svg; equal rows give equal bytes."""
    return save_figure(run, NAMES, lambda: draw(run, measured))


def draw(run: Run, measured: FewShot) -> Figure:
    """The figure of the first labelling, on test at the last step: a row of panels for each feature."""
    first, last = measured.rows[0], max(row.step for row in measured.rows)
    rows = [r for r in measured.rows if (r.step, r.labelling, r.split) == (last, first.labelling, "test")]
    style_of = {arm: replace(style, line="-") for arm, style in styles(run.arms).items()}
    text = "   ·   ".join(
        [
            "solid: error ± standard error",
            "bounds: dashed Cantelli's, dash-dotted third paper's, dotted first paper's",
            "shaded: guessing does as well",
        ]
    )
    frame = Frame(run, [], style_of, text=text)
    FigureCanvasAgg(frame.figure)
    about = f"classes: {first.labelling}   ·   step {last:,}   ·   test, n = {rows[0].n:,}   ·   {first.draws} draws"
    frame.figure.text(0.985, 1 - 0.9 / frame.height, about, fontsize=12, ha="right", color=GREY)
    features = [name for name in FEATURES if any(row.feature == name for row in rows)]
    columns = list(dict.fromkeys((row.setting, row.ways) for row in sorted(rows, key=lambda row: row.ways)))
    columns.sort(key=lambda column: column[0] == "practice")
    grid = frame.grid()[:, :].subgridspec(len(features), len(columns), wspace=0.24, hspace=0.46)
    for line, feature in enumerate(features):
        for number, (setting, ways) in enumerate(columns):
            axes = frame.figure.add_subplot(grid[line, number])
            shown = [row for row in rows if (row.feature, row.setting, row.ways) == (feature, setting, ways)]
            axes.set_title(f"{feature}  {ways}-way, {setting}", fontsize=12.5)
            _panel(axes, shown, style_of)
            axes.set_xlabel("shots: samples of each class", fontsize=11)
            axes.set_ylabel("error, upper bounds on it" if not number else "", fontsize=11)
    return frame.figure


def _panel(axes: Axes, rows: Sequence[Row], style_of: Mapping[str, Style]) -> None:
    guess = 1 - 1 / rows[0].ways
    axes.set_xscale("log")
    axes.set_yscale("log", nonpositive="clip")
    # The first arms lie on top: copies of them are where they are.
    for arm, style in reversed(list(style_of.items())):
        of_arm = [row for row in rows if row.arm == arm]
        m, errors = [row.shots for row in of_arm], np.array([row.error for row in of_arm])
        for name, look in _LOOKS.items():
            values = np.array([row.bounds[name].value for row in of_arm])
            axes.plot(m, _positive(values), color=style.colour, alpha=0.85, **look)
        se = np.nan_to_num([row.standard_error for row in of_arm])
        axes.errorbar(m, _positive(errors), se, color=style.colour, linewidth=2, marker="o", markersize=3.5, zorder=4)
    _range(axes, rows, guess)
    _ticks(axes, sorted({row.shots for row in rows}))
    if not any(row.error > 0 for row in rows):
        why = "no errors" if any(row.error == 0 for row in rows) else "undefined"
        axes.text(0.5, 0.3, why, transform=axes.transAxes, ha="center", va="center", color=GREY)


def _range(axes: Axes, rows: Sequence[Row], guess: float) -> None:
    """From below the least number to well above the error of guessing, from where on bounds are vacuous."""
    numbers = [number for row in rows for number in (row.error, *(bound.value for bound in row.bounds.values()))]
    top = _ABOVE * guess
    far = _not_drawn(rows, top)
    # Below the least line there is room for the words.
    low = min([number for number in numbers if number > 0] + [guess / 5]) / (8 if far else 3.4)
    axes.set_ylim(low, top)
    axes.axhspan(guess, top, color=_SHADE, zorder=0)
    axes.axhline(guess, color=GREY, linewidth=1)
    words: dict[str, Any] = {"transform": axes.transAxes, "fontsize": 9.5, "color": GREY, "zorder": 5}
    clear = {"facecolor": _SHADE, "edgecolor": "none", "pad": 1.5}
    axes.text(0.03, 0.97, f"vacuous: ≥ {guess:.3g}", va="top", bbox=clear, **words)
    axes.text(0.03, 0.03, _SETTINGS[rows[0].setting], va="bottom", **words)
    if far:
        axes.text(0.03, 0.17, far, va="bottom", **{**words, "fontsize": 8.5})


def _not_drawn(rows: Sequence[Row], top: float) -> str:
    """Which arms' bounds lie above the panel as a whole."""
    parts, arms = [], list(dict.fromkeys(row.arm for row in rows))
    for name in BOUNDS:
        least = {
            arm: min(
                (row.bounds[name].value for row in rows if row.arm == arm and row.bounds[name].value > 0), default=0
            )
            for arm in arms
        }
        hidden = [arm for arm, value in least.items() if value > top]
        if hidden:
            whose = "" if len(hidden) == len(arms) else f", {len(hidden)} of {len(arms)} arms"
            parts.append(f"above: {WORDS[name]}{whose} (≥ {min(least[arm] for arm in hidden):.2g})")
    return "\n".join(parts)  # a line each: a panel is narrow


def _ticks(axes: Axes, shots: Sequence[int]) -> None:
    kept = [shots[0]]
    for m in shots:
        kept += [m] if m >= _APART * kept[-1] else []
    axes.xaxis.set_major_locator(FixedLocator(kept))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda m, _: f"{m:,.0f}"))
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 600 * low else (1.0,), numticks=12))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.tick_params(labelsize=10)


def _positive(values: np.ndarray) -> np.ndarray:
    """What a logarithmic axis has a place for, others as NaN."""
    return np.where((values > 0) & np.isfinite(values), values, np.nan)
