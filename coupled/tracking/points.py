"""What a run shows of a step to who follows it elsewhere: a few numbers of what it has just recorded."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from coupled.config import Config

LEARNING_RATE: Final = "learning_rate"


@dataclass(frozen=True)
class Point:
    """Numbers of step `step` (after so many updates) by name: "loss/nscl", "gap/nscl", "weight_gap/nscl", "cka/nscl",
    "learning_rate". What is not finite is left out: trackers draw it as 0, or refuse it.
    """

    step: int
    values: Mapping[str, float]


def point(step: int, values: Mapping[str, float]) -> Point:
    """The point of these values, without those that are not finite."""
    return Point(step, {name: value for name, value in values.items() if math.isfinite(value)})


def columns_of(config: Config, arm: str) -> dict[str, str]:
    """Which columns of the stream scalars an arm's numbers are from: "loss" is batch.loss. The loss gap is that of the
    arm's own labels, which of a placebo are the true ones here.
    """
    spec = config.arms[arm]
    columns = {"loss": "batch.loss"}
    labelling = spec.labelling or config.data.labelling
    if labelling is not None:
        columns["gap"] = f"batch.gap.{labelling}"
    if spec.reference is not None:
        columns["weight_gap"] = "state.weight_gap"
    return columns
