"""The figure over seeds: every arm's weight gap and CKA, seed by seed, and arms less their controls."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.output.figure import GREY, covered, heading, save_figure
from analysis.output.styles import Style, styles
from analysis.response.seeds import MEASURES, SeedCurve
from analysis.runs.run import Run

NAMES: Final = ("response_seeds.png", "response_seeds.svg")
_PANEL: Final = 5.335  # the width of a panel in inches, as all below
_ROW, _MORE_LINES = 0.36, 0.22  # of a row, and of each line of a name beyond its first
_LEAST_LEFT, _RIGHT, _BETWEEN = 2.07, 0.2, 0.4
_LINE: Final = 34  # characters of a name; longer ones are broken
_Row = tuple[str, str]  # an arm, and what it is compared with


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
    # One row for both measures, so that a name stands once.
    labels = [{(curve.arm, curve.against): _label(curve, runs[0]) for drawn in row for curve in drawn} for row in rows]
    heights = [0.9 + sum(map(_height, of_row.values())) for of_row in labels]
    figure = Figure()
    left = max(_LEAST_LEFT, _widest(figure, [label for of_row in labels for label in of_row.values()]) + 0.25)
    width, total = left + 2 * _PANEL + _BETWEEN + _RIGHT, 1.25 + sum(heights) + 0.5
    figure.set_size_inches(width, total)
    heading(figure, runs[0], seeds=[run.config.seed for run in runs])
    grid = figure.add_gridspec(
        len(rows), 2, left=left / width, right=1 - _RIGHT / width, bottom=0.85 / total, top=1 - 1.25 / total,
        wspace=_BETWEEN / _PANEL, hspace=0.9 * len(rows) / sum(heights),
        height_ratios=heights,
    )  # fmt: skip
    style_of = styles(runs[0].arms)
    letters = iter("abcd")
    for place, (row, names) in enumerate(zip(rows, labels, strict=True)):
        for column, drawn in enumerate(row):
            axes = figure.add_subplot(grid[place, column])
            label, beside = MEASURES[drawn[0].measure], bool(drawn[0].against)
            axes.set_title(
                f"{next(letters)}  {label[0].upper()}{label[1:]}{', less that of a control' if beside else ''}"
            )
            places = _places(names)
            _dots(axes, drawn, places, style_of)
            axes.set_yticks(list(places.values()), list(names.values()) if column == 0 else [""] * len(names))
            axes.set_ylim(sum(map(_height, names.values())), 0)
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


def _dots(axes: Axes, curves: Sequence[SeedCurve], places: Mapping[_Row, float], style_of: dict[str, Style]) -> None:
    """Every curve in its row."""
    for curve in curves:
        place = places[curve.arm, curve.against]
        colour = style_of[curve.against or curve.arm].colour
        mean, low, high = curve.interval()
        values = curve.values[:, -1]
        axes.plot(values, np.full(len(values), place), "o", color=colour, markersize=4, alpha=0.45, linewidth=0)
        axes.plot([low, high], [place, place], "-", color=colour, linewidth=2.4)
        axes.plot([mean], [place], "o", color=colour, markersize=8)
    axes.xaxis.set_major_locator(MaxNLocator(5))  # small numbers have long labels
    if any(curve.against for curve in curves):
        axes.axvline(0, color=GREY, linewidth=1.1)


def _widest(figure: Figure, labels: Iterable[str]) -> float:
    """The width of the widest of these labels in inches."""
    renderer, widths = FigureCanvasAgg(figure).get_renderer(), []
    for label in labels:
        text = figure.text(0, 0, covered(label))
        widths.append(text.get_window_extent(renderer).width / figure.dpi)
        text.remove()
    return max(widths, default=0.0)


def _places(names: Mapping[_Row, str]) -> dict[_Row, float]:
    """Where the middle of every row lies below the upper edge of a panel, in inches."""
    ends = np.cumsum([_height(label) for label in names.values()])
    return {row: float(end) - _height(names[row]) / 2 for row, end in zip(names, ends, strict=True)}


def _height(label: str) -> float:
    """The height of a row with this label in inches."""
    return _ROW + _MORE_LINES * label.count("\n")


def _label(curve: SeedCurve, run: Run) -> str:
    """An arm, with its reference where that is not the first arm; or an arm less its control. Long ones in lines."""
    if curve.against:
        return _joined(curve.arm, " − ", curve.against)
    reference = str(run.arms[curve.arm].reference)
    return _in_lines(curve.arm) if reference == next(iter(run.arms)) else _joined(curve.arm, ", to ", reference)


def _joined(name: str, link: str, other: str) -> str:
    """Two names in one line where they fit, else each from a line of its own."""
    whole = f"{name}{link}{other}"
    return whole if len(whole) <= _LINE else f"{_in_lines(name)}{link.rstrip()}\n{_in_lines(other)}"


def _in_lines(name: str) -> str:
    """A name in lines of at most `_LINE` characters, broken behind a mark if one is in a line's second half."""
    lines = []
    while len(name) > _LINE:
        mark = max(name.rfind(mark, 0, _LINE) for mark in "-_") + 1
        end = mark if mark > _LINE // 2 else _LINE
        lines.append(name[:end])
        name = name[end:]
    return "\n".join([*lines, name])
