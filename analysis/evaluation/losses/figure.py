"""The figures of losses at checkpoints over steps, one for each scope."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from analysis.evaluation.losses import SCOPES, Row, Scope
from analysis.evaluation.losses.forms import Form, form_of, headline_labelling
from analysis.evaluation.losses.settings import name_of
from analysis.evaluation.samples import SPLITS
from analysis.output.figure import GREY, Frame, note, save_figure, steps_axis
from analysis.output.styles import SPLIT_LOOKS, SPLIT_WORDS, Style, styles
from analysis.runs.run import Run

# Fields of `Gap`, and how they look. A dotted line is no bound.
BOUNDS: Final[dict[str, dict[str, Any]]] = {
    "data_set": {"color": "#8C6BB1", "label": "bound: data set"},
    "per_anchor": {"color": "#5A5A5A", "label": "bound: per anchor"},
    "tighter": {"color": "#2A9D8F", "label": "bound: tighter"},
    "equal": {"color": "#A6A6A6", "label": "equal similarities: no bound"},
}
_CLEAR: Final[dict[str, Any]] = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 2}
LOSSES: Final = ("#1B4F9C", "#C0392B")  # CL and NSCL of one arm: no arm's colours
_FAR: Final = 4.0  # a bound so many times the range of the losses above them is named, not drawn


def names(scope: Scope) -> tuple[str, str]:
    """The files of a scope."""
    return f"losses_{scope}.png", f"losses_{scope}.svg"


def save(run: Run, rows: Sequence[Row]) -> list[Path]:
    """Draws losses_split and losses_batch into RUN/analysis/, .png and .svg; equal rows give equal bytes."""
    return [path for scope in SCOPES for path in save_figure(run, names(scope), lambda of=scope: draw(run, rows, of))]


def draw(run: Run, rows: Sequence[Row], scope: Scope) -> Figure:
    """The figure of one scope, of the labelling of the arm that NSCL trained."""
    labelling = headline_labelling(run, rows)
    form, rows = form_of(run, rows, labelling), [r for r in rows if (r.scope, r.labelling) == (scope, labelling)]
    # Lines say which split it is: arms are told apart by their colours alone.
    style_of = {arm: replace(style, line="-") for arm, style in styles(run.arms).items()}
    # The caption names the temperatures of the rows, which may not be those of training.
    frame = Frame(run, [], style_of, text=_caption(rows, scope), temperature=False)
    FigureCanvasAgg(frame.figure)
    figure, grid = frame.figure, frame.grid()
    _with_bound(figure.add_subplot(grid[0, 0]), run, rows, form)
    _gaps(figure.add_subplot(grid[0, 1]), run, rows, form, style_of)
    _nscl(figure.add_subplot(grid[1, 0]), run, rows, form, style_of)
    _shares(figure.add_subplot(grid[1, 1]), run, rows, form, style_of)
    figure.align_ylabels(figure.axes)
    return figure


def _caption(rows: Sequence[Row], scope: Scope) -> str:
    first, counts = rows[0], {row.split: f"{row.n:,}" for row in rows}
    taus = sorted({row.temperature for row in rows})
    of_batches = "" if scope == "split" else f"   ·   batches of {first.batch}, no data-set bound"
    same = counts["test"] == counts["train"]
    solid, dashed = ("", f", n = {counts['train']}") if same else (f", n = {counts[s]}" for s in ("test", "train"))
    parts = [
        f"{SPLIT_WORDS['test']}{solid}; {SPLIT_WORDS['train']}{dashed}{of_batches}",
        f"labels: {first.labelling or 'none'}",
        f"τ = {', '.join(f'{tau:g}' for tau in taus)}",
        f"view 2 {first.second_view}",
    ]
    return "   ·   ".join(parts)


def _series(
    rows: Sequence[Row], arm: str | None, split: str, value: Callable[[Row], float | None]
) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of an arm on a split, undefined ones as NaN."""
    of_arm = [row for row in rows if (row.arm, row.split) == (arm, split)]
    values = [value(row) for row in of_arm]
    return np.array([row.step for row in of_arm]), np.array([math.nan if v is None else v for v in values], float)


def _with_bound(axes: Axes, run: Run, rows: Sequence[Row], form: Form) -> None:
    arm = form.cl_arm or rows[0].arm
    axes.set_title(f"a  Losses of {arm if len(arm) < 20 else 'CL'}")
    note(axes, f"scope {rows[0].scope}")
    ranges = []
    for split in SPLITS:
        look = {**SPLIT_LOOKS[split], "marker": "o", "markersize": 4}
        lines = [_series(rows, arm, split, lambda row, of=of: row.of.losses.get(of)) for of in (form.cl, form.ns)]
        for (at, values), of, colour in zip(lines, (form.cl, form.ns), LOSSES, strict=True):
            label = name_of(of).replace("_", " ") if split == "test" else None
            axes.plot(at, values, color=colour, label=label, **look)
        (at, cl), (_, ns) = lines
        if split == "test":
            axes.fill_between(at, ns, cl, color=LOSSES[1], alpha=0.12, lw=0, label="the gap, on test")
        ranges += [cl, ns]
    low, high = (f(np.concatenate(ranges)) for f in (_least, _most))
    tops = [high]
    for name in ("data_set", "per_anchor", "tighter"):
        at, bound = _series(rows, arm, "test", lambda row, name=name: getattr(form.gap(row), name))
        total = bound + _series(rows, arm, "test", lambda row: row.of.losses.get(form.ns))[1]
        if not np.isfinite(total).any():
            continue
        look = {"color": BOUNDS[name]["color"], "linestyle": "--", "linewidth": 1.6}
        label = f"NSCL + {name.replace('_', ' ')}"
        if name != "tighter" and _most(total) > high + _FAR * max(high - low, 1e-9):
            axes.plot([], [], label=f"{label}: {_most(bound):.3g}, not drawn", **look)
            continue
        axes.plot(at, total, label=label, **look)
        tops.append(_most(total))
    if math.isfinite(low):
        room = max(tops) - low or 1
        axes.set_ylim(low - 0.06 * room, max(tops) + 0.5 * room)  # the legend stands above the lines
    axes.set_ylabel("loss of an anchor")
    axes.legend(fontsize=10, loc="upper left", ncols=2)
    _steps(axes, run, rows)


def _gaps(axes: Axes, run: Run, rows: Sequence[Row], form: Form, style_of: Mapping[str, Style]) -> None:
    axes.set_title("b  Loss gap and bounds")
    for arm, style in reversed(list(style_of.items())):
        for split in SPLITS:
            at, values = _series(rows, arm, split, lambda row: form.gap(row).gap)
            axes.plot(at, positive(values), color=style.colour, marker="o", markersize=4, **SPLIT_LOOKS[split])
    arm = form.cl_arm or rows[0].arm
    for name, look in BOUNDS.items():
        at, values = _series(rows, arm, "test", lambda row, name=name: getattr(form.gap(row), name))
        if np.isfinite(values).any():
            axes.plot(at, positive(values), linestyle=":" if name == "equal" else "--", linewidth=1.6, **look)
    if not any(np.isfinite(np.asarray(line.get_ydata(), float)).any() for line in axes.lines):
        _empty(axes, "no gap: no two classes")
        return
    logarithmic(axes, [np.asarray(line.get_ydata(), float) for line in axes.lines])
    axes.set_ylabel("CL − NSCL")
    note(axes, f"bounds of {arm} on test" if len(arm) < 20 else "bounds on test")
    axes.legend(fontsize=10.5, loc="best", frameon=True, edgecolor="none")
    _steps(axes, run, rows)


def _nscl(axes: Axes, run: Run, rows: Sequence[Row], form: Form, style_of: Mapping[str, Style]) -> None:
    axes.set_title("c  NSCL loss")
    for arm, style in reversed(list(style_of.items())):
        for split in SPLITS:
            at, values = _series(rows, arm, split, lambda row: row.of.losses.get(form.ns))
            axes.plot(at, values, color=style.colour, marker="o", markersize=4, **SPLIT_LOOKS[split])
    axes.set_ylabel(name_of(form.ns).replace("_", " "))
    if not any(np.isfinite(np.asarray(line.get_ydata(), float)).any() for line in axes.lines):
        _empty(axes, "no labels: no NSCL loss")
        return
    _steps(axes, run, rows)


def _shares(axes: Axes, run: Run, rows: Sequence[Row], form: Form, style_of: Mapping[str, Style]) -> None:
    axes.set_title("d  Share of NSCL's reduction")
    ends = []
    for arm, style in reversed(list(style_of.items())):
        for split in SPLITS:
            at, values = _series(rows, arm, split, form.share)
            if arm == form.ns_arm or not np.isfinite(values).any():
                continue
            axes.plot(at, values, color=style.colour, marker="o", markersize=4, **SPLIT_LOOKS[split])
            if split == "test" and np.isfinite(values[-1]) and run.arms[arm].kind == "objective":
                ends.insert(0, f"{arm}: {values[-1]:.3g} at step {at[-1]:,}")
    if not axes.lines:
        why = "no arm trained by NSCL on these labels, at this τ"
        _empty(axes, why if form.ns_arm is None else "step 0 and a later one are needed")
        return
    axes.axhline(1, color=GREY, linewidth=1)
    axes.set_ylabel(f"of what {form.ns_arm} has" if len(str(form.ns_arm)) < 20 else "share")
    note(axes, "since step 0")
    text = {"fontsize": 11, "color": GREY, "bbox": _CLEAR}
    axes.text(0.015, 0.05, "\n".join(ends[:6]), transform=axes.transAxes, **text)
    _steps(axes, run, rows)


def _steps(axes: Axes, run: Run, rows: Sequence[Row]) -> None:
    steps_axis(axes, run, max(row.step for row in rows))
    axes.set_xlabel("step")


def logarithmic(axes: Axes, drawn: Sequence[np.ndarray]) -> None:
    """A logarithmic axis of values around what is drawn."""
    axes.set_yscale("log")
    values = np.concatenate(drawn)
    low, high = _least(values), _most(values)
    axes.set_ylim(low / 1.5, high * 1.5)
    subs = (1.0,) if high > 300 * low else (1.0, 2.0, 5.0)
    axes.yaxis.set_major_locator(LogLocator(subs=subs, numticks=9))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_formatter(NullFormatter())


def _empty(axes: Axes, why: str) -> None:
    axes.text(0.5, 0.5, why, transform=axes.transAxes, ha="center", va="center", color=GREY)
    axes.set_yticks([])


def positive(values: np.ndarray) -> np.ndarray:
    """The values that a logarithmic axis has a place for, others as NaN: a gap of 0, an infinite bound."""
    return np.where((values > 0) & np.isfinite(values), values, np.nan)


def _least(values: np.ndarray) -> float:
    return float(np.min(values[np.isfinite(values)], initial=math.inf))


def _most(values: np.ndarray) -> float:
    return float(np.max(values[np.isfinite(values)], initial=-math.inf))
