"""What a run records: every stream's columns with dtype and shape, and where shards close. Public format.

A stream's rows lie in shards, one object per arm and one for what arms share. A tensor is named `group.column` and is
stacked along the steps in `group.step` (int64):

    state.*   the state of step t, before its update; the only group that the last state T has
    batch.*   the batch of step t, seen by the weights of step t
    update.*  the update from step t to step t+1
    fixed.*   not stacked: the same in every shard of the stream
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from math import prod
from typing import Any, Final

import numpy as np

from coupled import views
from coupled.arms.network import meta_network
from coupled.config import Config
from coupled.config.ledger import contrasted, has_momentum, ledger_arms, splits
from coupled.config.own_streams import stream_name
from coupled.config.traits import Permuted, objective_of, traits_of
from coupled.models.flat import in_weight_gap
from coupled.objectives.registry import is_function_of_sigma, positive_gap

SHARED = "shared"
# The groups of columns that are stacked along steps.
GROUPS: Final = ("state", "batch", "update")
DIGEST_BYTES = 32
PIXEL_DIGEST_BYTES = 16


@dataclass(frozen=True)
class Column:
    """One tensor of a stream: dtype (numpy's name) and shape of a row. `by_layer`: its elements are the layers'."""

    dtype: str
    shape: tuple[int, ...] = ()
    by_layer: bool = field(default=False, compare=False)

    @property
    def bytes(self) -> int:
        return np.dtype(self.dtype).itemsize * prod(self.shape)


Columns = dict[str, Column]
Layout = dict[str, dict[str, Columns]]


def open_rows_of(owner: str) -> str:
    """The file in preempt/ with an owner's rows of shards that have not closed; no arm has its name."""
    return f"open.rows.{owner}"


def row_bytes(columns: Columns) -> int:
    """Bytes of one recorded step of one owner."""
    return sum(column.bytes for name, column in columns.items() if not name.startswith("fixed."))


class Cause(IntEnum):
    """What a column shows, causes before effects: where two runs first differ in it, those before it were equal."""

    INPUTS = 0
    WEIGHTS = 1
    EVALUATION = 2
    FORWARD = 3
    OBJECTIVE = 4
    BACKWARD = 5
    OPTIMISER = 6
    PAST = 7  # all before the step: it says no more than they do, unless they are not recorded


_CAUSES: Final = {"state": Cause.WEIGHTS, "batch": Cause.OBJECTIVE, "update": Cause.OPTIMISER}


@dataclass(frozen=True)
class Dims:
    """What shapes of columns depend on beside the config: how many layers arms share, the widths of features, and how
    many places of a network have activations.
    """

    layers: int
    features: int
    stages: tuple[int, ...]
    places: int


@dataclass(frozen=True)
class StreamSpec:
    """One stream: the columns of every arm and of what arms share, if it has such; an arm without columns has no part
    in it. `record.<stream>` says when.

    `shows`: a group or column of an arm, or a shared column, that shows something else than most.
    """

    arm: Callable[[Config, Dims, str], Columns] | None = None
    shared: Callable[[Config, Dims], Columns] | None = None
    shows: Mapping[str, Cause] = field(default_factory=dict)


def _scalars(config: Config, dims: Dims, arm: str) -> Columns:
    columns = ["batch.loss", "state.norm", *(f"batch.loss_of.{name}" for name in crossed(config))]
    measures = ["gap", "mass", "skipped"]
    if has_positive_gap(config):
        measures += ["gap_with_positive", "mass_with_positive"]
    columns += [f"batch.{measure}.{name}" for measure in measures for name in labellings(config)]
    if isinstance(traits_of(config.arms, arm).labels, Permuted):
        columns += [f"batch.permuted_{measure}" for measure in measures]
    if config.arms[arm].reference is not None:
        columns += ["state.weight_gap", "state.distance"]
    scalars = {column: Column("float64") for column in columns}
    return {**scalars, **_digests()} if has_own_inputs(config, arm) else scalars


def _certificate(config: Config, dims: Dims) -> Columns:
    return {"batch.learning_rate": Column("float64"), **_digests()}


def _digests() -> Columns:
    digests = ("batch.ids_digest", "batch.draws_digest", "batch.chain")
    return dict.fromkeys(digests, Column("uint8", (DIGEST_BYTES,)))


def _layers(config: Config, dims: Dims, arm: str) -> Columns:
    columns = ["state.norm", "batch.gradient_norm", "update.norm"]
    if config.arms[arm].reference is not None:
        columns += ["state.distance", "state.angle"]
    return dict.fromkeys(columns, Column("float64", (dims.layers,), by_layer=True))


def _motion(config: Config, dims: Dims, arm: str) -> Columns:
    columns = {"state.moved": Column("float64"), "state.layer_moved": Column("float64", (dims.layers,), by_layer=True)}
    return columns if config.arms[arm].reference is None else {**columns, "state.cosine": Column("float64")}


def _z(config: Config, dims: Dims, arm: str) -> Columns:
    z = {"batch.z": Column(config.train.dtype, (2 * config.batches.size, config.model.projection_dim))}
    return {**z, **_samples(config, dims)} if has_own_inputs(config, arm) else z


def _samples(config: Config, dims: Dims) -> Columns:
    columns = ["ids", "visits", *(f"labels.{name}" for name in labellings(config))]
    return {f"batch.{column}": Column("int64", (config.batches.size,)) for column in columns}


def _own_pixels(config: Config, dims: Dims, arm: str) -> Columns:
    return _pixels(config, dims) if has_own_inputs(config, arm) else {}


def _panel(config: Config, dims: Dims, arm: str) -> Columns:
    widths = {"state.h": dims.features, "state.z": config.model.projection_dim}
    if config.panel.stages:
        widths |= {f"state.stage.{k}": width for k, width in enumerate(dims.stages)}
    return {name: Column(config.train.dtype, (config.panel.size, width)) for name, width in widths.items()}


def _panel_samples(config: Config, dims: Dims) -> Columns:
    return _fixed(config, config.panel.size)


def _surrogate(config: Config, dims: Dims, arm: str) -> Columns:
    return {"state.z": Column(config.train.dtype, (2 * config.panel.surrogate_size, config.model.projection_dim))}


def _surrogate_samples(config: Config, dims: Dims) -> Columns:
    size = config.panel.surrogate_size
    return {**_fixed(config, size), "fixed.draws": Column("int64", (2, size, views.WORDS_PER_VIEW))}


def _fixed(config: Config, size: int) -> Columns:
    names = ["fixed.ids", *(f"fixed.labels.{name}" for name in labellings(config))]
    return dict.fromkeys(names, Column("int64", (size,)))


def _flips(config: Config, dims: Dims, arm: str) -> Columns:
    return {} if config.arms[arm].reference is None else {"state.flipped": Column("int64", (dims.places,))}


def _units(config: Config, dims: Dims) -> Columns:
    return {"fixed.units": Column("int64", (dims.places,))}


def _pixels(config: Config, dims: Dims) -> Columns:
    return {"batch.pixels_digest": Column("uint8", (2 * config.batches.size, PIXEL_DIGEST_BYTES))}


def _ledger(config: Config, dims: Dims, arm: str) -> Columns:
    if arm not in ledger_arms(config):
        return {}
    columns = ["state.distance", "batch.instability", "batch.objective"]
    columns += ["batch.instability_distance", "batch.objective_distance", "batch.instability_objective"]
    if has_momentum(config):
        columns += ["state.momentum", "state.distance_momentum"]
        columns += ["batch.instability_momentum", "batch.objective_momentum"]
    if splits(config):
        columns += ["state.from_instability", "state.from_objective", "state.from_both", "state.objective_along"]
        columns += ["state.from_start", "state.from_moves", "state.from_rounding"]
    if arm in contrasted(config):
        columns += ["batch.objective_at_reference"]
    return dict.fromkeys(columns, Column("float64", (dims.layers,), by_layer=True))


_OF_THE_PAST: Final = (
    "momentum", "distance_momentum", "from_instability", "from_objective", "from_both", "objective_along",
    "from_moves", "from_rounding",
)  # fmt: skip

# What an arm sees, where it sees something else than the others.
_INPUTS: Final[dict[str, Cause]] = dict.fromkeys(
    ("batch.ids_digest", "batch.draws_digest", "batch.ids", "batch.visits", "batch.labels", "batch.pixels_digest"),
    Cause.INPUTS,
)
STREAMS: Final = {
    "scalars": StreamSpec(_scalars, _certificate, {**_INPUTS, "batch.chain": Cause.PAST}),
    "layers": StreamSpec(_layers, shows={"batch.gradient_norm": Cause.BACKWARD}),
    "motion": StreamSpec(_motion),
    "similarity": StreamSpec(_z, _samples, {**_INPUTS, "batch.z": Cause.FORWARD}),
    "panel": StreamSpec(_panel, _panel_samples, {"state": Cause.EVALUATION}),
    "surrogate": StreamSpec(_surrogate, _surrogate_samples, {"state": Cause.EVALUATION}),
    "flips": StreamSpec(_flips, _units, {"state": Cause.EVALUATION}),
    "pixels": StreamSpec(_own_pixels, _pixels, _INPUTS),
    "ledger": StreamSpec(
        _ledger, shows={"batch": Cause.BACKWARD, **{f"state.{name}": Cause.PAST for name in _OF_THE_PAST}}
    ),
}


def train_layout(config: Config) -> Layout:
    """stream → owner (arm or "shared") → column name → Column, by a config, from shapes alone.

    Streams of one's own come last.
    """
    network = meta_network(config)
    layers = len(list(network.parameters()))
    dims = Dims(layers, network.feature_dim, tuple(network.stage_dims), len(network.activations()))
    built_in = {stream: _owners(spec, config, dims) for stream, spec in STREAMS.items()}
    return built_in | {stream_name(name): _own(config, dims, name) for name in config.record.own}


def own_column(config: Config, name: str) -> str:
    """The column of a stream of one's own: of a state where it looks at the panel, else of a batch."""
    return "state.value" if config.record.own[name].of == "panel" else "batch.value"


def _own(config: Config, dims: Dims, name: str) -> dict[str, Columns]:
    stream, batch = config.record.own[name], config.batches.size
    sizes = {
        "batch": batch,
        "views": 2 * batch,
        "layers": dims.layers,
        "features": dims.features,
        "projection": config.model.projection_dim,
        "panel": config.panel.size,
    }
    shape = tuple(sizes[size] if isinstance(size, str) else size for size in stream.shape)
    column = Column(str(stream.dtype), shape, by_layer=stream.shape == ("layers",))
    return {arm: {own_column(config, name): column} for arm in stream.arms or config.arms}


def _owners(spec: StreamSpec, config: Config, dims: Dims) -> dict[str, Columns]:
    owners = {} if spec.arm is None else {arm: spec.arm(config, dims, arm) for arm in config.arms}
    if spec.shared is not None:
        owners[SHARED] = spec.shared(config, dims)
    return {owner: dict(sorted(columns.items())) for owner, columns in owners.items() if columns}


def cause(stream: str, owner: str, column: str) -> Cause:
    """What a column shows. One of a user's own may show all that its function is given: the last of that counts."""
    group = column.partition(".")[0]
    if stream not in STREAMS:
        return Cause.EVALUATION if group == "state" else Cause.BACKWARD
    shows = STREAMS[stream].shows
    if owner == SHARED:
        return shows.get(column, Cause.INPUTS)
    kind = ".".join(column.split(".")[:2])  # of columns that there are by labelling, or by arm
    return shows.get(kind, shows.get(group, _CAUSES[group]))


def labellings(config: Config) -> list[str]:
    """The labellings that arms use, and data.labelling, in order of first mention."""
    named = [config.data.labelling, *(arm.labelling for arm in config.arms.values())]
    return list(dict.fromkeys(name for name in named if name is not None))


def crossed(config: Config) -> list[str]:
    """The arms whose objective is evaluated on every arm's Σ: those of kind objective, where it is a function of Σ."""
    objectives = {name: arm.objective for name, arm in config.arms.items() if arm.kind == "objective"}
    return [name for name, objective in objectives.items() if is_function_of_sigma(objective)]


def has_own_inputs(config: Config, arm: str) -> bool:
    """Does an arm see other batches or views than those that are shared, and have them on record itself?"""
    return traits_of(config.arms, arm).inputs is not None


def owner_of_inputs(config: Config, arm: str) -> str:
    """Who has on record what an arm sees: itself, or "shared"."""
    return arm if has_own_inputs(config, arm) else SHARED


def dependents(config: Config) -> dict[str, list[str]]:
    """Every arm that others are compared with, in the config's order, and those others."""
    names = {
        reference: [name for name, arm in config.arms.items() if arm.reference == reference]
        for reference in config.arms
    }
    return {reference: others for reference, others in names.items() if others}


def has_positive_gap(config: Config) -> bool:
    """Does any arm's denominator hold the positive, so that the gap of such losses is of interest?"""
    return any(positive_gap(objective_of(arm)) for arm in config.arms.values())


def layer_facts(config: Config) -> list[dict[str, Any]]:
    """The layers of the shared network as run.json lists them."""
    return [
        {"name": name, "shape": list(parameter.shape), "in_weight_gap": in_weight_gap(name)}
        for name, parameter in meta_network(config).named_parameters()
    ]
