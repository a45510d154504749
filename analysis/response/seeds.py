"""The response over seeds: of runs that differ in the seed alone, means with intervals, and arms beside their controls.

Shapes: S seeds, T steps. Everything is paired by seed: a difference or a ratio is taken within each run, and its
interval is over the runs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analysis.output.thinning import spread
from analysis.response import Response
from analysis.runs.controls import arms_with_reference, is_floor, loss_of
from analysis.runs.curve import Curve, pick
from analysis.runs.run import Run
from analysis.statistics.proportions import Interval, over_draws

MEASURES: Final = {"weight_gap": "weight gap", "cka": "CKA"}  # with the words for them
_MOST: Final = 60  # steps of weight gaps where no panel says which


@dataclass(frozen=True)
class SeedCurve:
    """One quantity of every seed. `against`: the control that `arm` is compared with, "" for the arm's own value.

    `measure`: "weight_gap" or "cka" (to the arm's reference; with `against`, the arm's less the control's), "contrast"
    (the arm's over the control's) or "energy_share" (of the two arms' clouds, nudged by `scale`). `values` (S, T), as
    the runs are given.
    """

    measure: str
    arm: str
    against: str
    steps: NDArray[np.int64]
    values: NDArray[np.float64]
    scale: float | str = ""

    def interval(self, place: int = -1) -> Interval:
        """Mean over seeds and 95 % interval (Student's t over seeds) at a place of `steps`; NaN where one is.

        It is not clipped to the measure's range: with few seeds it can reach beyond.
        """
        return over_draws(self.values[:, place])


def seed_curves(runs: Sequence[Run], responses: Sequence[Response]) -> list[SeedCurve]:
    """Weight gap and CKA of every arm at the steps of the panel (weight gaps without a panel at some spread over the
    run), then arms less their controls, contrasts over those of placebos, energy shares.

    `runs`: two or more that differ in the seed alone, with the response of each. A quantity that a run lacks, or that
    no step has in all runs, is left out.
    """
    own: dict[tuple[str, str], SeedCurve] = {}
    for measure in reversed(tuple(MEASURES)):  # CKA's steps first
        for arm in arms_with_reference(runs[0]):
            curve = _joined(measure, arm, "", [_measured(run, measure, arm) for run in runs])
            if curve is not None:
                own[measure, arm] = _thinned(curve, own.get(("cka", arm)))
    for measure in MEASURES:  # of a run that was stopped between two arms' shards, arms end at different steps
        of_measure = {key: curve for key, curve in own.items() if key[0] == measure}
        steps = [set(curve.steps.tolist()) for curve in of_measure.values()]
        last = max(set.intersection(*steps), default=-1) if steps else -1
        own |= {key: _until(curve, last) for key, curve in of_measure.items()}
    own = {key: curve for key, curve in own.items() if len(curve.steps)}
    curves = [
        own[measure, arm] for measure in MEASURES for arm in arms_with_reference(runs[0]) if (measure, arm) in own
    ]
    for arm, control in compared(runs[0]):
        for measure in MEASURES:
            if (measure, arm) in own and (measure, control) in own:
                curves.append(_difference(own[measure, arm], own[measure, control]))
    return [*curves, *_contrasts(runs[0], responses), *_shares(responses)]


def compared(run: Run) -> list[tuple[str, str]]:
    """(arm, control) of every control that stands for one arm's loss: its placebos and anti arms, what is kicked or
    nudged as far as it, and beside them the nudges of the arm's reference at the start.
    """
    pairs = []
    for arm, spec in run.arms.items():
        own = [name for name in run.arms if loss_of(run, name) == arm]
        floors = [name for name in run.arms if is_floor(run, name) and run.arms[name].of == spec.reference]
        pairs += [(arm, control) for control in (*own, *floors)] if own else []
    return pairs


def _measured(run: Run, measure: str, arm: str) -> Curve | None:
    if measure == "cka" and (not run.schedules("panel") or run.awaits("panel", arm, str(run.arms[arm].reference))):
        return None
    return run.curve(measure, arm=arm)


def _joined(measure: str, arm: str, against: str, curves: Sequence[Curve | None]) -> SeedCurve | None:
    """One quantity of all runs at the steps that all have; None where a run lacks it, or no step is common."""
    known = [curve for curve in curves if curve is not None]
    if len(known) < len(curves) or not known:
        return None
    steps = known[0].steps
    for curve in known[1:]:
        steps = np.intersect1d(steps, curve.steps)
    values = np.stack([curve.values[np.searchsorted(curve.steps, steps)] for curve in known])
    return SeedCurve(measure, arm, against, steps, values) if len(steps) else None


def _thinned(curve: SeedCurve, like: SeedCurve | None) -> SeedCurve:
    """The curve at the steps of another, and the last."""
    kept = spread(curve.steps, _MOST) if like is None else np.flatnonzero(np.isin(curve.steps, like.steps))
    kept = np.union1d(kept, [len(curve.steps) - 1])
    return replace(curve, steps=curve.steps[kept], values=curve.values[:, kept])


def _until(curve: SeedCurve, last: int) -> SeedCurve:
    kept = curve.steps <= last
    return replace(curve, steps=curve.steps[kept], values=curve.values[:, kept])


def _difference(curve: SeedCurve, control: SeedCurve) -> SeedCurve:
    steps, ours, others = np.intersect1d(curve.steps, control.steps, return_indices=True)
    return SeedCurve(curve.measure, curve.arm, control.arm, steps, curve.values[:, ours] - control.values[:, others])


def _contrasts(run: Run, responses: Sequence[Response]) -> Iterator[SeedCurve]:
    """The contrast of every arm over that of each of its placebos, where both are recorded."""
    for arm, control in compared(run):
        pair = [
            _joined("contrast", name, "", [pick(response.curves, "contrast", name) for response in responses])
            for name in (arm, control)
        ]
        if run.arms[control].kind == "placebo" and pair[0] is not None and pair[1] is not None:
            steps, ours, others = np.intersect1d(pair[0].steps, pair[1].steps, return_indices=True)
            above, below = pair[0].values[:, ours], pair[1].values[:, others]
            ratio = np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
            yield SeedCurve("contrast", arm, control, steps, ratio)


def _shares(responses: Sequence[Response]) -> Iterator[SeedCurve]:
    keyed = [
        {(share.first, share.second, share.scale, share.step): share.share for share in response.shares}
        for response in responses
    ]
    common = [key for key in keyed[0] if all(key in shares for shares in keyed)]
    for pair in dict.fromkeys(key[:3] for key in common):
        steps = sorted(key[3] for key in common if key[:3] == pair)
        values = [[shares[(*pair, step)] for step in steps] for shares in keyed]
        yield SeedCurve("energy_share", pair[0], pair[1], np.array(steps, np.int64), np.array(values), pair[2])
