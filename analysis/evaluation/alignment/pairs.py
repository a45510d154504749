"""Which arms are compared: an arm and its reference, two arms that a user names, or one arm in two runs."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from analysis.evaluation.features import Evaluation
from analysis.evaluation.samples import SPLITS
from analysis.runs.controls import arms_with_reference
from analysis.runs.run import Run
from coupled.errors import UserError, printable


@dataclass(frozen=True, eq=False)
class Pair:
    """An arm of an evaluation and what it is compared with: `reference`, an arm of the same or of an `other` one."""

    own: Evaluation
    arm: str
    other: Evaluation
    reference: str
    steps: tuple[int, ...]

    @property
    def across(self) -> bool:
        """Are these arms of two runs?"""
        return self.own is not self.other

    @property
    def compared_with(self) -> str:
        """What the second arm is called where curves are listed; its run is named if it is another."""
        return f"{self.reference} of {_name(self.other, self.own)}" if self.across else self.reference

    @property
    def of_config(self) -> bool:
        """Is it an arm beside its own reference?"""
        return not self.across and self.own.run.arms[self.arm].reference == self.reference

    @property
    def flags(self) -> tuple[str, ...]:
        """What is not equal in two runs beside the arms."""
        sizes = [side.run.config.views.size for side in (self.own, self.other)]
        return (f"images of {sizes[0]} and of {sizes[1]} pixels a side",) if sizes[0] != sizes[1] else ()


def pairs_within(evaluation: Evaluation, more: Sequence[tuple[str, str]] = ()) -> list[Pair]:
    """Every arm with its reference, then the pairs that a user names. UserError for an unknown arm, or one twice."""
    run = evaluation.run
    for pair in more:
        for arm in pair:
            run.arm(arm)
        if pair[0] == pair[1]:
            raise UserError(f"--pair {pair[0]} {pair[1]}", "an arm is equal to itself", "name two arms")
    own = [(arm, str(run.arms[arm].reference)) for arm in arms_with_reference(run)]
    return [
        Pair(evaluation, arm, evaluation, reference, evaluation.steps)
        for arm, reference in dict.fromkeys([*own, *more])
    ]


def pairs_across(own: Evaluation, other: Evaluation) -> list[Pair]:
    """Every arm of kind objective with the arm of that name in another run, at the steps that both have.

    UserError, with both sides, where images, ids, arms or steps have nothing in common.
    """
    a, b = own.run, other.run
    if a.path.resolve() == b.path.resolve():
        raise UserError(f"--across {b.path}", "it is the run itself", "name another run of the same data set")
    units = [_unit(side) for side in (own, other)]
    if units[0] != units[1]:
        sides = [f"steps of {run.path} are {unit}" for run, unit in zip((a, b), units, strict=True)]
        raise UserError(sides[0], sides[1], "import with --batch, so that epochs have steps")
    names = [data_set(run) for run in (a, b)]
    if names[0] != names[1]:
        sides = [f"{run.path} is of {name}" for run, name in zip((a, b), names, strict=True)]
        raise UserError(sides[0], sides[1], "compare runs of one data set")
    for split in SPLITS:
        sides = [side.fingerprint(split) for side in (own, other)]
        if sides[0] != sides[1]:
            raise UserError(
                f"{split} images of {a.path} have SHA-256 {sides[0]}",
                f"those of {b.path} have {sides[1]}",
                "compare runs of one data set",
            )
        counts = [len(side.sample(split)) for side in (own, other)]
        if not torch.equal(own.sample(split).ids, other.sample(split).ids):
            raise UserError(
                f"{counts[0]} {split} samples of {a.path}, {counts[1]} others of {b.path}", "one arm in two runs is "
                "compared on the same ids", "ask for the same samples of both",
            )  # fmt: skip
    names = [[arm for arm, spec in run.arms.items() if spec.kind == "objective"] for run in (a, b)]
    common = [arm for arm in names[0] if arm in names[1]]
    if not common:
        sides = [f"{run.path} trains {', '.join(of_run)}" for run, of_run in zip((a, b), names, strict=True)]
        raise UserError(sides[0], sides[1], "arms are compared by name")
    steps = tuple(step for step in own.steps if step in other.steps)
    if not steps:
        sides = [f"{side.run.path} keeps steps {', '.join(map(str, side.steps))}" for side in (own, other)]
        raise UserError(sides[0], sides[1], "no step is kept by both")
    return [Pair(own, arm, other, arm, steps) for arm in common]


def _unit(side: Evaluation) -> str:
    """What a step of a run is: of checkpoints from elsewhere it may be an epoch."""
    return "steps" if side.imported is None else side.imported.unit


def data_set(run: Run) -> str:
    """What says which images a run's ids mean: the data set, and the part of it that is left."""
    data = run.config.data
    parts = {"seed": data.seed, "listing": data.listing, "classes": data.classes, "per_class": data.per_class}
    chosen = [
        f"{key} {value}" for key, value in (parts | {"imbalance": data.imbalance}).items() if value not in (None, ())
    ]
    return ", ".join([data.name, *chosen])


def _name(run: Evaluation, beside: Evaluation) -> str:
    """The run's folder, with its path where the other's has that name too."""
    return run.run.name if run.run.name != beside.run.name else printable(str(run.run.path))
