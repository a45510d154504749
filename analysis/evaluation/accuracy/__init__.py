"""Is more alignment better? Alignment to the reference beside accuracy, at kept checkpoints of one run or many."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from analysis.evaluation.accuracy.points import Asked, Point, points_of
from analysis.evaluation.alignment.pairs import data_set
from analysis.evaluation.features import Evaluation
from analysis.evaluation.samples import SPLITS
from analysis.runs.controls import arms_with_reference
from analysis.runs.run import Run
from analysis.statistics.correlation import LEAST, Correlation, between, within
from coupled.config import resolved
from coupled.config.differences import config_facts
from coupled.errors import UserError, printable, unknown
from coupled.recording.layout import labellings

CLASSIFIERS: Final = ("centre", "linear")
FEATURES: Final = ("h", "z")
MEASURES: Final = {"cka": "debiased CKA", "rsa": "RSA"}
OTHER_POINTS: Final = "runs have other arms or steps: their means are of other things"
Quantity = Literal["accuracy", "difference"]
_OWN_COLUMNS: Final = ("name", "seed")  # of a config; they are told apart from what differs


@dataclass(frozen=True)
class Correlated:
    """A correlation of alignment with a quantity, over points of objective arms or of controls."""

    of: Quantity
    arms: Literal["objectives", "controls"]
    scope: Literal["within", "between"]
    correlation: Correlation


@dataclass(frozen=True)
class Accuracies:
    """Points of all runs, and how alignment and accuracy go together in them; without step 0."""

    asked: Asked
    points: tuple[Point, ...]
    correlations: tuple[Correlated, ...]
    flags: tuple[str, ...]

    @property
    def within(self) -> Correlation:
        """Of alignment and accuracy of objective arms, each less its run's mean."""
        return self._of("within")

    @property
    def between(self) -> Correlation:
        """Of the runs' mean alignment and mean accuracy of objective arms."""
        return self._of("between")

    def _of(self, scope: str) -> Correlation:
        wanted = ("accuracy", "objectives", scope)
        return next(one.correlation for one in self.correlations if (one.of, one.arms, one.scope) == wanted)


def accuracy(
    evaluations: Iterable[Evaluation],
    *,
    classifier: str = "linear",
    shots: int | None = None,
    feature: str = "h",
    measure: str = "cka",
    labelling: str | None = None,
) -> Accuracies:
    """A point for every run, step and arm that has a reference: alignment to it on test, and accuracy on test.

    classifier: "linear" (the linear probe at its optimum) or "centre", C-way, fitted to `shots` samples a class, None
    for all. measure: "cka" (debiased) or "rsa" of `feature` "h" or "z". labelling: whose classes; default: the first
    run's first. Evaluations given by an iterator are let go of when they are done.

    Raises UserError, before any work, for what cannot be, a run in which nothing has a reference, runs of different
    data sets, and a run given twice; and what `analysis.evaluation.probe.probe` raises.
    """
    for what, value, known in (
        ("classifier", classifier, CLASSIFIERS), ("feature", feature, FEATURES), ("measure", measure, MEASURES)
    ):  # fmt: skip
        if value not in known:
            raise unknown(what, value, known)
    waiting = list(evaluations)
    if not waiting:
        raise UserError("no runs", "at least one is needed")
    _check(waiting)
    labelling = _labelling(waiting, labelling)
    asked = Asked(classifier, shots, feature, measure, labelling)
    runs = [evaluation.run for evaluation in waiting]
    names, differing = names_of(runs), _differences(runs)
    points: list[Point] = []
    first = waiting[0].sample("test").ids
    while waiting:
        evaluation = waiting.pop(0)
        if len(ids := evaluation.sample("test").ids) != len(first) or not bool((ids == first).all()):
            raise UserError(
                f"{len(first)} test samples of {runs[0].path}", f"{evaluation.run.path} has others", "ask for the same"
            )
        of_run = points_of(evaluation, asked, names.pop(0), differing.pop(0))
        if points and of_run[0].ways != points[0].ways:
            sides = [f"{point.run.path} has {point.ways} classes" for point in (points[0], of_run[0])]
            raise UserError(sides[0], sides[1], "analyse them apart")
        points += of_run
    return Accuracies(asked, tuple(points), tuple(_correlations(runs, points)), _flags(runs, points))


def _check(evaluations: Sequence[Evaluation]) -> None:
    """UserError where there is nothing to compare, or points would be of different things."""
    first, seen = evaluations[0].run, set()
    for evaluation in evaluations:
        run = evaluation.run
        if not arms_with_reference(run):
            why = "the run has one arm" if len(run.arms) == 1 else "none of its arms has a reference"
            raise UserError(f"{run.path} has nothing to compare", why)
        if (path := run.path.resolve()) in seen:
            raise UserError(f"{run.path} is given twice", "every run once", "leave one out")
        seen.add(path)
        sides = [f"{one.path} is of {data_set(one)}" for one in (first, run)]
        if data_set(first) != data_set(run):
            raise UserError(sides[0], sides[1], "accuracies on different data do not compare: analyse them apart")
        for split in SPLITS:
            shas = [(one.facts["data"] or {}).get(split) for one in (first, run)]
            if None not in shas and shas[0] != shas[1]:
                given = f"{split} images of {first.path} have SHA-256 {shas[0]}"
                raise UserError(given, f"those of {run.path} have {shas[1]}", "analyse them apart")


def _labelling(evaluations: Sequence[Evaluation], asked: str | None) -> str:
    """Whose classes are told apart: all runs must know the labelling."""
    own = [list(labellings(evaluation.run.config)) for evaluation in evaluations]
    if not own[0]:
        raise UserError(f"the data set of {evaluations[0].run.path} has no labels", "accuracy needs labelled samples")
    wanted = own[0][0] if asked is None else asked
    for evaluation, names in zip(evaluations, own, strict=True):
        if wanted not in names:
            given = f"labelling {wanted}" if asked else f"{evaluations[0].run.path} has labelling {wanted}"
            raise UserError(given, f"{evaluation.run.path} has {', '.join(names)}", "set --labelling")
    return wanted


def names_of(runs: Sequence[Run]) -> list[str]:
    """What runs are called: their folders, with the path where two have one name."""
    names = [run.name for run in runs]
    return [run.name if names.count(run.name) == 1 else printable(str(run.path)) for run in runs]


def _differences(runs: Sequence[Run]) -> list[str]:
    """Of each run the identity fields of its config that not all have equal, but for the seed: "batches.size = 64"."""
    configs = [resolved(run.config) for run in runs]
    facts = [{fact.name: fact for fact in config_facts(configs[0], other)} for other in configs]
    fields = {
        name: fact.a for of_run in facts for name, fact in of_run.items()
        if fact.kind == "identity" and name not in _OWN_COLUMNS
    }  # fmt: skip
    return [
        ", ".join(f"{name} = {of_run[name].b if name in of_run else a}" for name, a in fields.items())
        for of_run in facts
    ]


def _correlations(runs: Sequence[Run], points: Sequence[Point]) -> Iterable[Correlated]:
    numbers = {run: number for number, run in enumerate(runs)}
    for arms in ("objectives", "controls"):
        chosen = [point for point in points if point.counts and point.objective == (arms == "objectives")]
        if arms == "controls" and len(chosen) < LEAST:
            continue
        group = np.array([numbers[point.run] for point in chosen], np.int64)
        x = np.array([point.alignment.value for point in chosen], np.float64)
        for of in ("accuracy", "difference"):
            y = np.array([getattr(point, of).value for point in chosen], np.float64)
            yield Correlated(of, arms, "within", within(x, y, group))
            # The absence of one is told once, of the arms that the question is about.
            if arms == "objectives" or len(set(group)) >= LEAST:
                yield Correlated(of, arms, "between", between(x, y, group))


def _flags(runs: Sequence[Run], points: Sequence[Point]) -> tuple[str, ...]:
    """What a reader of the correlations must know."""
    of_runs = {frozenset((p.arm, p.step) for p in points if p.run is run and p.counts and p.objective) for run in runs}
    return (OTHER_POINTS,) if len(of_runs) > 1 else ()
