"""The figures of alignment at checkpoints: over steps on train and test, and every stage with every other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from numpy.typing import NDArray

from analysis.output.figure import GREY, Frame, heading, save_figure, steps_axis
from analysis.output.styles import OBJECTIVES, SPLIT_LOOKS, SPLIT_WORDS, Style, styles
from analysis.runs.curve import Curve
from analysis.runs.run import Run

NAMES: Final = ("alignment.png", "alignment.svg")
ACROSS_NAMES: Final = ("alignment_across.png", "alignment_across.svg")
LAYERS_NAMES: Final = ("alignment_layers.png", "alignment_layers.svg")
_MARKERS: Final = {
    "objective": "o", "twin": "s", "nudged": "^", "independent": "D",
    "placebo": "P", "anti": "X", "kicked": ">", "other-inputs": "<",
}  # fmt: skip
_DECADE: Final = 10.0  # gaps that differ by no more are on a linear axis
_MAPS: Final = 6  # maps of a pair side by side at most
_MAP, _MARGIN = 2.2, 1.3  # inches
Compared = tuple[str, str]  # an arm, and what it is compared with


def save(run: Run, curves: Sequence[Curve]) -> list[Path]:
    """Draws alignment.png and .svg into RUN/analysis/, alignment_across for pairs over two runs, and alignment_layers
    where stages were compared; equal curves give equal bytes.
    """
    within = [curve for curve in curves if curve.reference in run.arms]
    across = [curve for curve in curves if curve.reference not in run.arms]
    paths = []
    for names, drawn in ((NAMES, within), (ACROSS_NAMES, across)):
        if drawn:
            paths += save_figure(run, names, lambda drawn=drawn: draw(run, drawn))
    if maps(curves):
        paths += save_figure(run, LAYERS_NAMES, lambda: draw_layers(run, curves))
    return paths


def draw(run: Run, curves: Sequence[Curve]) -> Figure:
    """CKA and RSA of h, CKA of z, and the weight gap of some pairs of arms over steps."""
    style_of = _styles(run, curves)
    frame = Frame(run, curves, {" ".join(pair): style for pair, style in style_of.items()}, text=_caption(curves))
    FigureCanvasAgg(frame.figure)
    figure, grid = frame.figure, frame.grid()
    panels = (("cka", "h", "a  CKA of h"), ("rsa", "h", "b  RSA of h"), ("cka", "z", "c  CKA of z"))
    for (measure, feature, title), place in zip(panels, (grid[0, 0], grid[0, 1], grid[1, 0]), strict=True):
        axes = figure.add_subplot(place)
        axes.set_title(title)
        _alignment(axes, [c for c in curves if (c.measure, c.feature) == (measure, feature)], style_of)
        _steps(axes, run, curves)
    _weight_gap(figure.add_subplot(grid[1, 1]), run, curves, style_of)
    figure.align_ylabels(figure.axes)
    return figure


def _styles(run: Run, curves: Sequence[Curve]) -> dict[Compared, Style]:
    """A colour for each pair: the arm's own beside its reference or in another run, a free one for another pair.

    Solid and dashed lines are splits here, so that controls, which are grey, differ by their markers.
    """
    of_arm = styles(run.arms)
    pairs = dict.fromkeys((curve.arm, str(curve.reference)) for curve in curves)
    own = [pair for pair in pairs if pair[1] == run.arms[pair[0]].reference or pair[1] not in run.arms]
    taken = {of_arm[arm].colour for arm, _ in own}
    free = [colour for colour in OBJECTIVES if colour not in taken] or list(OBJECTIVES)
    style_of: dict[Compared, Style] = {}
    for pair in pairs:
        style = replace(of_arm[pair[0]], line="-", marker=_MARKERS[run.arms[pair[0]].kind])
        if pair not in own:
            number = len([other for other in style_of if other not in own])
            style = Style(free[number % len(free)], "-", f"{pair[0]} with {pair[1]}", "v")
        elif pair[1] not in run.arms:
            style = replace(style, label=f"{pair[0]} with {pair[1]}")
        style_of[pair] = style
    return style_of


def _alignment(axes: Axes, curves: Sequence[Curve], style_of: Mapping[Compared, Style]) -> None:
    for curve in curves:
        style = style_of[curve.arm, str(curve.reference)]
        on_test = curve.split == "test"
        look = {**style.drawn, **SPLIT_LOOKS[str(curve.split)], "markersize": 6.5 if on_test else 4}
        if not on_test:
            look["zorder"] = 5  # small hollow markers on large full ones
        axes.plot(curve.steps, curve.values, **look)
        if on_test and curve.interval is not None:
            axes.fill_between(
                curve.steps, curve.interval.low, curve.interval.high, color=style.colour, alpha=0.16, lw=0
            )
        axes.set_ylabel(curve.estimator)
    low = min(axes.get_ylim()[0], 0.95)
    axes.set_ylim(low, 1 + 0.04 * (1 - low))


def _weight_gap(axes: Axes, run: Run, curves: Sequence[Curve], style_of: Mapping[Compared, Style]) -> None:
    axes.set_title("d  Weight gap")
    gaps = [curve for curve in curves if curve.measure == "weight_gap"]
    exact = [curve.arm for curve in gaps if not curve.values.any()]
    # Where arms end tells the axis: a nudge begins many decades below all else, wherever it goes.
    sizes = np.array([curve.values[-1] for curve in gaps if curve.values[-1] > 0])
    logarithmic = bool(len(sizes) and sizes.max() > _DECADE * sizes.min())
    for curve in gaps:
        if curve.arm not in exact:
            # Zero, such as the shared start, has no place on a logarithmic axis.
            shown = np.where(curve.values > 0, curve.values, np.nan) if logarithmic else curve.values
            axes.plot(
                curve.steps, shown, **style_of[curve.arm, str(curve.reference)].drawn, linewidth=2.2, markersize=6
            )
    if axes.lines:
        axes.set_ylabel("mean relative gap")
    else:
        axes.set_yticks([])
    if logarithmic:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(numticks=6))
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.set_ylim(bottom=0)
    text = "".join(f"{arm}: 0 at every step\n" for arm in exact) or ("" if axes.lines else "networks of other layers")
    axes.text(0.985, 0.05, text.rstrip(), transform=axes.transAxes, ha="right", fontsize=12, color=GREY)
    _steps(axes, run, curves)


def _steps(axes: Axes, run: Run, curves: Sequence[Curve]) -> None:
    steps_axis(axes, run, max(int(curve.steps[-1]) for curve in curves))
    axes.set_xlabel("step")


def _caption(curves: Sequence[Curve]) -> str:
    counts = {curve.split: curve.n for curve in curves if curve.feature == "h"}
    kinds = [f"{line}, n = {counts[split]:,}" for split, line in SPLIT_WORDS.items() if split in counts]
    return "   ·   ".join([*kinds, "shaded: 95 % interval over test samples", "weights: of the checkpoints"])


@dataclass(frozen=True, eq=False)
class StageMap:
    """Debiased CKA (S, S') of every stage of an arm (rows) with every stage of what it is compared with, at a step."""

    arm: str
    reference: str
    step: int
    values: NDArray[np.float64]


def maps(curves: Sequence[Curve]) -> list[StageMap]:
    """The maps of all pairs at all steps, on test; none where no stages were compared."""
    cells: dict[tuple[str, str, int], dict[tuple[int, int], float]] = {}
    for curve in curves:
        if curve.measure == "cka" and curve.split == "test" and (curve.feature or "").startswith("stage."):
            stages = [int(stage.removeprefix("stage.")) for stage in str(curve.feature).split(" × ")]
            for step, value in zip(curve.steps.tolist(), curve.values.tolist(), strict=True):
                cells.setdefault((curve.arm, str(curve.reference), step), {})[stages[0], stages[-1]] = value
    return [StageMap(*key, _square(values)) for key, values in cells.items()]


def _square(cells: Mapping[tuple[int, int], float]) -> NDArray[np.float64]:
    square = np.full(tuple(np.max(list(cells), axis=0) + 1), np.nan)
    for place, value in cells.items():
        square[place] = value
    return square


def draw_layers(run: Run, curves: Sequence[Curve]) -> Figure:
    """A row of maps for each pair, at no more than six of its steps, all in one scale from 0 to 1."""
    rows: dict[Compared, list[StageMap]] = {}
    for map_ in maps(curves):
        rows.setdefault((map_.arm, map_.reference), []).append(map_)
    columns = max(min(len(of_pair), _MAPS) for of_pair in rows.values())
    height = _MARGIN + 0.6 + len(rows) * (_MAP + 0.65)
    figure = Figure(figsize=(13.34, height))
    FigureCanvasAgg(figure)
    heading(figure, run)
    grid = figure.add_gridspec(
        len(rows), columns + 1, width_ratios=[*[1.0] * columns, 0.06], left=0.07, right=0.94,
        bottom=0.75 / height, top=1 - _MARGIN / height, wspace=0.28, hspace=0.5,
    )  # fmt: skip
    image = None
    for i, ((arm, reference), of_pair) in enumerate(rows.items()):
        chosen = np.unique(np.linspace(0, len(of_pair) - 1, min(len(of_pair), _MAPS)).round().astype(int))
        for j, map_ in enumerate(of_pair[k] for k in chosen):
            axes = figure.add_subplot(grid[i, j])
            image = axes.imshow(map_.values, vmin=0, vmax=1, cmap="cividis")
            _cells(axes, map_)
            axes.set_title(f"step {map_.step:,}", fontsize=12)
            axes.set_xlabel(f"stage of {reference}" if len(reference) < 24 else "stage of the other", fontsize=11)
            axes.set_ylabel(f"stage of {arm}" if j == 0 else "", fontsize=11)
    assert image is not None
    figure.colorbar(image, cax=figure.add_subplot(grid[:, -1]))
    n = next(curve.n for curve in curves if curve.split == "test" and curve.feature == "stage.0")
    text = f"debiased linear CKA of pooled stage features, n = {n:,} test images; below 0 drawn as 0"
    figure.text(0.5, 0.2 / height, text, fontsize=12, ha="center", color=GREY)
    return figure


def _cells(axes: Axes, map_: StageMap) -> None:
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    sides = map_.values.shape
    axes.set_xticks(range(sides[1]))
    axes.set_yticks(range(sides[0]))
    axes.tick_params(labelsize=10, length=0)
    if max(sides) <= 6:
        for (i, j), value in np.ndenumerate(map_.values):
            axes.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=9, color="black" if value > 0.6 else "w")
