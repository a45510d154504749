"""The static figure of a sweep: each axis against each measure, at one match."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from analysis.aggregation.matching import AXES
from analysis.output import files
from analysis.output.figure import GREY, note, save_figure_in
from analysis.output.styles import Style
from analysis.sweeps.arms import family_styles
from analysis.sweeps.axes import ARM, Line, Scale, axes_of, lines, once, scale_of
from analysis.sweeps.numbers import QUANTITIES, Numbers, Row
from analysis.sweeps.reading import Swept, shown
from analysis.sweeps.wording import INTERVAL, amount_words, amounts_of, plain, status

NAMES: Final = ("sweep.png", "sweep.svg")
_WIDTH, _HEAD, _PANEL, _GAP, _LEGEND_LINE = 13.34, 1.25, 2.9, 1.02, 0.27  # inches
_MOST_AXES: Final = 4
_MARKERS: Final = "osD^Xv*P"
_LEGEND_CHARACTERS: Final = 135
_LONG_NAME: Final = 14  # characters of a category beyond which names are turned
_SHIFT: Final = 0.14  # of a category, between lines that would lie on each other


def save(swept: Swept, numbers: Numbers) -> list[Path]:
    """Draws sweep.png and .svg into the sweep's analysis/; equal records give equal bytes."""
    return save_figure_in(files.folder(swept.path), NAMES, lambda: draw(swept, numbers))


def draw(swept: Swept, numbers: Numbers) -> Figure:
    """A row for each axis, a column for each measure, at the first match that has numbers."""
    match = numbers.best_match
    names, quantities = axes_of(swept)[:_MOST_AXES], numbers.quantities
    style_of = family_styles(swept.arms, swept.placed)
    rows = [row for row in numbers.rows if row.match == match and row.number.known]
    scales = [scale_of(swept, axis) for axis in names]
    drawn = {
        (scale.axis, quantity): once(lines(swept, scale, (row for row in rows if row.quantity == quantity)))
        for scale in scales
        for quantity in quantities
    }
    others = list(dict.fromkeys(line.others for its in drawn.values() for line in its if line.others))
    handles = _handles(drawn, style_of, others)
    longest = max(len(str(handle.get_label())) for handle in handles) + 8
    columns = max(1, min(len(handles), _LEGEND_CHARACTERS // longest))
    foot = 0.69 + _LEGEND_LINE * -(-len(handles) // columns)
    below = [_room(scale) for scale in scales]
    height = _HEAD + len(names) * (_PANEL + _GAP) + sum(below) + foot
    figure = Figure(figsize=(_WIDTH, height))
    _head(figure, swept, height)
    figure.legend(handles=handles, loc="lower center", ncols=columns, bbox_to_anchor=(0.5, 0.66 / height))
    # Two lines: one would be wider than the figure.
    caption = f"compared at equal {AXES[match]}   ·   bars: {INTERVAL}, none of fewer than three"
    figure.text(0.5, 0.4 / height, caption, fontsize=12, ha="center", color=GREY)
    figure.text(0.5, 0.16 / height, _moved(rows), fontsize=12, ha="center", color=GREY)
    left, right, between = 0.66, 0.2, 0.86
    width = (_WIDTH - left - right - between * (len(quantities) - 1)) / len(quantities)
    top, place = height - _HEAD, 0
    letters = "abcdefghijklmnopqrstuvwxyz"
    for scale, room in zip(scales, below, strict=True):
        for column, quantity in enumerate(quantities):
            x = left + column * (width + between)
            axes = figure.add_axes((x / _WIDTH, (top - _PANEL) / height, width / _WIDTH, _PANEL / height))
            axes.set_title(f"{letters[place]}  {QUANTITIES[quantity]}")
            place += 1
            note(axes, _at(numbers, match, quantity))
            _panel(axes, _present(scale, drawn[scale.axis, quantity]), drawn[scale.axis, quantity], style_of, others)
        top -= _PANEL + _GAP + room
    return figure


def _moved(rows: Sequence[Row]) -> str:
    """How far weights and Σ had moved where they are compared, from the least to the most."""
    words = []
    for name, numbers in (("weights", [r.motion for r in rows]), ("Σ", [r.similarity_motion for r in rows])):
        known = [number.value for number in numbers if number.known]
        if known:
            words.append(f"{name} had moved {plain(min(known))} to {plain(max(known))}")
    return "   ·   ".join(words)


def _head(figure: Figure, swept: Swept, height: float) -> None:
    name = swept.name if len(swept.name) <= 70 else f"{swept.name[:69]}…"
    figure.text(0.047, 1 - 0.4 / height, name, fontsize=20, fontweight="bold", parse_math=False)
    figure.text(0.047, 1 - 0.69 / height, status(swept), fontsize=14, color=GREY, parse_math=False)


def _at(numbers: Numbers, match: str, quantity: str) -> str:
    words = dict.fromkeys(amount_words(match, amount) for amount in amounts_of(numbers, match, quantity))
    return next(iter(words)) if len(words) == 1 else "each arm's own"


def _present(scale: Scale, its: Sequence[Line]) -> Scale:
    """The axis of arms with those alone that have a number in a panel."""
    if scale.axis != ARM:
        return scale
    there = {line.family for line in its}
    names = tuple(name for name in scale.names if name in there)
    return replace(scale, places={key: name for key, name in scale.places.items() if name in there}, names=names)


def _handles(
    drawn: Mapping[tuple[str, str], Sequence[Line]], style_of: Mapping[str, Style], others: Sequence[str]
) -> list[Line2D]:
    families = {line.family for its in drawn.values() for line in its}
    handles = [
        Line2D([], [], color=style.colour, linestyle=style.line, linewidth=2.6, label=_plain(style.label))
        for family, style in style_of.items()
        if family in families
    ]
    if 1 < len(others) <= len(_MARKERS):
        grey = {"color": GREY, "linestyle": "none", "markersize": 7}
        handles += [Line2D([], [], marker=_MARKERS[i], label=_plain(words), **grey) for i, words in enumerate(others)]
    return handles or [Line2D([], [], linestyle="none", label="no numbers")]


def _panel(axes: Axes, scale: Scale, its: Sequence[Line], style_of: Mapping[str, Style], others: Sequence[str]) -> None:
    """The lines of a panel; on an axis of categories side by side."""
    order = list(scale.places.values())
    for i, line in enumerate(its):
        style = style_of[line.family]
        shift = _SHIFT * (i - (len(its) - 1) / 2) / max(1, (len(its) - 1) / 4) if scale.axis != ARM else 0.0
        x = [order.index(s.x) + shift if scale.kind == "category" else float(s.x) for s in line.spots]
        y = np.array([spot.row.number.value for spot in line.spots])
        low, high = np.array([spot.row.number.interval for spot in line.spots]).T
        marker = _MARKERS[others.index(line.others) % len(_MARKERS)] if len(others) > 1 and line.others else "o"
        bars = np.nan_to_num(np.vstack([y - low, high - y]), nan=0.0).clip(min=0)
        axes.errorbar(
            x, y, yerr=bars, color=style.colour, linestyle=style.line, marker=marker, markersize=5, linewidth=1.8,
            elinewidth=1.2, capsize=3,
        )  # fmt: skip
    if not its:
        axes.text(0.5, 0.5, "no numbers", transform=axes.transAxes, ha="center", va="center", color=GREY)
        axes.set_yticks([])
    _ticks(axes, scale)


def _ticks(axes: Axes, scale: Scale) -> None:
    names = [_plain(name) for name in scale.names]
    if scale.kind == "category":
        turned = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if _is_long(scale) else {}
        axes.set_xticks(range(len(names)), names, **turned)
        axes.set_xlim(-0.6, len(names) - 0.4)
    else:
        axes.set_xscale(scale.kind)
        axes.xaxis.set_major_locator(FixedLocator([float(place) for place in scale.places.values()]))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticklabels(names)
    if scale.axis != ARM:
        axes.set_xlabel(_plain(scale.axis))


def _is_long(scale: Scale) -> bool:
    return scale.kind == "category" and sum(map(len, scale.names)) > _LONG_NAME


def _room(scale: Scale) -> float:
    """What turned names need below a panel, in inches."""
    return 0.07 * min(28, max(map(len, scale.names))) if _is_long(scale) else 0.0


def _plain(text: str) -> str:
    """Text that matplotlib does not take for mathematics, of at most 60 characters."""
    return shown(text).replace("$", r"\$")
