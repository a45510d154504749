"""The tables of the divergence analysis: growth.csv, layers.csv, and what the terminal shows."""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Final

from rich.table import Table

from analysis.divergence.growth import Growth
from analysis.divergence.layers import layers
from analysis.output import files
from analysis.output.table import ABSENT, title
from analysis.runs.controls import compared
from analysis.runs.curve import Curve, pick
from analysis.runs.run import Run

GROWTH_NAME: Final = "growth.csv"
LAYERS_NAME: Final = "layers.csv"
COLUMNS: Final = ("arm", "window", "steps", "exponent, 95 %", "doubling", "better model", "excess")
_FIELDS: Final = tuple(field.name for field in fields(Growth) if field.name != "undefined")
_OF_LAYER: Final = ("distance", "relative_distance", "angle", "weight_norm")


def write_growth(run: Run, found: Iterable[Growth]) -> Path:
    """Writes RUN/analysis/growth.csv, a row per arm, layer (empty: all shared weights) and window; NaN is empty."""
    rows = [[*(_cell(getattr(growth, name)) for name in _FIELDS), growth.better, growth.undefined] for growth in found]
    return _write(run, GROWTH_NAME, (*_FIELDS, "better", "note"), rows)


def write_layers(run: Run) -> Path:
    """Writes RUN/analysis/layers.csv: every layer of every arm with a reference, at its last recorded step."""
    rows = []
    for arm in compared(run):
        maps = [layers(run, arm, measure) for measure in _OF_LAYER]
        # The norm alone may be a shard ahead of what needs the reference's records too.
        step = min(int(map_.steps[-1]) for map_ in maps)
        finals = [map_.values[map_.steps == step][0] for map_ in maps]
        for i, layer in enumerate(maps[0].layers):
            counted = str(bool(maps[0].in_weight_gap[i])).lower()
            rows.append([arm, maps[0].reference, layer, counted, step, *(_cell(float(final[i])) for final in finals)])
    return _write(run, LAYERS_NAME, ("arm", "reference", "layer", "in_weight_gap", "step", *_OF_LAYER), rows)


def excess_at_end(found: Sequence[Curve], arm: str) -> list[tuple[int, float, str]]:
    """(last step, value, estimator) of each excess curve of an arm."""
    of_arm = [curve for curve in found if curve.measure == "excess" and curve.arm == arm]
    return [(int(curve.steps[-1]), float(curve.values[-1]), curve.estimator) for curve in of_arm]


def rich_table(run: Run, found: Sequence[Curve], grown: Sequence[Growth]) -> Table:
    """Arm, window, exponent of the global distance with its interval, and the excess at the end, for a terminal."""
    table = Table(title=title(run), caption=notes(run, found), title_justify="left", caption_justify="left")
    table.add_column(COLUMNS[0], overflow="fold")
    for column in COLUMNS[1:]:
        table.add_column(column, justify="left" if column == "better model" else "right", no_wrap=column != COLUMNS[5])
    before = None
    for growth in (g for g in grown if g.layer is None):
        if before not in (None, growth.arm):
            table.add_section()
        first = growth.arm != before
        ends = excess_at_end(found, growth.arm) if first else []
        excess = "\n".join(_number(value) for _, value, _ in ends) or (ABSENT if first else "")
        table.add_row(growth.arm if first else "", *_cells(growth), excess)
        before = growth.arm
    return table


def notes(run: Run, found: Sequence[Curve]) -> str:
    """What the columns mean, and which floors the excess is over, with scale and precision."""
    said = [
        "exponent: slope of log|w-w'| over the cumulative learning rate S; doubling: in steps, at the window's mean "
        f"rate, {ABSENT} where the interval holds 0; better model by AIC, R² of exponential / power law."
    ]
    floors = dict.fromkeys(
        f"excess: {estimator}, at step {step}"
        for arm in compared(run)
        for step, _, estimator in excess_at_end(found, arm)
    )
    said += [f"{floor}." for floor in floors] or ["No excess: the run has no nudged twin of a reference."]
    return " ".join(said)


def undefined(grown: Sequence[Growth]) -> list[str]:
    """A line for every window of the global distance that has no exponent."""
    return [f"{g.arm}, {g.window}: {g.undefined}" for g in grown if g.layer is None and g.undefined]


def headline_arm(run: Run, found: Sequence[Curve]) -> str | None:
    """The first compared arm with an objective of its own, else the first compared; None if there is none."""
    arms = [arm for arm in compared(run) if pick(found, "distance", arm) is not None]
    own = [arm for arm in arms if run.arms[arm].kind == "objective"]
    return next(iter([*own, *arms]), None)


def _cells(growth: Growth) -> list[str]:
    steps = f"{growth.first:,}–{growth.last:,}"
    if growth.undefined:
        return [growth.window, steps, "undefined", ABSENT, ABSENT]
    exponent = f"{growth.exponent:.3g} [{growth.low:.3g}, {growth.high:.3g}]"
    better = f"power law S^{growth.power:.2f}" if growth.better == "power law" else growth.better
    r2 = f"{better} (R² {growth.r2:.3f} / {growth.power_r2:.3f})"
    doubling = f"{growth.doubling_steps:,.3g}" if growth.low > 0 else ABSENT
    return [growth.window, steps, exponent, doubling, r2]


def _number(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.3g}"


def _cell(value: object) -> object:
    if isinstance(value, float):
        return "" if math.isnan(value) else repr(value)
    return value


def _write(run: Run, name: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> Path:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return files.write(run.path / files.FOLDER / name, text.getvalue().encode())
