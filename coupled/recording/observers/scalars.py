"""Losses on every arm's Σ, gap and same-class mass."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from coupled.arms.arm import Arm
from coupled.inputs.source import Batch
from coupled.objectives.losses import evaluate
from coupled.objectives.registry import Objective


class Crossed(NamedTuple):
    """An arm as its loss is evaluated on another arm's Σ."""

    name: str
    objective: Objective
    labelling: str | None
    temperature: float


def batch_scalars(arm: Arm, batch: Batch, others: Sequence[Crossed], *, with_positive: bool) -> dict[str, Tensor]:
    """Own loss, the loss of every objective of `others` on this arm's Σ, and gap, mass, skipped anchors by labelling.

    The loss of another arm's objective uses that arm's labelling and temperature; the gap uses this arm's temperature.
    `with_positive`: gap and mass with the positive in the denominator as well. Objectives that are not functions of Σ
    are not among `others`.
    """
    wanted: dict[tuple[str | None, float], list[Objective]] = {(name, arm.temperature): [] for name in batch.labels}
    for other in others:
        wanted.setdefault((other.labelling, other.temperature), []).append(other.objective)
    values = {key: evaluate(arm.sigma, batch.pairs[key[0]], key[1], asked) for key, asked in wanted.items()}
    columns = {"batch.loss": arm.loss.double()}
    for other in others:
        columns[f"batch.loss_of.{other.name}"] = values[other.labelling, other.temperature].losses[other.objective]
    for name in batch.labels:
        value = values[name, arm.temperature]
        columns |= {f"batch.gap.{name}": value.gap, f"batch.mass.{name}": value.mass}
        columns[f"batch.skipped.{name}"] = value.skipped
        if with_positive:
            columns[f"batch.gap_with_positive.{name}"] = value.gap_with_positive
            columns[f"batch.mass_with_positive.{name}"] = value.mass_with_positive
    return columns
