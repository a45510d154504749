"""The stream scalars: losses on every arm's Σ, gap and same-class mass, distances of weights, the certificate."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from torch import Tensor

from coupled.arms.arm import Arm
from coupled.config import Arm as ArmConfig
from coupled.config.traits import LabelKey, Permuted, objective_of
from coupled.inputs.certificate import Link
from coupled.inputs.source import Batch
from coupled.models.segments import Sum
from coupled.objectives.losses import evaluate
from coupled.objectives.registry import Objective
from coupled.recording.layout import SHARED, crossed, has_positive_gap
from coupled.recording.observation import Observation, Observer, Rows, Setting, StepObservation
from coupled.runtime import one_thread


class Scalars(Observer):
    """What each arm's loss, Σ and weights come to, and what the step adds to the certificate."""

    stream = "scalars"
    sums = frozenset({Sum.SQUARES, Sum.DISTANCES})

    def __init__(self, setting: Setting) -> None:
        config = setting.config
        self._crossed = [Crossed(name, *_measured(config.arms[name])) for name in crossed(config)]
        self._with_positive = has_positive_gap(config)

    def state(self, seen: Observation) -> Rows:
        weights = seen.weights
        rows = {name: {"state.norm": partial(weights.norm, name)} for name in weights.own}
        for name in weights.compared:
            rows[name] |= {
                "state.distance": partial(weights.distance, name),
                "state.weight_gap": partial(weights.gap, name),
            }
        return rows

    def batch(self, seen: StepObservation) -> Rows:
        with one_thread():
            rows: dict[str, Mapping[str, Tensor | np.ndarray]] = {
                name: seen.graphs.run(("losses", name), partial(self._scalars, arm, seen.batch_of(name)))
                for name, arm in seen.arms.items()
            }
        own = {name: {**rows[name], **_digests(seen.link_of(name))} for name in seen.with_own_inputs}
        shared = seen.links[None]
        return {**rows, **own, SHARED: {"batch.learning_rate": np.array(shared.learning_rate), **_digests(shared)}}

    def _scalars(self, arm: Arm, batch: Batch) -> dict[str, Tensor]:
        return batch_scalars(arm, batch, self._crossed, with_positive=self._with_positive)


def _digests(link: Link) -> dict[str, np.ndarray]:
    """What a step adds to a chain, and the chain after it."""
    digests = {"ids_digest": link.ids, "draws_digest": link.draws, "chain": link.chain}
    return {f"batch.{name}": np.frombuffer(value, np.uint8) for name, value in digests.items()}


class Crossed(NamedTuple):
    """An arm as its loss is evaluated on another arm's Σ."""

    name: str
    objective: Objective
    labelling: str | None
    temperature: float


def batch_scalars(arm: Arm, batch: Batch, others: Sequence[Crossed], *, with_positive: bool) -> dict[str, Tensor]:
    """Own loss, the loss of every objective of `others` on this arm's Σ, and gap, mass, skipped anchors by labelling.

    The loss of another arm's objective uses that arm's labelling and temperature; the gap uses this arm's temperature.
    Of a placebo gap, mass and skipped anchors are of its permuted labels as well.
    `with_positive`: gap and mass with the positive in the denominator as well. Objectives that are not functions of Σ
    are not among `others`.
    """
    own = arm.traits.labels if isinstance(arm.traits.labels, Permuted) else None
    keys: list[LabelKey] = [*batch.labels, *([] if own is None else [own])]
    wanted: dict[tuple[LabelKey, float], list[Objective]] = {(key, arm.temperature): [] for key in keys}
    for other in others:
        wanted.setdefault((other.labelling, other.temperature), []).append(other.objective)
    values = {key: evaluate(arm.sigma, batch.pairs[key[0]], key[1], asked) for key, asked in wanted.items()}
    columns = {"batch.loss": arm.loss.double()}
    for other in others:
        columns[f"batch.loss_of.{other.name}"] = values[other.labelling, other.temperature].losses[other.objective]
    for key in keys:
        value = values[key, arm.temperature]
        measures = {"gap": value.gap, "mass": value.mass, "skipped": value.skipped}
        if with_positive:
            measures["gap_with_positive"] = value.gap_with_positive
            measures["mass_with_positive"] = value.mass_with_positive
        for measure, of_key in measures.items():
            columns[f"batch.permuted_{measure}" if key is own else f"batch.{measure}.{key}"] = of_key
    return columns


def _measured(arm: ArmConfig) -> tuple[Objective, str | None, float]:
    """What an arm's loss is made of."""
    return objective_of(arm), arm.labelling, arm.temperature
