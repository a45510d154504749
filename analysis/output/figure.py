"""What surrounds the panels of a figure: title, legend, caption, the axis of steps."""

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.gridspec import GridSpec
from matplotlib.lines import Line2D
from matplotlib.patches import PathPatch
from matplotlib.path import Path as MarkPath
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from matplotlib.transforms import ScaledTranslation

from analysis.output import files
from analysis.output.facts import facts
from analysis.output.styles import RC, Style
from analysis.runs.curve import Curve
from analysis.runs.recorded import waiting
from analysis.runs.run import Run

GREY: Final = "#5A5A5A"
ALARM: Final = "#B00020"
DPI: Final = 160
_WIDTH, _PANELS = 13.34, 5.6  # inches
_HEAD, _FOOT, _LEGEND_LINE = 1.22, 1.0, 0.27
_NARROW_TICKS: Final = 5  # in a narrow panel
_CAPTION_CHARACTERS: Final = 140  # of a caption, in one line
_APART: Final = "   ·   "  # between its parts
_LEGEND_CHARACTERS: Final = 135  # that fit into one line of the legend, handles counted as eight


class Frame:
    """A figure with title, legend and caption in place; it grows with the legend, so that panels keep their size.

    `text` is the caption, in place of that of the alignment panels. temperature: has the title the temperatures of
    training? rows: of panels.
    """

    def __init__(
        self,
        run: Run,
        curves: Sequence[Curve],
        styles: Mapping[str, Style],
        *,
        text: str | None = None,
        temperature: bool = True,
        rows: int = 2,
    ) -> None:
        longest = max(len(style.label) for style in styles.values()) + 8
        columns = max(1, min(len(styles), _LEGEND_CHARACTERS // longest))
        lines = -(-len(styles) // columns)
        columns = -(-len(styles) // lines)  # as even as can be
        text = _wrapped(caption(run, curves) if text is None else text)
        beneath = 0.2 * text.count("\n")
        self._foot = _FOOT + beneath + _LEGEND_LINE * lines
        self._rows = rows
        self.height = _HEAD + _PANELS * rows / 2 + self._foot
        self.figure = Figure(figsize=(_WIDTH, self.height))
        handles = [Line2D([], [], **style.drawn, linewidth=2.6, label=style.label) for style in styles.values()]
        legend_at = (0.5, (0.33 + beneath) / self.height)
        self.figure.legend(handles=handles, loc="lower center", ncols=columns, bbox_to_anchor=legend_at)
        self.figure.text(0.5, 0.16 / self.height, text, fontsize=12, ha="center", va="bottom", color=GREY)
        heading(self.figure, run, temperature=temperature)

    def grid(self) -> GridSpec:
        """The grid of panels, two in a row."""
        bottom, top = self._foot / self.height, 1 - _HEAD / self.height
        apart = 0.34 if self._rows == 2 else 0.44  # of the height of a panel: titles lie below the name of an axis
        place = {"left": 0.07, "right": 0.985, "bottom": bottom, "top": top}
        return self.figure.add_gridspec(self._rows, 2, **place, wspace=0.19, hspace=apart)


def heading(figure: Figure, run: Run, *, temperature: bool = True, seeds: Sequence[int] = ()) -> None:
    """Name and facts of a run at the top left of a figure; `seeds`: those of several runs that are shown together."""
    height = float(figure.get_figheight())
    shown = [f"data: {run.config.data.name}", *facts(run, temperature=temperature, seeds=seeds)]
    if not run.finished:
        shown.append(f"UNFINISHED: records up to step {run.steps} of {run.planned_steps}")
    name = run.name if len(run.name) <= 70 else f"{run.name[:69]}…"
    figure.text(0.07, 1 - 0.4 / height, name, fontsize=20, fontweight="bold", parse_math=False)
    figure.text(0.07, 1 - 0.69 / height, "   ·   ".join(shown), fontsize=14, color=GREY)


def save_figure(run: Run, names: Sequence[str], draw: Callable[[], Figure]) -> list[Path]:
    """Draws a figure into RUN/analysis/ under each name, .png or .svg; equal records give equal bytes."""
    return save_figure_in(files.folder(run.path), names, draw)


def save_figure_in(folder: Path, names: Sequence[str], draw: Callable[[], Figure]) -> list[Path]:
    """Draws a figure into any folder."""
    paths = []
    # The user's own matplotlibrc must not change the bytes, nor may the settings here change the user's.
    with matplotlib.style.context(["default", RC]):
        figure = draw()
        for label in figure.findobj(Text):
            label.set_text(covered(label.get_text()))
        for name in names:
            kind, data = name.rpartition(".")[2], io.BytesIO()
            undated = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
            figure.savefig(data, format=kind, dpi=DPI, metadata=undated)
            paths.append(files.write(folder / name, data.getvalue()))
    return paths


def covered(text: str) -> str:
    """The text with the characters escaped that matplotlib's own font lacks: names are in any script."""
    font = get_font(findfont(FontProperties()))
    return "".join(c if c == "\n" or font.get_char_index(ord(c)) else ascii(c)[1:-1] for c in text)


def caption(run: Run, curves: Sequence[Curve]) -> str:
    """What the kinds of line are: source, feature, n and d in the alignment panels, the window of the mean.

    It ends with what an unfinished run has not committed yet.
    """
    kinds = []
    for curve in curves:
        if curve.measure == "cka" and (curve.source, curve.feature) in (("panel", "h"), ("batch", "z")):
            line, samples = ("markers", "images") if curve.source == "panel" else ("thin lines", "views")
            counts = f"n = {curve.n} {curve.split} {samples}, d = {curve.d}"
            bars = ", bars: 95 % interval" if curve.source == "panel" and curve.interval else ""
            chance = ", grey: by chance" if curve.source == "panel" and curve.null else ""
            kinds.append(f"{line}: {curve.source} {curve.feature}, {counts}{bars}{chance}")
    kinds.append("d bold: mean over steps t/1.2 … 1.2 t")
    return _APART.join([*dict.fromkeys(kinds), *waiting(run)])


def _wrapped(text: str) -> str:
    """A caption in one line or, broken between two of its parts, in two."""
    parts = text.split(_APART)
    if len(text) <= _CAPTION_CHARACTERS or len(parts) == 1:
        return text
    at = min(range(1, len(parts)), key=lambda k: max(len(_APART.join(parts[:k])), len(_APART.join(parts[k:]))))
    return "\n".join(_APART.join(part) for part in (parts[:at], parts[at:]))


def steps_axis(axes: Axes, run: Run, last: int | None = None, *, narrow: bool = False) -> None:
    """Steps from 0 on a symmetric-log axis: the first steps, where arms part, get as much room as the last.

    `last`: the last step that is shown (default: that of the run's records). narrow: so few ticks that they do not
    touch in a panel a fifth of the figure wide.
    """
    last = max(run.steps or 0 if last is None else last, 1)
    axes.set_xscale("symlog", linthresh=1, linscale=0.4)
    axes.set_xlim(-0.08, last * 1.12)
    axes.xaxis.set_major_locator(FixedLocator(step_ticks(last, narrow=narrow)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
    mark_break(axes, 0.5)


def step_ticks(last: int, *, narrow: bool = False) -> list[int]:
    """0, steps about evenly spaced from 1 on, and the last."""
    factors = (1, 3) if last < (30 if narrow else 3000) else (1,)
    ticks = [factor * 10**k for k in range(12) for factor in factors if factor * 10**k < last]
    if narrow:
        ticks = ticks[:: -(-(len(ticks) + 1) // _NARROW_TICKS)]
    # The last one needs room for its number.
    room = 3 if last < 30 else 8 if narrow else 1.6 if last < 3000 else 3
    return [0, *(step for step in ticks if step * room <= last), last]


def mark_break(axes: Axes, place: float) -> None:
    """Two strokes across the axis of x at `place`: left of them it is linear, right of them logarithmic."""
    assert isinstance(axes.figure, Figure), "a panel of a sub-figure"
    strokes = MarkPath(
        [(-0.055, -0.05), (-0.005, 0.05), (0.005, -0.05), (0.055, 0.05)],  # inches
        [MarkPath.MOVETO, MarkPath.LINETO, MarkPath.MOVETO, MarkPath.LINETO],
    )
    # Its stub asks for an affine transform; that of an axis of steps is none.
    to = ScaledTranslation(place, 0, axes.get_xaxis_transform())  # pyright: ignore[reportArgumentType]
    at = axes.figure.dpi_scale_trans + to
    axes.add_artist(PathPatch(strokes, fill=False, linewidth=1.0, transform=at, clip_on=False, zorder=5))


def note(axes: Axes, text: str) -> None:
    """A remark at the right of a panel's title."""
    axes.set_title(text, loc="right", fontsize=12, fontweight="normal", color=GREY)


def nothing(axes: Axes, run: Run, *streams: str) -> None:
    """Says in an empty panel, one that is drawn from these streams, why it is empty."""
    if any(run.awaits(stream, *run.arms) for stream in streams):
        why = "nothing committed yet"
    else:
        why = "one arm: nothing to compare it with" if len(run.arms) == 1 else "not recorded"
    axes.text(0.5, 0.5, why, transform=axes.transAxes, ha="center", va="center", color=GREY)
    axes.set_yticks([])
