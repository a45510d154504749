"""Gap and bounds against the number of classes, over several runs or the labellings of one."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from analysis.evaluation.losses import NO_BOUND, SCOPES, Row
from analysis.evaluation.losses.figure import BOUNDS, LOSSES, logarithmic, positive
from analysis.evaluation.losses.forms import Form, form_of
from analysis.evaluation.samples import SPLITS
from analysis.output.figure import GREY, note, save_figure
from analysis.output.styles import SPLIT_LOOKS, SPLIT_WORDS
from analysis.runs.run import Run

NAMES: Final = ("losses_classes.png", "losses_classes.svg")
Runs = Sequence[tuple[Run, Sequence[Row]]]


def has_classes(of_runs: Runs) -> bool:
    """Do runs or labellings differ in their numbers of classes?"""
    return len({row.classes for _, rows in of_runs for row in rows if row.labelling is not None}) > 1


def save(of_runs: Runs) -> list[Path]:
    """Draws gap and bounds against the number of classes into the first run's losses_classes.png and .svg."""
    return save_figure(of_runs[0][0], NAMES, lambda: draw(of_runs))


def draw(of_runs: Runs) -> Figure:
    """One point for each run and labelling: its arm trained by CL at its last checkpoint, a panel for each scope."""
    shown = [(run, rows, row) for run, rows in of_runs for row in _last_of_cl(run, rows)]
    figure = Figure(figsize=(13.34, 6.4))
    FigureCanvasAgg(figure)
    facts = [f"{run.name}, step {max(r.step for r in rows):,}" for run, rows in of_runs]
    title = "Loss gap and bounds against the number of classes C"
    figure.text(0.07, 0.93, title, fontsize=20, fontweight="bold", parse_math=False)
    text = ";   ".join(facts) if len(facts) <= 3 else f"{len(facts)} runs, the last checkpoint of each"
    figure.text(0.07, 0.885, text[:120], fontsize=14, color=GREY, parse_math=False)
    grid = figure.add_gridspec(1, 2, left=0.07, right=0.985, bottom=0.2, top=0.8, wspace=0.19)
    for column, scope in enumerate(SCOPES):
        axes = figure.add_subplot(grid[column])
        axes.set_title(f"{'ab'[column]}  Scope {scope}")
        note(axes, "one Σ of all samples" if scope == "split" else "no data-set bound")
        points = [(row, form_of(run, rows, row.labelling)) for run, rows, row in shown if row.scope == scope]
        _against_classes(axes, points)
    handles = figure.axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="lower center", ncols=5, bbox_to_anchor=(0.5, 0.05))
    text = f"of the arm trained by CL; {SPLIT_WORDS['test']}, {SPLIT_WORDS['train']}; {NO_BOUND}"
    figure.text(0.5, 0.025, text, fontsize=12, ha="center", color=GREY)
    return figure


def _last_of_cl(run: Run, rows: Sequence[Row]) -> list[Row]:
    last = max(row.step for row in rows)
    labelled = [row for row in rows if row.step == last and row.labelling is not None]
    return [row for row in labelled if row.arm == (form_of(run, rows, row.labelling).cl_arm or rows[0].arm)]


def _against_classes(axes: Axes, points: Sequence[tuple[Row, Form]]) -> None:
    drawn = []
    for split in SPLITS:
        of_split = sorted(((r, form) for r, form in points if r.split == split), key=lambda point: point[0].classes)
        at = [row.classes for row, _ in of_split]
        looks = {"gap": {"color": LOSSES[1], "label": "gap"}, **BOUNDS}
        for name, look in looks.items():
            values = [getattr(form.gap(row), name) for row, form in of_split]
            values = positive(np.array([math.nan if value is None else value for value in values], float))
            if not np.isfinite(values).any():
                continue
            line: dict[str, Any] = {**SPLIT_LOOKS[split], "color": look["color"], "marker": "o", "markersize": 5}
            line |= {"linestyle": ":"} if name == "equal" else {}
            axes.plot(at, values, label=look["label"] if split == "test" else None, **line)
            drawn.append(values)
    axes.set_xscale("log")
    ticks: list[int] = []
    for count in sorted({row.classes for row, _ in points}):
        # Splits may hold a class more or less: their labels would lie on each other.
        if not ticks or count > 1.1 * ticks[-1]:
            ticks.append(count)
    axes.set_xticks(ticks, [f"{count:,}" for count in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    logarithmic(axes, drawn)
    axes.set_xlabel("classes C of the samples taken")
    axes.set_ylabel("CL − NSCL")
