"""How far an arm's weights are from its reference's, between the floor and the ceiling that the controls set.

Shapes: T recorded steps. Norms and distances are of all shared weights, float64, from the stream `scalars`; the
weight gap alone leaves out biases and the projector. Formulas: docs/theory.md (57) to (61).
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analysis.divergence.layers import joined, layers, relative
from analysis.runs.controls import (
    arms_with_reference,
    bound_of,
    controls,
    floor_of,
    is_ceiling,
    is_floor,
    is_twin,
)
from analysis.runs.curve import Curve, pick
from analysis.runs.recorded import check_steps
from analysis.runs.run import Run
from coupled.errors import UserError

# A recorded norm is a sum in float64: a few roundings, the same ones in arms that are close.
_NORM_ERROR: Final = 8 * float(np.finfo(np.float64).eps)
OVER: Final = "distance over that of "  # how the estimator of an excess begins


def divergence(run: Run) -> list[Curve]:
    """Every arm against its reference at every recorded step, floors and ceilings, and the excess over each floor.

    Measured: "distance" ‖w−w'‖, "relative_distance" over ½(‖w‖+‖w'‖), "angle" in radians, "weight_gap", and, once for
    each nudged twin of the reference, "excess", the arm's distance over that twin's. An arm's `limit` curves are the
    same measures of its reference's controls: bound "nudged twin (one ulp, float32)" or "independent twin". Raises
    UserError for a run with no step to show yet, with nothing to compare, or without the stream `scalars`.
    """
    check_steps(run, ("scalars", "layers"))
    arms = arms_with_reference(run)
    if not arms:
        raise UserError(f"{run.path} has nothing to compare", "none of its arms has a reference", "train two arms")
    measured = {arm: _measured(run, arm) for arm in arms}
    curves = []
    for arm in arms:
        curves += measured[arm]
        if not is_twin(run, arm):
            for control in controls(run, arm):
                curves += _against(run, measured[arm], measured[control])
    return curves


def twin_faults(run: Run, curves: Sequence[Curve]) -> list[str]:
    """One sentence for every exact twin that left its original: then the run was not in lockstep.

    Its distance has to be +0.0 to the bit at every step, in all weights together (`curves`) and in every layer.
    """
    faults = []
    for arm in run.arms:
        if not is_twin(run, arm):
            continue
        # Not the weight gap, which leaves out biases and the projector.
        curve, steps = pick(curves, "distance", arm), []
        if curve is not None:
            steps += curve.steps[_left(curve.values)].tolist()
        if run.schedules("layers", "state") and not run.awaits("layers", arm):
            map_ = layers(run, arm, "distance")
            steps += map_.steps[_left(map_.values).any(-1)].tolist()
        if steps:
            faults.append(f"{arm} is no exact twin: it left {run.arms[arm].of} at step {min(steps)}")
    return faults


def angle(own: NDArray[np.float64], other: NDArray[np.float64], distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """The angle between two vectors of norms `own` and `other` at `distance`, radians in [0, π], elementwise.

    Half-angle law of cosines: 4‖w‖‖w'‖ sin²(θ/2) = (D−δ)(D+δ), δ = |‖w‖−‖w'‖|, and as much with the cosine, so that no
    tiny angle passes through an arc cosine. Precision: norms are known to ε = 2e-15 of themselves, which moves θ² by
    2δε/‖w‖: a one-ulp nudge in float32 keeps seven digits, D below 1e-14 ‖w‖ few or none. NaN for a zero norm, and
    where that error is larger than θ² itself; exactly 0 where D is 0.
    """
    delta, error = np.abs(own - other), _NORM_ERROR * np.maximum(own, other)
    sine = (distance - delta) * (distance + delta)
    cosine = np.maximum((own + other - distance) * (own + other + distance), 0)
    defined = (own > 0) & (other > 0) & ((sine > 2 * delta * error + error**2) | (distance == 0))
    half = np.arctan2(np.sqrt(np.where(defined, np.maximum(sine, 0), 0)), np.sqrt(cosine))
    return np.where(defined, 2 * half, np.nan)


def _measured(run: Run, arm: str) -> list[Curve]:
    """Distance, relative distance, angle and weight gap of an arm and its reference."""
    reference = str(run.arms[arm].reference)
    distance = run.curve("distance", arm=arm)
    steps, (values, own, other) = joined(
        run, "scalars", [(arm, "state.distance"), (arm, "state.norm"), (reference, "state.norm")]
    )
    ratio = replace(
        distance, measure="relative_distance", steps=steps, values=relative(values, own, other),
        estimator="|w-w'| / ((|w|+|w'|)/2) of all shared weights", undefined="0/0: all weights are zero",
    )  # fmt: skip
    turned = replace(
        distance, measure="angle", steps=steps, values=angle(own, other, values),
        estimator="angle between all shared weights, radians, from norms and distance",
        undefined="a norm is 0, or the distance is below what float64 norms resolve",
    )  # fmt: skip
    return [marked(run, curve) for curve in (distance, ratio, turned, run.curve("weight_gap", arm=arm))]


def marked(run: Run, curve: Curve) -> Curve:
    """The curve of an arm and its reference, with a flag where the arm is a control: it is a floor or a ceiling."""
    if is_ceiling(run, curve.arm):
        return replace(curve, flags=("ceiling: other initial weights",))
    if is_floor(run, curve.arm):
        return replace(curve, flags=(f"floor: {floor_of(run, curve.arm)}",))
    return curve


def _against(run: Run, own: Sequence[Curve], control: Sequence[Curve]) -> Iterator[Curve]:
    """The control's curves as limits of the arm's, and the arm's excess over a nudged twin."""
    name = control[0].arm
    for mine, its in zip(own, control, strict=True):
        yield replace(its, arm=mine.arm, kind="limit", bound=bound_of(run, name))
    if is_floor(run, name):
        yield _excess(run, own[0], control[0])


def _excess(run: Run, own: Curve, floor: Curve) -> Curve:
    steps = own.steps[np.isin(own.steps, floor.steps)]
    above, below = own.values[np.isin(own.steps, steps)], floor.values[np.isin(floor.steps, steps)]
    values = np.divide(above, below, out=np.full(len(steps), np.nan), where=below > 0)
    return replace(
        own, measure="excess", steps=steps, values=values,
        estimator=f"{OVER}{floor.arm} ({floor_of(run, floor.arm)})",
        undefined=f"the nudged twin {floor.arm} is at distance 0",
    )  # fmt: skip


def _left(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Where a distance is anything but +0.0, bit for bit."""
    return values.view(np.uint64) != 0
