"""Few-shot error of a run's arms at kept checkpoints beside the bounds on it, in two settings that never mix.

*Exact*: the evaluated samples of a split are the population, so each bound is a theorem about the error beside it.
*Practice*: shots of train, error on test, plug-in moments of train: nothing is promised. docs/theory.md (91) to (98).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from analysis.arrays.classes import HELD
from analysis.arrays.few_shot_bounds import BOUNDS, Bound, two_way
from analysis.arrays.pair_moments import PairMoments
from analysis.evaluation.features import Evaluation, Place
from analysis.evaluation.few_shot.measured import Case, Measured, Setting, cases
from analysis.evaluation.samples import SPLITS
from analysis.runs.parallel import side_by_side
from coupled.arms.network import meta_network
from coupled.data.splits import SplitName, content_digest
from coupled.errors import UserError, unknown

FEATURES: Final = ("h", "z")
DRAWS: Final = 10
ERRORS: Final = 3.0  # standard errors of the mean that an error may be above its bound
_TASKS_BYTES: Final = 1 << 30  # that checkpoints side by side may take
_NONE: Final = torch.empty(0)


class Pairs(NamedTuple):
    """What pairs of classes contribute: labels of both (R, 2), ordered C-way and not two-way; by bound, (R,)."""

    labels: np.ndarray
    bounds: Mapping[str, np.ndarray]
    a: np.ndarray
    errors: np.ndarray


@dataclass(frozen=True, eq=False)
class Row:
    """Error and bounds of one arm at one step, for one number of shots: a row of few_shot.csv.

    split: of the samples that are classified. ways: C, or 2 for the mean over pairs of classes. error: the mean over
    draws, and its standard error (NaN for one draw). bounds: by name, their `pairs` left out. n: samples that are
    classified, of `classes` classes. note: why a number is NaN. pairs: None unless asked for.
    """

    setting: Setting
    step: int
    arm: str
    split: SplitName
    feature: str
    labelling: str
    ways: int
    shots: int
    error: float
    standard_error: float
    draws: int
    bounds: Mapping[str, Bound]
    n: int
    classes: int
    flags: tuple[str, ...]
    note: str
    pairs: Pairs | None = None

    def tightness(self, bound: str) -> float:
        """Bound over error; NaN where the error is 0."""
        return self.bounds[bound].value / self.error if self.error > 0 else math.nan

    def holds(self, bound: str) -> bool | None:
        """Is the error no more than `ERRORS` standard errors above the bound? None where no theorem says that it is,
        or one draw has no standard error.
        """
        least, most = self.error - ERRORS * self.standard_error, self.bounds[bound].value
        if self.setting == "practice" or math.isnan(least) or math.isnan(most):
            return None
        return least <= most * (1 + 1e-9) + 1e-12


class FewShot(NamedTuple):
    """What `few_shot` gives: for every arm, step, feature, case, number of ways and shots a row."""

    rows: list[Row]

    def violations(self) -> list[str]:
        """A sentence for every error above a bound that is a theorem about it: there must be none."""
        return [
            f"{Place(row.arm, row.step, row.split)}, {row.feature}, {row.labelling}, {row.ways}-way, {row.shots} shots"
            f": the error {row.error:.6g} (standard error {row.standard_error:.2g}) is above its bound {name} "
            f"{row.bounds[name].value:.6g}"
            for row in self.rows
            for name in row.bounds
            if row.holds(name) is False
        ]


def few_shot(
    evaluation: Evaluation,
    *,
    shots: Sequence[int],
    draws: int = DRAWS,
    features: Sequence[str] = FEATURES,
    labelling: str | None = None,
    pairs: bool = False,
) -> FewShot:
    """Errors of the nearest-centre classifier and their bounds, of every arm at each step that is evaluated: exact on
    train and on test, and practice; C-way and, for C > 2, two-way.

    shots: of each class. labelling: one of the run's (default: all). pairs: with what every pair contributes. Raises
    UserError for a data set without labels, one class, features that are not finite, and what `Evaluation` raises.
    """
    of_cases = _cases(evaluation, shots, draws, features, labelling)
    evaluation.prepare()
    run, measured, done = evaluation.run, Measured(evaluation), count(1)
    items = [(arm, step) for arm in evaluation.arms for step in evaluation.steps]

    # Of equal features they are equal, at step 0 those of all arms.
    known: dict[tuple[str, str], list[_Bounds]] = {}

    def at(item: tuple[str, int]) -> Iterator[Row]:
        for feature in features:
            of_splits = _features(evaluation, item, feature)
            digests: dict[SplitName, str] = {split: content_digest({"f": f}) for split, f in of_splits.items()}
            for case in of_cases:
                errors = measured.errors(case, of_splits, digests)
                key = case.digest_from, digests[case.shots_of]
                if key not in known:
                    moments = measured.moments(case, of_splits[case.shots_of], digests[case.shots_of])
                    known[key] = _bounds(case, moments, pairs)
                yield from _rows(item, feature, case, known[key], errors, pairs)
        evaluation.progress(f"few-shot error of {run.name}", next(done), len(items))

    most = max(1, _TASKS_BYTES // _task_bytes(evaluation))
    return FewShot(side_by_side(items, at, most=most))


def _cases(
    evaluation: Evaluation, shots: Sequence[int], draws: int, features: Sequence[str], labelling: str | None
) -> list[Case]:
    known = evaluation.sample("train").labels
    if not known:
        raise UserError(f"the data set of {evaluation.run.path} has no labels", "few-shot error is of labelled samples")
    if labelling is not None and labelling not in known:
        raise unknown("labelling of this run", labelling, known)
    for feature in features:
        if feature not in FEATURES:
            raise unknown("feature", feature, FEATURES)
    if draws < 1:
        raise UserError(f"{draws} draws", "at least 1 is needed")
    if not shots or min(shots) < 1:
        raise UserError(f"shots {', '.join(map(str, shots)) or 'of no number'}", "at least 1 is needed")
    chosen = known if labelling is None else [labelling]
    return [case for name in chosen for case in cases(evaluation, name, sorted(set(shots)), draws)]


def _task_bytes(evaluation: Evaluation) -> int:
    """What one checkpoint takes at most: features of both splits twice over, while their rows are put together, and
    in float64 as many numbers as `Samples` holds, as covariances have, and as centres and distances take.
    """
    width = max(meta_network(evaluation.run.config).feature_dim, evaluation.run.config.model.projection_dim)
    n = sum(len(evaluation.sample(split)) for split in SPLITS)
    return 2 * 8 * n * width + 8 * (min(n * width, HELD) + HELD)


class _Bounds(NamedTuple):
    """Of one number of shots and of ways."""

    shots: int
    ways: int
    by_name: Mapping[str, Bound]


def _bounds(case: Case, moments: PairMoments, pairs: bool) -> list[_Bounds]:
    """For each number of shots C-way, then two-way; without what pairs contribute unless it is asked for."""
    bounds = []
    for m in case.shots:
        of_ways = [(moments.count, {name: bound(moments, m) for name, bound in BOUNDS.items()})]
        if moments.count > 2:
            of_ways.append((2, {name: two_way(name, moments, m, case.pairs) for name in BOUNDS}))
        for ways, by_name in of_ways:
            kept = {name: bound if pairs else replace(bound, pairs=_NONE) for name, bound in by_name.items()}
            bounds.append(_Bounds(m, ways, kept))
    return bounds


def _rows(
    item: tuple[str, int], feature: str, case: Case, bounds: Sequence[_Bounds], errors: Mapping[str, np.ndarray],
    pairs: bool,
) -> Iterator[Row]:  # fmt: skip
    """A row for each of the bounds."""
    (arm, step), classes = item, len(case.classes)
    for m, ways, by_name in bounds:
        between = errors["two"][case.shots.index(m)]
        of_draws = between.mean(1) if ways < classes else errors["all"][case.shots.index(m)]
        lacking = case.most is not None and m > case.most
        reasons = [f"a class of {case.shots_of} has {case.most} samples, not {m}"] if lacking else []
        reasons += [bound.undefined for bound in by_name.values() if bound.undefined]
        yield Row(
            setting=case.setting, step=step, arm=arm, split=case.split, feature=feature, labelling=case.labelling,
            ways=ways, shots=m, error=float(of_draws.mean()), standard_error=_standard_error(of_draws),
            draws=case.draws, bounds=by_name, n=len(case.on), classes=classes,
            flags=(*case.flags, *(flag for bound in by_name.values() for flag in bound.flags)),
            note="; ".join(dict.fromkeys(reasons)),
            pairs=_pairs(case, by_name, between, ordered=classes > 2 and ways == classes) if pairs else None,
        )  # fmt: skip


def _features(evaluation: Evaluation, item: tuple[str, int], feature: str) -> dict[SplitName, Tensor]:
    return {split: evaluation.features(Place(*item, split), feature) for split in SPLITS}


def _standard_error(of_draws: np.ndarray) -> float:
    return float(of_draws.std(ddof=1) / math.sqrt(len(of_draws))) if len(of_draws) > 1 else math.nan


def _pairs(case: Case, bounds: Mapping[str, Bound], between: np.ndarray, *, ordered: bool) -> Pairs:
    """All ordered pairs of a C-way choice; two-way, the pairs that its mean is over, with their errors."""
    if ordered:
        off = ~torch.eye(len(case.classes), dtype=torch.bool)
        values = {name: bound.pairs[off].numpy() for name, bound in bounds.items()}
        nothing = np.full(int(off.sum()), math.nan)
        return Pairs(case.classes[off.nonzero()].numpy(), values, nothing, nothing)
    at = torch.tensor(case.pairs)
    if len(case.classes) == 2:
        bounds = {name: replace(bound, pairs=bound.pairs.sum()[None] / 2) for name, bound in bounds.items()}
    of_p1 = bounds["p1"].a
    a = np.full(len(at), math.nan) if of_p1 is None else np.broadcast_to(of_p1.numpy(), len(at))
    values = {name: bound.pairs.numpy() for name, bound in bounds.items()}
    return Pairs(case.classes[at].numpy(), values, a, between.mean(0))


def a_of(row: Row) -> float:
    """The a at which P1 is least; NaN two-way, where each pair has its own."""
    a: Tensor | None = row.bounds["p1"].a
    return float(a) if a is not None and a.ndim == 0 and not row.bounds["p1"].undefined else math.nan
