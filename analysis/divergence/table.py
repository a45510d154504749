"""The tables of divergence: divergence.csv, growth.csv, layers.csv, and what the terminal shows."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Final

from rich.table import Table

from analysis.divergence.growth import Growth, growth
from analysis.divergence.layers import layers
from analysis.output.csv import write_csv, write_rows
from analysis.output.table import ABSENT, title
from analysis.runs.controls import arms_with_reference
from analysis.runs.curve import Curve, pick
from analysis.runs.run import Run

CSV_NAME: Final = "divergence.csv"
GROWTH_NAME: Final = "growth.csv"
LAYERS_NAME: Final = "layers.csv"
COLUMNS: Final = ("arm", "window", "steps", "exponent, 95 %", "doubling", "better model", "excess")
_FIELDS: Final = tuple(field.name for field in fields(Growth) if field.name != "undefined")
_OF_LAYER: Final = ("distance", "relative_distance", "angle", "weight_norm")


def write(
    run: Run,
    curves: Sequence[Curve],
    growths: Sequence[Growth],
    windows: Sequence[tuple[int, int]] = (),
    *,
    all_steps: bool = False,
) -> list[Path]:
    """Writes divergence.csv, growth.csv and, where layers are recorded, layers.csv into RUN/analysis/.

    Long curves are thinned in divergence.csv unless `all_steps`.
    `windows` are those of `growths` beside early and late: growth.csv has every layer's growth in them as well.
    """
    by_layer = has_layers(run)
    of_layers = growth(run, windows=windows, per_layer=True) if by_layer else []
    own = measured(curves)
    paths = [write_csv(run, own, CSV_NAME, all_steps=all_steps), write_growth(run, [*growths, *of_layers])]
    return [*paths, write_layers(run)] if by_layer else paths


def measured(curves: Sequence[Curve]) -> list[Curve]:
    """The curves that divergence.csv has: a limit repeats the rows of the control that sets it."""
    return [curve for curve in curves if curve.kind == "measured"]


def has_layers(run: Run) -> bool:
    """Does the run record layers, and are those of every arm committed?"""
    return run.schedules("layers", "state") and not run.awaits("layers", *run.arms)


def without_layers(run: Run) -> list[str]:
    """Why there are no results by layer, as a line; no line where there are."""
    if has_layers(run):
        return []
    why = "has committed none yet" if run.schedules("layers", "state") else "records none"
    return [f"nothing by layer: {run.path} {why} (record.layers)"]


def write_growth(run: Run, growths: Iterable[Growth]) -> Path:
    """Writes RUN/analysis/growth.csv, a row per arm, layer (empty: all shared weights) and window; NaN is empty."""
    rows = [[*(_cell(getattr(one, name)) for name in _FIELDS), one.better, one.undefined] for one in growths]
    return write_rows(run, GROWTH_NAME, (*_FIELDS, "better", "note"), rows)


def write_layers(run: Run) -> Path:
    """Writes RUN/analysis/layers.csv: every layer of every arm with a reference, at its last recorded step."""
    rows = []
    for arm in arms_with_reference(run):
        maps = [layers(run, arm, measure) for measure in _OF_LAYER]
        # The norm needs no records of the reference, so that it may be a shard ahead of the distances.
        step = min(int(map_.steps[-1]) for map_ in maps)
        finals = [map_.values[map_.steps == step][0] for map_ in maps]
        for i, layer in enumerate(maps[0].layers):
            counted = str(bool(maps[0].in_weight_gap[i])).lower()
            rows.append([arm, maps[0].reference, layer, counted, step, *(_cell(float(final[i])) for final in finals)])
    return write_rows(run, LAYERS_NAME, ("arm", "reference", "layer", "in_weight_gap", "step", *_OF_LAYER), rows)


def excess_at_end(curves: Sequence[Curve], arm: str) -> list[tuple[int, float, str]]:
    """(last step, value, estimator) of each excess curve of an arm."""
    of_arm = [curve for curve in curves if curve.measure == "excess" and curve.arm == arm]
    return [(int(curve.steps[-1]), float(curve.values[-1]), curve.estimator) for curve in of_arm]


def rich_table(run: Run, curves: Sequence[Curve], growths: Sequence[Growth]) -> Table:
    """Arm, window, exponent of the global distance with its interval, and the excess at the end, for a terminal."""
    table = Table(title=title(run), caption=notes(run, curves), title_justify="left", caption_justify="left")
    table.add_column(COLUMNS[0], overflow="fold")
    for column in COLUMNS[1:]:
        table.add_column(column, justify="left" if column == "better model" else "right", no_wrap=column != COLUMNS[5])
    before = None
    for fitted in (one for one in growths if one.layer is None):
        if before not in (None, fitted.arm):
            table.add_section()
        first = fitted.arm != before
        ends = excess_at_end(curves, fitted.arm) if first else []
        excess = "\n".join(_number(value) for _, value, _ in ends) or (ABSENT if first else "")
        table.add_row(fitted.arm if first else "", *_cells(fitted), excess)
        before = fitted.arm
    return table


def notes(run: Run, curves: Sequence[Curve]) -> str:
    """What the columns mean, and which floors the excess is over, with scale and precision."""
    sentences = [
        "exponent: slope of log|w-w'| over the cumulative learning rate S; doubling: in steps, at the window's mean "
        f"rate, {ABSENT} where the interval holds 0; better model by AIC, R² of exponential / power law."
    ]
    floors = dict.fromkeys(
        f"excess: {estimator}, at step {step}"
        for arm in arms_with_reference(run)
        for step, _, estimator in excess_at_end(curves, arm)
    )
    sentences += [f"{floor}." for floor in floors] or ["No excess: the run has no nudged twin of a reference."]
    return " ".join(sentences)


def undefined(growths: Sequence[Growth]) -> list[str]:
    """A line for every window of the global distance that has no exponent."""
    return [f"{one.arm}, {one.window}: {one.undefined}" for one in growths if one.layer is None and one.undefined]


def headline_arm(run: Run, curves: Sequence[Curve]) -> str | None:
    """The first arm with a reference and an objective of its own, else the first with a reference; None without one."""
    arms = [arm for arm in arms_with_reference(run) if pick(curves, "distance", arm) is not None]
    own = [arm for arm in arms if run.arms[arm].kind == "objective"]
    return next(iter([*own, *arms]), None)


def _cells(fitted: Growth) -> list[str]:
    steps = f"{fitted.first:,}–{fitted.last:,}"
    if fitted.undefined:
        return [fitted.window, steps, "undefined", ABSENT, ABSENT]
    exponent = f"{fitted.exponent:.3g} [{fitted.low:.3g}, {fitted.high:.3g}]"
    better = f"power law S^{fitted.power:.2f}" if fitted.better == "power law" else fitted.better
    r2 = f"{better} (R² {fitted.r2:.3f} / {fitted.power_r2:.3f})"
    doubling = ABSENT if math.isnan(fitted.doubling_steps) else f"{fitted.doubling_steps:,.3g}"
    return [fitted.window, steps, exponent, doubling, r2]


def _number(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.3g}"


def _cell(value: object) -> object:
    if isinstance(value, float):
        return "" if math.isnan(value) else repr(value)
    return value
