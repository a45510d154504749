"""One row for every arm: what it put in, and what came out at the end."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.response.flips import first_flip, has_flips
from analysis.runs.curve import Curve, pick
from analysis.runs.run import Run
from coupled.config.resolved import Nudged


@dataclass(frozen=True)
class Point:
    """An arm at its last recorded step. Norms of all shared weights; NaN where a number cannot be told.

    `put_in`: of a nudge ‖D‖ at the step of the nudge, of kicks the sum of their norms, of another loss what it pushed
    by itself. `growth`: the factor a step by which a nudge grew before the first flip that was seen; `first_flip` that
    step, None if none was seen.
    """

    arm: str
    reference: str
    kind: str
    step: int
    put_in: float
    distance: float
    weight_gap: float
    cka: float
    amplification: float
    first_flip: int | None
    growth: float


def points(run: Run, curves: Sequence[Curve]) -> list[Point]:
    """The points of all arms with a reference, in the config's order."""
    return [_point(run, curves, arm) for arm, spec in run.arms.items() if spec.reference is not None]


def _point(run: Run, curves: Sequence[Curve], arm: str) -> Point:
    distance = run.curve("distance", arm=arm)
    step = int(distance.steps[-1])
    flip = first_flip(run, arm)
    return Point(
        arm=arm,
        reference=str(run.arms[arm].reference),
        kind=run.arms[arm].kind,
        step=step,
        put_in=_last(pick(curves, "put_in", arm)),
        distance=float(distance.values[-1]),
        weight_gap=_last(run.curve("weight_gap", arm=arm)),
        cka=_cka(run, arm),
        amplification=_last(pick(curves, "amplification", arm)),
        first_flip=flip,
        growth=_growth(run, arm, distance, flip),
    )


def _last(curve: Curve | None) -> float:
    return float(curve.values[-1]) if curve is not None and len(curve.values) else math.nan


def _cka(run: Run, arm: str) -> float:
    if not run.schedules("panel") or run.awaits("panel", arm, str(run.arms[arm].reference)):
        return math.nan
    return _last(run.curve("cka", arm=arm))


def _growth(run: Run, arm: str, distance: Curve, flip: int | None) -> float:
    """(D_last/D_first)^{1/steps} of a nudge from its step to the last before the first flip."""
    spec = run.arms[arm]
    if not (isinstance(spec, Nudged) and spec.reference == spec.of and has_flips(run, arm)):
        return math.nan
    end = int(distance.steps[-1]) + 1 if flip is None else flip
    inside = (distance.steps >= spec.at) & (distance.steps < end) & (distance.values > 0)
    if inside.sum() < 2:
        return math.nan
    steps, values = distance.steps[inside], np.log(distance.values[inside])
    return float(np.exp((values[-1] - values[0]) / (steps[-1] - steps[0])))
