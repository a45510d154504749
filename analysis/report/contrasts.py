"""Arms beside the controls that a reader looks at first: as much of their loss as these have is not what counts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from analysis.runs.controls import control_of
from analysis.runs.curve import Curve, pick
from analysis.runs.run import HEADLINE, Run
from coupled.config import Arm
from coupled.config.resolved import Kicked, Nudged, Placebo

MEASURES: Final = ("weight_gap", "cka")


@dataclass(frozen=True)
class Contrast:
    """An arm and a control of its loss at the last step that both have: a placebo, or one pushed as far as it.

    `what`: the control in words. `values`: by measure, (the arm's, the control's) of every seed.
    """

    arm: str
    control: str
    what: str
    step: int
    values: dict[str, list[tuple[float, float]]]


def contrasts(run: Run, curves: Sequence[Curve]) -> list[Contrast]:
    """Those of one run: of every arm with its placebos, matched nudges and kicked arms, against one reference."""
    rows = []
    for control, spec in run.arms.items():
        arm = _arm_of(spec)
        if arm is None or run.arms[arm].reference != spec.reference:
            continue
        own, its = (pick(curves, "weight_gap", name) for name in (arm, control))
        both = [] if own is None or its is None else sorted(set(own.steps.tolist()) & set(its.steps.tolist()))
        if both:
            values = {measure: _pair(curves, measure, (arm, control), both[-1]) for measure in MEASURES}
            known = {measure: [pair] for measure, pair in values.items() if pair is not None}
            rows.append(Contrast(arm, control, control_of(spec), both[-1], known))
    order = list(run.arms)
    return sorted(rows, key=lambda row: order.index(row.arm))


def paired(by_run: Sequence[Sequence[Contrast]]) -> list[Contrast]:
    """The same contrasts of several runs as one each, seed by seed; those that a run lacks are left out."""
    first, *others = by_run
    rows = []
    for row in first:
        same = [of for run in others for of in run if (of.arm, of.control, of.step) == (row.arm, row.control, row.step)]
        if len(same) == len(others):
            values = {
                measure: pairs + [pair for of in same for pair in of.values.get(measure, [])]
                for measure, pairs in row.values.items()
            }
            rows.append(replace(row, values=values))
    return rows


def _arm_of(spec: Arm) -> str | None:
    """The arm that a control is one of the loss of; None for all other arms."""
    match spec:
        case Placebo():
            return spec.of
        case Kicked():
            return spec.match
        case Nudged():
            return spec.match
    return None


def _pair(curves: Sequence[Curve], measure: str, arms: tuple[str, str], step: int) -> tuple[float, float] | None:
    own, its = (pick(curves, measure, arm, **HEADLINE[measure]) for arm in arms)
    own_value, its_value = (None if curve is None else curve.at(step) for curve in (own, its))
    return None if own_value is None or its_value is None else (own_value, its_value)
