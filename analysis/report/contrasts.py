"""Arms beside the controls that a reader looks at first: as much of their loss as these have is not what counts."""

from collections.abc import Sequence
from dataclasses import dataclass
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

    `what`: the control in words. `values`: by measure, (the arm's, the control's) of every seed, or none.
    """

    arm: str
    control: str
    what: str
    step: int
    values: dict[str, list[tuple[float, float]]]


def contrasts(runs: Sequence[tuple[Run, Sequence[Curve]]]) -> list[Contrast]:
    """Those of runs that differ in the seed alone, each with its curves: every arm with those of its placebos, matched
    nudges and kicked arms that have its reference, in the config's order, at the last step that all seeds have.
    """
    arms = runs[0][0].arms
    rows = []
    for control, spec in arms.items():
        arm = _arm_of(spec)
        if arm is None or arms[arm].reference != spec.reference:
            continue
        gaps = [pick(curves, "weight_gap", name) for _, curves in runs for name in (arm, control)]
        steps = set.intersection(*(set() if gap is None else set(gap.steps.tolist()) for gap in gaps))
        if steps:
            pairs = {measure: _pairs(runs, measure, (arm, control), max(steps)) for measure in MEASURES}
            rows.append(Contrast(arm, control, control_of(spec), max(steps), pairs))
    return sorted(rows, key=lambda row: list(arms).index(row.arm))


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


def _pairs(
    runs: Sequence[tuple[Run, Sequence[Curve]]], measure: str, arms: tuple[str, str], step: int
) -> list[tuple[float, float]]:
    """Seed by seed the values of an arm and its control; none where a seed lacks one."""
    pairs = []
    for _, curves in runs:
        own, its = (pick(curves, measure, arm, **HEADLINE[measure]) for arm in arms)
        values = [None if curve is None else curve.at(step) for curve in (own, its)]
        if values[0] is None or values[1] is None:
            return []
        pairs.append((values[0], values[1]))
    return pairs
