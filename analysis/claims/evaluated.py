"""What claims take from whole samples at kept checkpoints, which no run records while it trains."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

import numpy as np

from analysis.aggregation.gap import Gap
from analysis.aggregation.matching import Array, Steps
from analysis.claims.rules import FROM_STEP
from analysis.evaluation.features import Evaluation
from analysis.evaluation.few_shot import FewShot, few_shot
from analysis.evaluation.geometry import GeometryCurve, geometry
from analysis.evaluation.losses import losses, trained_by_nscl
from analysis.evaluation.networks import kept_steps
from analysis.evaluation.probe import probe
from analysis.evaluation.probe.curves import NOT_OPTIMAL
from analysis.runs.curve import Curve
from analysis.runs.run import Run
from coupled.data.splits import SplitName
from coupled.errors import UserError
from coupled.terminal.counting import Progress

SAMPLES: Final = 2000  # of each split
SHOTS: Final = (1, 10, 100)

T = TypeVar("T")
C = TypeVar("C", bound=Curve)
Series = tuple[Steps, Array]
_Values = Mapping[tuple[str, str], Series | Gap]  # by measure and arm


def looked_at(measure: str, kept: Sequence[int], last: int) -> list[int] | Gap:
    """The steps that a measure of `EVALUATED` is taken at, of those kept of a run of `last` steps."""
    late = [step for step in kept if FROM_STEP <= step < last]
    before = {
        "probe_accuracy": [],
        "nscl_loss_share": [0],
        "few_shot_error": [step for step in (0, *late[:1]) if step in kept],
        **dict.fromkeys(_MEASURES, late[:1] or [FROM_STEP]),
    }
    wanted = [*before[measure], last]
    missing = [step for step in wanted if step not in kept]
    return Gap(f"keeps no checkpoint of step {missing[0]}") if missing else wanted


class Evaluated:
    """The measures of some arms of a finished run, each made when it is first asked for. Features of them are kept
    under the run's analysis/, so that the next one to ask takes seconds.
    """

    def __init__(self, run: Run, arms: Sequence[str], progress: Progress | None = None) -> None:
        self._run, self._arms, self._progress = run, arms, progress
        self._made: dict[Callable[[Evaluation], _Values], _Values | Gap] = {}

    def series(self, measure: str, arm: str) -> Series | Gap:
        """Steps and values of a measure of an arm, or why there are none."""
        make = _MAKERS[measure]
        if make not in self._made:
            self._made[make] = self._evaluated(measure, make)
        made = self._made[make]
        return made if isinstance(made, Gap) else made.get((measure, arm), Gap(f"{measure} of {arm} is not evaluated"))

    def errors(self) -> FewShot | Gap:
        """The few-shot errors beside their bounds."""
        return self._evaluated("few_shot_error", lambda evaluation: few_shot(evaluation, shots=SHOTS))

    def _evaluated(self, measure: str, make: Callable[[Evaluation], T]) -> T | Gap:
        try:
            steps = looked_at(measure, kept_steps(self._run), self._run.config.train.steps)
            if isinstance(steps, Gap):
                return Gap(f"{self._run.name} {steps.reason}")
            # The data set is held no longer than this takes: there may be many runs.
            return make(Evaluation(self._run, arms=self._arms, steps=steps, size=SAMPLES, progress=self._progress))
        except UserError as error:
            return Gap(f"{self._run.name}: {error}")


def _accuracies(evaluation: Evaluation) -> _Values:
    """Test accuracy of the linear probe at its optimum on h, of all evaluated samples of train."""
    curves = probe(evaluation, shots=[None], groups=["linear"], features=["h"])
    values: dict[tuple[str, str], Series | Gap] = {}
    for arm in evaluation.arms:
        classes = len(evaluation.sample("train").labels[str(labelling_of(evaluation.run, arm))].unique())
        own = _own(evaluation, arm, curves, "test")
        (curve,) = (each for each in own if (each.measure, each.ways) == ("accuracy", classes))
        bad = next((flag for flag in curve.flags if flag.startswith(NOT_OPTIMAL)), "")
        values["probe_accuracy", arm] = Gap(f"{arm}: {bad}") if bad else (curve.steps, curve.values)
    return values


def _shares(evaluation: Evaluation) -> _Values:
    """docs/theory.md (86) of test batches of the run's size, in the form that NSCL was trained by."""
    rows, run = losses(evaluation), evaluation.run
    values: dict[tuple[str, str], Series | Gap] = {}
    for row in rows:
        if (row.split, row.scope, row.labelling) != ("test", "batch", labelling_of(run, row.arm)) or row.step == 0:
            continue
        beside = trained_by_nscl(rows, run, row.labelling, row.temperature)
        if beside is None:
            share, why = math.nan, f"no arm is trained by NSCL at the temperature of {row.arm}"
        else:
            share = row.share_with_positive if run.arms[beside].positive_in_denominator else row.share
            why = f"training by NSCL has not lowered its loss: {row.arm} has no share of that"
        known = (np.array([row.step]), np.array([share]))
        values["nscl_loss_share", row.arm] = Gap(why) if math.isnan(share) else known
    return values


def _geometry(evaluation: Evaluation) -> _Values:
    """Of z of train, of which the theorem on NSCL speaks."""
    curves = geometry(evaluation).curves
    return {
        (measure, arm): _unless_of_two(measure, curve)
        for arm in evaluation.arms
        for curve in _own(evaluation, arm, curves, "train")
        for measure, name in _MEASURES.items()
        if (curve.feature, curve.measure) == ("z", name)
    }


def _unless_of_two(measure: str, curve: GeometryCurve) -> Series | Gap:
    if measure == "simplex_deviation" and curve.classes == 2:
        return Gap("two centres have the cosine -1 always: they cannot deviate from the simplex")
    return curve.steps, curve.values


def labelling_of(run: Run, arm: str) -> str | None:
    """Under which labels an arm is measured: its own; of CL, which has none, those of the first arm that is trained by
    NSCL and compared with it.
    """
    others = (each for each in run.arms.values() if each.objective == "nscl" and each.reference == arm)
    return next((each.labelling for each in others if each.kind == "objective"), run.arms[arm].labelling)


def _own(evaluation: Evaluation, arm: str, curves: Sequence[C], split: SplitName) -> list[C]:
    """The curves of an arm on a split, under its labels."""
    wanted = (arm, split, labelling_of(evaluation.run, arm), None)
    return [each for each in curves if (each.arm, each.split, each.labelling, each.reference) == wanted]


# What `analysis.arrays.optimum` calls them.
_MEASURES: Final = {"within_class_collapse": "within_class_collapse", "simplex_deviation": "etf_cosine_rms"}
_MAKERS: Final[dict[str, Callable[[Evaluation], _Values]]] = {
    "probe_accuracy": _accuracies,
    "nscl_loss_share": _shares,
    **dict.fromkeys(_MEASURES, _geometry),
}
