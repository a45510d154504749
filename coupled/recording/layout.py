"""What a run records: every stream's columns with dtype and shape, and where shards close. Public format.

A stream's rows lie in shards, one object per arm and one for what arms share. A tensor is named `group.column` and is
stacked along the steps in `group.step` (int64):

    state.*   the state of step t, before its update; the only group that the last state T has
    batch.*   the batch of step t, seen by the weights of step t
    update.*  the update from step t to step t+1
    fixed.*   not stacked: the same in every shard of the stream
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Final

import numpy as np
import torch

from coupled import views
from coupled.arms.network import meta_network
from coupled.config import Config
from coupled.config.arms import objective_of
from coupled.models import Network
from coupled.models.flat import Segment, segments_of
from coupled.objectives.registry import is_function_of_sigma, positive_gap

STREAMS: tuple[str, ...] = ("scalars", "layers", "similarity", "panel", "surrogate", "pixels")
SHARED = "shared"
# The groups of columns that are stacked along steps.
GROUPS: Final = ("state", "batch", "update")
DIGEST_BYTES = 32
PIXEL_DIGEST_BYTES = 16


@dataclass(frozen=True)
class Column:
    """One tensor of a stream: dtype (numpy's name) and shape of a row."""

    dtype: str
    shape: tuple[int, ...] = ()

    @property
    def bytes(self) -> int:
        return np.dtype(self.dtype).itemsize * prod(self.shape)


Layout = dict[str, dict[str, dict[str, Column]]]


def labellings(config: Config) -> list[str]:
    """The labellings that arms use, and data.labelling, in order of first mention."""
    named = [config.data.labelling, *(arm.labelling for arm in config.arms.values())]
    return list(dict.fromkeys(name for name in named if name is not None))


def layout(config: Config, segments: list[Segment], feature_dim: int, stage_dims: Sequence[int]) -> Layout:
    """stream → owner (arm or "shared") → column name → Column."""
    real, B, d = config.train.dtype, config.batches.size, config.model.projection_dim
    names = labellings(config)
    panel, surrogate = config.panel.size, config.panel.surrogate_size
    digest = Column("uint8", (DIGEST_BYTES,))
    features = {"state.h": feature_dim, "state.z": d}
    if config.panel.stages:
        features |= {f"state.stage.{k}": width for k, width in enumerate(stage_dims)}
    fixed = {f"fixed.labels.{name}": "int64" for name in names} | {"fixed.ids": "int64"}
    streams: Layout = {
        "scalars": {arm: _scalar_columns(config, arm, names) for arm in config.arms},
        "layers": {arm: _layer_columns(config, arm, len(segments)) for arm in config.arms},
        "similarity": {arm: {"batch.z": Column(real, (2 * B, d))} for arm in config.arms},
        "panel": {arm: {name: Column(real, (panel, width)) for name, width in features.items()} for arm in config.arms},
        "surrogate": {arm: {"state.z": Column(real, (2 * surrogate, d))} for arm in config.arms},
        "pixels": {},
    }
    streams["scalars"][SHARED] = {
        "batch.learning_rate": Column("float64"),
        "batch.ids_digest": digest,
        "batch.draws_digest": digest,
        "batch.chain": digest,
    }
    per_sample = ["ids", "visits", *(f"labels.{name}" for name in names)]
    streams["similarity"][SHARED] = {f"batch.{column}": Column("int64", (B,)) for column in per_sample}
    streams["panel"][SHARED] = {name: Column(dtype, (panel,)) for name, dtype in fixed.items()}
    streams["surrogate"][SHARED] = {name: Column(dtype, (surrogate,)) for name, dtype in fixed.items()}
    streams["surrogate"][SHARED]["fixed.draws"] = Column("int64", (2, surrogate, views.WORDS_PER_VIEW))
    streams["pixels"][SHARED] = {"batch.pixels_digest": Column("uint8", (2 * B, PIXEL_DIGEST_BYTES))}
    return {
        stream: {owner: dict(sorted(c.items())) for owner, c in owners.items()} for stream, owners in streams.items()
    }


def _scalar_columns(config: Config, arm: str, names: list[str]) -> dict[str, Column]:
    columns = ["batch.loss", "state.norm", *(f"batch.loss_of.{name}" for name in crossed(config))]
    measures = ["gap", "mass", "skipped"]
    if has_positive_gap(config):
        measures += ["gap_with_positive", "mass_with_positive"]
    columns += [f"batch.{measure}.{name}" for measure in measures for name in names]
    if config.arms[arm].reference is not None:
        columns += ["state.weight_gap", "state.distance"]
    return {column: Column("float64") for column in columns}


def _layer_columns(config: Config, arm: str, layers: int) -> dict[str, Column]:
    columns = ["state.norm", "batch.gradient_norm", "update.norm"]
    if config.arms[arm].reference is not None:
        columns += ["state.distance", "state.angle"]
    return {column: Column("float64", (layers,)) for column in columns}


def crossed(config: Config) -> list[str]:
    """The arms whose objective is evaluated on every arm's Σ: those of kind objective, where it is a function of Σ."""
    objectives = {name: str(arm.objective) for name, arm in config.arms.items() if arm.kind == "objective"}
    return [name for name, objective in objectives.items() if is_function_of_sigma(objective)]


def dependents(config: Config) -> dict[str, list[str]]:
    """Every arm that others are compared with, in the config's order, and those others."""
    found = {
        reference: [name for name, arm in config.arms.items() if arm.reference == reference]
        for reference in config.arms
    }
    return {reference: names for reference, names in found.items() if names}


def has_positive_gap(config: Config) -> bool:
    """Does any arm's denominator hold the positive, so that the gap of such losses is of interest?"""
    return any(positive_gap(objective_of(arm)) for arm in config.arms.values())


def train_layout(config: Config) -> Layout:
    """The record layout of a config, from shapes alone."""
    network = meta_network(config)
    segments = weight_segments(config, network)
    return layout(config, segments, network.feature_dim, network.stage_dims)


def weight_segments(config: Config, network: Network) -> list[Segment]:
    """Where each parameter of the shared network lies in an arm's flat weights, in the run's precision."""
    return segments_of(list(network.named_parameters()), getattr(torch, config.train.dtype))
