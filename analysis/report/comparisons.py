"""Arms beside the controls that a reader looks at first: as much of their loss as these have is not what counts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from analysis.response.seeds import MEASURES
from analysis.runs.controls import control_of, loss_of
from analysis.runs.curve import Curve, pick
from analysis.runs.run import HEADLINE, Run

_KINDS: Final = ("placebo", "nudged", "kicked")


@dataclass(frozen=True)
class Comparison:
    """An arm and a control of its loss at the last step that both have: a placebo, or one pushed as far as it.

    `controls`: its draws, which count together; `what`: the control in words. `values`: by measure, (the arm's, the
    mean of the control's) of every seed, or none.
    """

    arm: str
    controls: tuple[str, ...]
    what: str
    step: int
    values: dict[str, list[tuple[float, float]]]

    @property
    def named(self) -> str:
        """The control for a table."""
        first, last = self.controls[0], self.controls[-1]
        names = first if len(self.controls) == 1 else f"{first} … {last} ({len(self.controls)} draws, their mean)"
        return f"{names}: {self.what}"


def comparisons(runs: Sequence[tuple[Run, Sequence[Curve]]]) -> list[Comparison]:
    """Those of runs that differ in the seed alone, each with its curves: every arm with those of its placebos, matched
    nudges and kicked arms that have its reference, in the config's order, at the last step that all seeds have.
    """
    first = runs[0][0]
    groups: dict[tuple[str, str], list[str]] = {}
    for control, spec in first.arms.items():
        arm = loss_of(first, control)
        if arm is not None and spec.kind in _KINDS:
            groups.setdefault((arm, control_of(spec)), []).append(control)
    rows = []
    for (arm, what), of in groups.items():
        gaps = [pick(curves, "weight_gap", name) for _, curves in runs for name in (arm, *of)]
        steps = set.intersection(*(set() if gap is None else set(gap.steps.tolist()) for gap in gaps))
        if steps:
            pairs = {measure: _pairs(runs, measure, arm, of, max(steps)) for measure in MEASURES}
            rows.append(Comparison(arm, tuple(of), what, max(steps), pairs))
    return sorted(rows, key=lambda row: list(first.arms).index(row.arm))


def _pairs(
    runs: Sequence[tuple[Run, Sequence[Curve]]], measure: str, arm: str, controls: Sequence[str], step: int
) -> list[tuple[float, float]]:
    """Seed by seed the value of an arm and the mean of its controls; none where a seed lacks one."""
    pairs = []
    for _, curves in runs:
        picked = (pick(curves, measure, name, **HEADLINE[measure]) for name in (arm, *controls))
        values = [curve.at(step) for curve in picked if curve is not None]
        known = [value for value in values if value is not None]
        if len(known) <= len(controls):
            return []
        own, *its = known
        pairs.append((own, math.fsum(its) / len(its)))
    return pairs
