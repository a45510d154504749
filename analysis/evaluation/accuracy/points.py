"""What is beside what: an arm's alignment to its reference at a kept checkpoint, and its accuracy on test."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

import torch

from analysis.evaluation.features import Evaluation, Place
from analysis.evaluation.kept import Kept
from analysis.evaluation.probe import probe
from analysis.evaluation.probe.curves import AccuracyCurve
from analysis.runs.alignment import CONSTANT, ILL_CONDITIONED_FLAG
from analysis.runs.controls import arms_with_reference
from analysis.runs.parallel import side_by_side
from analysis.runs.run import Run
from analysis.statistics.proportions import Interval
from analysis.statistics.streamed import memory, streamed, whole
from coupled.data.splits import content_digest

START: Final = "step 0: nothing is learned yet, so it is in no correlation"
FORMAT: Final = 1  # another number when what is kept here changes
_BYTES: Final = 3 << 29  # that arms side by side may take
_SPLIT: Final = "test"


@dataclass(frozen=True)
class Asked:
    """What is compared. classifier: "centre" or "linear", fitted to `shots` samples a class, None for all; feature "h"
    or "z"; measure "cka" (debiased) or "rsa"; labelling: whose classes.
    """

    classifier: str
    shots: int | None
    feature: str
    measure: str
    labelling: str


@dataclass(frozen=True, kw_only=True)
class Point:
    """An arm of a run at a step: intervals of 95 %, all on n test samples; NaN where undefined, and `undefined` why.

    name: of the run, with its path where another has that name; differs: fields of its config that not all runs have
    equal. kind: of arm. seed, temperature, lam (λ), batch: None where they do not apply or are not known. difference:
    accuracy less the reference's, of the same shots and samples. ways: among how many classes one is chosen.
    """

    run: Run
    name: str
    differs: str
    seed: int | None
    step: int
    arm: str
    kind: str
    reference: str
    temperature: float | None
    lam: float | None
    batch: int | None
    alignment: Interval
    accuracy: Interval
    reference_accuracy: Interval
    difference: Interval
    n: int
    ways: int
    flags: tuple[str, ...]
    undefined: str

    @property
    def objective(self) -> bool:
        """Is it of an arm with an objective of its own, and no control?"""
        return self.kind == "objective"

    @property
    def counts(self) -> bool:
        """Is it in a correlation?"""
        return self.step > 0 and not self.undefined


def points_of(evaluation: Evaluation, asked: Asked, name: str, differs: str) -> list[Point]:
    """The points of a run: every arm with a reference at every step. UserError as `probe` gives it."""
    probed = probe(
        evaluation,
        shots=(asked.shots,),
        groups=(asked.classifier,),
        features=(asked.feature,),
        labelling=asked.labelling,
    )
    curves = [curve for curve in probed if curve.split == _SPLIT]
    ways = max(curve.ways for curve in curves)
    by_key = {(curve.measure, curve.arm): curve for curve in curves if curve.ways == ways}
    arms = arms_with_reference(evaluation.run)
    aligned = _alignments(evaluation, arms, asked)
    return [
        _point(evaluation, (name, differs), arm, row, by_key, aligned[arm, step])
        for arm in arms
        for row, step in enumerate(evaluation.steps)
    ]


def _point(
    evaluation: Evaluation,
    about: tuple[str, str],
    arm: str,
    row: int,
    by_key: dict[tuple[str, str], AccuracyCurve],
    aligned: tuple[Interval, bool],
) -> Point:
    run, step, (alignment, ill) = evaluation.run, evaluation.steps[row], aligned
    spec, reference = run.arms[arm], str(run.arms[arm].reference)
    own, others = by_key["accuracy", arm], by_key["accuracy", reference]
    less = by_key["accuracy_difference", arm]
    undefined = [CONSTANT] if math.isnan(alignment.value) else []
    undefined += [own.undefined] if math.isnan(own.values[row]) else []
    flags = [START] if step == 0 else []
    flags += [f"{ILL_CONDITIONED_FLAG}: similarities are nearly equal"] if ill else []
    if evaluation.imported is not None and evaluation.imported.unit == "epochs":
        flags.append("steps are epochs")
    flags += [*own.flags, *others.flags]

    def known(field: str, value: Any) -> Any:
        return value if evaluation.imported is None or evaluation.imported.knows(field) else None

    return Point(
        run=run,
        name=about[0],
        differs=about[1],
        seed=known("seed", run.config.seed),
        step=step,
        arm=arm,
        kind=spec.kind,
        reference=reference,
        temperature=None if spec.objective == "ce" else known("train.temperature", spec.temperature),
        lam=spec.lam,
        batch=known("batches.size", run.config.batches.size),
        alignment=alignment,
        accuracy=_interval(own, row),
        reference_accuracy=_interval(others, row),
        difference=_interval(less, row),
        n=int(own.n or 0),
        ways=own.ways,
        flags=tuple(dict.fromkeys(flags)),
        undefined="; ".join(undefined),
    )


def _interval(curve: AccuracyCurve, row: int) -> Interval:
    value, band = float(curve.values[row]), curve.interval
    if band is None:
        return Interval(value, math.nan, math.nan)
    return Interval(value, float(band.low[row]), float(band.high[row]))


def _alignments(
    evaluation: Evaluation, arms: Sequence[str], asked: Asked
) -> dict[tuple[str, int], tuple[Interval, bool]]:
    """By arm and step the alignment to the reference, as `coupled-analyze alignment` gives it, and whether digits are
    lost. The features are there.
    """
    run, kept, done = evaluation.run, Kept(evaluation.folder), count(1)
    keys = [(arm, step) for arm in arms for step in evaluation.steps]
    # RSA is of rows of norm 1, which those of z are.
    unit = asked.measure == "rsa" or asked.feature == "z"

    def work(key: tuple[str, int]) -> Iterator[tuple[tuple[str, int], tuple[Interval, bool]]]:
        arm, step = key
        sides = (arm, str(run.arms[arm].reference))
        x, y = (evaluation.features(Place(side, step, _SPLIT), asked.feature) for side in sides)
        facts = {"alignment": FORMAT, "measure": asked.measure, "unit": unit}
        facts |= {"features": content_digest({"x": x, "y": y})}
        columns = kept.of("alignment", facts, 1, 32, lambda: _measured(asked.measure, x, y, unit))
        yield key, (Interval(*map(float, columns["estimate"][0])), bool(columns["ill"][0]))
        evaluation.progress(f"alignment of {run.name}", next(done), len(keys))

    sample = evaluation.features(Place(arms[0], evaluation.steps[0], _SPLIT), asked.feature)
    of_pair = memory(len(sample), sample.shape[1], sample.shape[1]) + 2 * sample.nbytes
    return dict(side_by_side(keys, work, most=max(1, _BYTES // of_pair)))


def _measured(measure: str, x: torch.Tensor, y: torch.Tensor, unit: bool) -> dict[str, torch.Tensor]:
    estimate = streamed((measure,), whole(x), whole(y), unit=unit)[measure]
    numbers = [float(estimate.value), float(estimate.low), float(estimate.high)]
    ill = torch.tensor([bool(estimate.ill_conditioned)], dtype=torch.uint8)
    return {"estimate": torch.tensor([numbers], dtype=torch.float64), "ill": ill}
