"""Alignment of arms at their kept checkpoints, on whole splits, and how far their weights are apart."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from analysis.evaluation.alignment.features import Columns, aligned, columns_of, widths
from analysis.evaluation.alignment.pairs import Pair, pairs_across, pairs_within
from analysis.evaluation.alignment.weights import comparable, curves_of_weights
from analysis.evaluation.features import Evaluation
from analysis.evaluation.samples import SPLITS
from analysis.runs.alignment import CONSTANT, ESTIMATORS, ILL_CONDITIONED_FLAG
from analysis.runs.curve import Band, Curve
from analysis.statistics.estimates import Estimate
from coupled.data.splits import SplitName
from coupled.errors import UserError


def alignment(
    evaluation: Evaluation,
    *,
    pairs: Sequence[tuple[str, str]] = (),
    across: Evaluation | None = None,
) -> list[Curve]:
    """Every arm against its reference at every evaluated step, on train and test: h, z, and weights.

    pairs: two arms each, compared as well. across: another run of the same data set; every arm of kind objective is
    compared with the arm of that name there, at the steps that both keep. An evaluation with `stages` compares every
    stage of two arms, and on test every stage with every other ("stage.0 × stage.2": the arm's first, then its
    reference's).

    Measures "cka", "cka_biased" and "rsa" have the 95 % interval and the exact null band of `analysis.estimate`;
    "distance", "relative_distance", "angle" and "weight_gap" come from the weights of the checkpoints. Their source is
    "checkpoint". Raises UserError where there is nothing to compare.
    """
    return curves_of(all_pairs(evaluation, pairs=pairs, across=across))


def curves_of(chosen: Sequence[Pair]) -> list[Curve]:
    """The curves of some pairs of one evaluation, one at least, pair by pair, as `alignment` gives them."""
    prepare(chosen)
    evaluation = chosen[0].own
    total, done = sum(len(columns_of(pair, split)) * len(pair.steps) for pair in chosen for split in SPLITS), 0

    def count() -> None:
        nonlocal done
        done += 1
        evaluation.progress(f"alignment of {evaluation.run.name}", done, total)

    of_features = {pair: list[Curve]() for pair in chosen}
    for split in SPLITS:
        for pair, curve in _of_split(chosen, split, count):
            of_features[pair].append(curve)
    return [
        curve
        for pair in chosen
        for curve in (*of_features[pair], *(curves_of_weights(pair) if comparable(pair) else ()))
    ]


def all_pairs(
    evaluation: Evaluation, *, pairs: Sequence[tuple[str, str]] = (), across: Evaluation | None = None
) -> list[Pair]:
    """The pairs that `alignment` compares; UserError where there is none."""
    chosen = [*pairs_within(evaluation, pairs), *([] if across is None else pairs_across(evaluation, across))]
    if not chosen:
        why = "the run has one arm" if len(evaluation.run.arms) == 1 else "none of its arms has a reference"
        raise UserError(f"{evaluation.run.path} has nothing to compare", why, "name --pair A B, or --across RUN")
    return chosen


def prepare(pairs: Sequence[Pair]) -> None:
    """Makes the features of all pairs that are not on disk yet."""
    wanted: dict[Evaluation, tuple[dict[str, None], dict[int, None]]] = {}
    for pair in pairs:
        for evaluation, arm in ((pair.own, pair.arm), (pair.other, pair.reference)):
            arms, steps = wanted.setdefault(evaluation, ({}, {}))
            arms[arm] = None
            steps |= dict.fromkeys(pair.steps)
    for evaluation, (arms, steps) in wanted.items():
        evaluation.prepare(arms=list(arms), steps=list(steps))


def _of_split(pairs: Sequence[Pair], split: SplitName, count: Callable[[], None]) -> Iterator[tuple[Pair, Curve]]:
    """The curves of all pairs' features on a split, pair by pair."""
    steps = sorted({step for pair in pairs for step in pair.steps})
    by_step = {step: aligned([pair for pair in pairs if step in pair.steps], step, split, count) for step in steps}
    for pair in pairs:
        for columns in columns_of(pair, split):
            of_pair = [by_step[step][pair, columns] for step in pair.steps]
            for measure in of_pair[0]:
                yield pair, _curve(pair, split, columns, measure, [estimates[measure] for estimates in of_pair])


def _curve(pair: Pair, split: SplitName, columns: Columns, measure: str, estimates: Sequence[Estimate]) -> Curve:
    steps = np.array(pair.steps, np.int64)
    ill = steps[[bool(estimate.ill_conditioned) for estimate in estimates]]
    flags = (*pair.own.sample(split).flags, *pair.flags)
    if len(ill):
        flags = (*flags, f"{ILL_CONDITIONED_FLAG} from step {ill[0]}: similarities are nearly equal")

    def over_steps(field: str) -> np.ndarray:
        return np.array([float(getattr(estimate, field)) for estimate in estimates])

    return Curve(
        measure=measure,
        arm=pair.arm,
        reference=pair.compared_with,
        steps=steps,
        values=over_steps("value"),
        n=len(pair.own.sample(split)),
        d=widths(pair.own)[columns.own],
        feature=str(columns),
        source="checkpoint",
        split=split,
        labelling=None,
        estimator=ESTIMATORS[measure],
        undefined=CONSTANT,
        flags=flags,
        interval=Band(over_steps("low"), over_steps("high"), estimates[0].interval),
        null=Band(over_steps("null_low"), over_steps("null_high"), estimates[0].null),
    )
