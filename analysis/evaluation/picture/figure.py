"""The figure of pictures: rows are arms, columns are steps, a colour is a class."""

import textwrap
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.evaluation.picture import Picture, Pictures
from analysis.evaluation.picture.looks import LOOKS, Look, about, corner, looks, meaning
from analysis.output.figure import GREY, heading, save_figure
from analysis.runs.run import Run

NAMES: Final = ("picture.png", "picture.svg")
# All in inches.
_WIDTH, _LEFT, _RIGHT = 13.34, 1.5, 0.2
_HEAD, _TITLE, _GAP, _FOOT = 1.0, 0.34, 0.12, 0.15
_LEAST_SIDE, _MOST_SIDE = 1.4, 2.6
_LINE: Final = 0.23
_ACROSS: Final = 5  # arms beside each other where there is one step
_LEGEND_CHARACTERS: Final = 11  # that fit into an inch, handles counted as five
_CHARACTERS: Final = 12.6  # of the caption that fit into an inch
_MANY: Final = 20_000  # points beyond which an SVG holds panels as bitmaps, and stays small


def save(run: Run, pictures: Pictures) -> list[Path]:
    """Draws the figure into RUN/analysis/picture.png and .svg; equal pictures give equal bytes."""
    return save_figure(run, NAMES, lambda: draw(run, pictures))


def draw(run: Run, pictures: Pictures) -> Figure:
    """The figure: it grows with arms, steps, classes and what must be said. Arms at one step stand in a row."""
    style_of, rows = looks(list(pictures.names)), _rows(pictures)
    across = max(len(cells) for _, cells in rows)
    side = min(_MOST_SIDE, max(_LEAST_SIDE, (_WIDTH - _LEFT - _RIGHT) / across - _GAP))
    width = max(_WIDTH, _LEFT + across * (side + _GAP) + _RIGHT)
    legend, columns = _legend(pictures, style_of, width)
    words = textwrap.wrap(" ".join([about(pictures), *meaning(pictures)]), int(_CHARACTERS * (width - 1.2)))
    foot = _FOOT + _LINE * (len(words) - (-len(legend) // columns) + 1)
    heights = [side + _GAP + (_TITLE if any(title for title, _ in cells) else 0) for _, cells in rows]
    height = _HEAD + sum(heights) + foot
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    heading(figure, run)
    for row, (label, cells) in enumerate(rows):
        bottom = foot + sum(heights[row + 1 :])
        for column, (title, own) in enumerate(cells):
            left = _LEFT + column * (side + _GAP)
            axes = figure.add_axes((left / width, bottom / height, side / width, side / height))
            _panel(axes, pictures, own, style_of, side)
            axes.set_title(title, fontsize=12.5, fontweight="normal", loc="center", parse_math=False)
        label = "\n".join(textwrap.wrap(label, 14)[:4])
        middle = (bottom + side / 2) / height
        figure.text((_LEFT - 0.15) / width, middle, label, ha="right", va="center", fontsize=13, parse_math=False)
    where = (0.5, (_FOOT + _LINE * (len(words) + 0.4)) / height)
    figure.legend(
        handles=legend, loc="lower center", ncols=columns, bbox_to_anchor=where, borderaxespad=0, handletextpad=0.1,
        labelspacing=0.25, fontsize=11.5,
    )  # fmt: skip
    # A caption is a sentence, which may hold a dollar sign of a labelling.
    caption = {"fontsize": 11, "va": "bottom", "color": GREY, "parse_math": False}
    figure.text(0.6 / width, _FOOT / height, "\n".join(words), **caption)
    return figure


def _rows(pictures: Pictures) -> list[tuple[str, list[tuple[str, Picture]]]]:
    """The rows of pictures with what stands at their left, each picture with what stands above it."""
    of_arm: dict[str, list[Picture]] = {}
    for own in pictures.pictures:
        of_arm.setdefault(own.arm, []).append(own)
    steps = {step: f"step {step:,}" for step in pictures.steps}
    if len(steps) > 1:
        titles = [steps, *[dict.fromkeys(steps, "")] * (len(of_arm) - 1)]
        return [
            (arm, [(of[own.step], own) for own in owns]) for of, (arm, owns) in zip(titles, of_arm.items(), strict=True)
        ]
    cells = [(arm if len(arm) <= 24 else f"{arm[:23]}…", own) for arm, (own,) in of_arm.items()]
    return [(next(iter(steps.values())), cells[i : i + _ACROSS]) for i in range(0, len(cells), _ACROSS)]


def _panel(axes: Axes, pictures: Pictures, own: Picture, style_of: dict[int, Look], side: float) -> None:
    half = 1.06 * pictures.half_widths()[0][own.arm, own.step]
    axes.set(xlim=(-half, half), ylim=(-half, half), xticks=[], yticks=[])
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set(visible=True, color="#D0D0D0", linewidth=0.8)
    area = min(16.0, max(2.0, 3200 * (side / 2.6) ** 2 / len(pictures.ids)))
    colours = np.array([style_of[label].colour for label in pictures.classes.tolist()])
    markers = np.array([style_of[label].marker for label in pictures.classes.tolist()])
    many = len(pictures.ids) * len(pictures.pictures) > _MANY
    for marker in dict.fromkeys(look.marker for look in style_of.values()):
        # In the order of ids, which is none of classes: no class lies above another.
        its = markers == marker
        x, y = own.points[its].T
        axes.scatter(x, y, s=area, c=colours[its], marker=marker, linewidths=0, alpha=0.8, rasterized=many)
    note = corner(pictures, own.arm, own.step)
    axes.text(0.03, 0.03, note, transform=axes.transAxes, fontsize=8.5, color=GREY, parse_math=False)


def _legend(pictures: Pictures, style_of: dict[int, Look], width: float) -> tuple[list[Line2D], int]:
    """The legend's handles, and in how many columns they stand: as even as can be."""
    names = {label: name if len(name) <= 30 else f"{name[:29]}…" for label, name in pictures.names.items()}
    shown = list(style_of.items())[:LOOKS]
    handles = [
        Line2D(
            [], [], linestyle="", color=look.colour, marker=look.marker, markersize=6.5, label=_escaped(names[label])
        )
        for label, look in shown
    ]
    longest = max(len(names[label]) for label, _ in shown) + 5
    columns = max(1, min(len(shown), int(_LEGEND_CHARACTERS * (width - 1)) // longest))
    return handles, -(-len(shown) // -(-len(shown) // columns))


def _escaped(name: str) -> str:
    """A name for a legend, where a dollar sign would begin a formula and an underscore at its start hide it."""
    name = name.replace("$", r"\$")
    return f"\u200a{name}" if name.startswith("_") else name
