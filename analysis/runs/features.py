"""Where features that can be compared are recorded, and those of two arms side by side, a few steps at a time.

Shapes: k steps, n rows (batch and surrogate have two views of a sample, n = 2B, view 1 first), d features.
"""

import math
import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coupled.errors import UserError
from coupled.reading.records import Records
from coupled.store import StoreError

_CHUNK_BYTES: Final = 32 << 20  # float64 features of one arm that are worked on at a time


class Features(NamedTuple):
    """Where the features of a source are recorded, of which split its samples are, and how many views of each."""

    stream: str
    column: str
    split: str
    views: int


FEATURES: Final[dict[tuple[str, str], Features]] = {
    ("panel", "h"): Features("panel", "state.h", "test", 1),
    ("panel", "z"): Features("panel", "state.z", "test", 1),
    ("batch", "z"): Features("similarity", "batch.z", "train", 2),
    ("surrogate", "z"): Features("surrogate", "state.z", "train", 2),
}


def features(records: Records, source: str, feature: str) -> Features:
    """Where h, z, or stage.<k> of a source is recorded; UserError if it is not."""
    if (source, feature) in FEATURES:
        return FEATURES[source, feature]
    stages = stage_names(records)
    if source == "panel" and feature in stages:
        return Features("panel", f"state.{feature}", "test", 1)
    known = [f"{name} of {of}" for of, name in FEATURES] + [f"{name} of panel" for name in stages]
    do = "train with panel.stages = true" if re.fullmatch(r"stage\.\d+", feature) and not stages else ""
    raise UserError(f"{feature} of {source}", "recorded are " + ", ".join(known), do)


def stage_names(records: Records) -> list[str]:
    """The stage features that the run records on its panel, from the input on: "stage.0", "stage.1" …"""
    return [name.removeprefix("state.") for name in records.columns("panel") if name.startswith("state.stage.")]


def paired(
    records: Records, arm: str, reference: str, where: Features
) -> Iterator[tuple[NDArray[np.int64], Tensor, Tensor]]:
    """(steps (k,), x (k, n, d), y (k, n, d)) of an arm and its reference, in chunks that fit in memory, checked finite.

    In the precision they were recorded in. Raises what `Records.blocks` raises, and UserError for what is not finite.
    """
    own, other = (records.blocks(where.stream, name, where.column) for name in (arm, reference))
    size = max(1, _CHUNK_BYTES // (8 * math.prod(records.row_shape(where.stream, arm, where.column))))
    waiting: list[tuple[NDArray[np.int64], NDArray[Any], NDArray[Any]]] = []
    # Of a run still written one arm may be a shard ahead: the steps that both have count.
    for (steps, x), (others, y) in zip(own, other, strict=False):
        if len(steps) != len(others):
            raise StoreError(records.path, f"{where.stream}/{arm} and {reference} have shards of different steps")
        for start in range(0, len(steps), size):
            chunk = slice(start, start + size)
            # Early shards hold a step each: together they cost the calls of one.
            if sum(len(at) for at, _, _ in waiting) + len(steps[chunk]) > size:
                yield _together(waiting, arm, reference, where)
                waiting = []
            waiting.append((steps[chunk], x[chunk], y[chunk]))
    if waiting:
        yield _together(waiting, arm, reference, where)


def _together(
    parts: list[tuple[NDArray[np.int64], NDArray[Any], NDArray[Any]]], arm: str, reference: str, where: Features
) -> tuple[NDArray[np.int64], Tensor, Tensor]:
    at, x, y = (np.concatenate(column) for column in zip(*parts, strict=True))
    return at, _finite(arm, where, at, x), _finite(reference, where, at, y)


def _finite(arm: str, where: Features, steps: NDArray[np.int64], values: NDArray[Any]) -> Tensor:
    tensor = torch.from_numpy(values)
    finite = tensor.isfinite().all(-1).all(-1)
    if not finite.all():
        step = steps[int(finite.int().argmin())]
        raise UserError(
            f"{where.stream}/{arm} {where.column} is not finite at step {step}", "no measure is defined on it"
        )
    return tensor
