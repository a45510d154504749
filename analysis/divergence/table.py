"""The tables of divergence: divergence.csv, growth.csv, layers.csv."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Final

from analysis.divergence.growth import Growth, growth
from analysis.divergence.layers import layers
from analysis.output.csv import write_csv, write_rows
from analysis.runs.controls import arms_with_reference
from analysis.runs.curve import Curve, pick
from analysis.runs.run import Run

CSV_NAME: Final = "divergence.csv"
GROWTH_NAME: Final = "growth.csv"
LAYERS_NAME: Final = "layers.csv"
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


def headline_arm(run: Run, curves: Sequence[Curve]) -> str | None:
    """The first arm with a reference and an objective of its own, else the first with a reference; None without one."""
    arms = [arm for arm in arms_with_reference(run) if pick(curves, "distance", arm) is not None]
    own = [arm for arm in arms if run.arms[arm].kind == "objective"]
    return next(iter([*own, *arms]), None)


def _cell(value: object) -> object:
    if isinstance(value, float):
        return "" if math.isnan(value) else repr(value)
    return value
