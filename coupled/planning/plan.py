"""A run before it starts: its directory, parameters and bytes, from its config. Needs no data."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from coupled.arms.network import forward_on_shapes, meta_network
from coupled.arms.optimisers import state_tensors
from coupled.config import Config, digest
from coupled.config.identity import path_of
from coupled.config.traits import own_inputs, traits_of
from coupled.inputs.dataset import data_info
from coupled.inputs.held import held_bytes
from coupled.inputs.shares import is_shared, shares
from coupled.models import Network
from coupled.models.batchnorm import BatchNorm
from coupled.planning.graph_memory import GraphMemory, graph_memory
from coupled.planning.ledger import LedgerCost, ledger_cost, vector_bytes
from coupled.planning.ranks import World, default_world
from coupled.ranks.placement import Placement, place
from coupled.recording.layout import GROUPS, Layout, dependents, row_bytes, train_layout
from coupled.recording.schedule import checkpoint_steps, due


@dataclass(frozen=True)
class Traffic:
    """What a rank receives in a step, in bytes. `weights`: of references elsewhere, at steps whose weight columns
    are recorded; `ledger`: of theirs at steps that it looks at; `views` of image folders that other ranks make; per arm
    that ranks share: `embeddings`, `statistics` of batch-norm (both directions), `gradient`.
    """

    weights: int
    ledger: int
    views: int
    embeddings: int
    statistics: int
    gradient: int


@dataclass(frozen=True)
class Extra:
    """What kicks take at every step beside the arms' own: backward passes, and random numbers. `memory` in bytes: the
    gradients that are kept, and what a direction is made of.
    """

    backwards: int
    normals: int
    memory: int


@dataclass(frozen=True)
class Plan:
    """Sizes in bytes of tensor data (headers add a few kB a shard).

    `per_step` is what the streams record that record at every step; `streams` the total of each stream over
    the run; `checkpoints` (count, bytes of one with every arm). `arm_memory` is what an arm holds all the time
    (weights, gradient, optimiser, buffers; recording and views apart). `step_memory` is what it needs besides while it
    takes its turn: what the forward keeps for the backward, counted on shapes. `images`: training images that a GPU
    holds, in every process. `ledger`: what that takes, `vector` the bytes of one of its vectors. `why_ranks`: why there
    are so many, in words; "" where the caller said how many.
    """

    arms: tuple[str, ...]
    directory: Path
    digest: str
    parameters: int
    per_step: int
    streams: dict[str, int]
    checkpoints: tuple[int, int]
    arm_memory: int
    step_memory: int
    images: int
    graphs: GraphMemory
    ledger: LedgerCost
    vector: int
    placement: Placement
    why_ranks: str
    traffic: Traffic
    kicks: Extra

    @property
    def memory(self) -> int:
        """What arms hold together, the turn of one of them, images, and what kicks take."""
        held = len(self.arms) * self.arm_memory + self.ledger_memory(self.arms)
        return held + self.step_memory + self.images + self.graphs.held(len(self.arms)) + self.kicks.memory

    def ledger_memory(self, arms: Sequence[str]) -> int:
        """What the ledger of these arms holds all the time in one process."""
        return self.vector * self.ledger.held_by(arms)

    def memory_of(self, rank: int) -> int:
        """What a rank's arms hold, the turn of one of them on its part of a batch, images, and at most for kicks."""
        arms = self.placement.groups[rank // self.placement.data]
        held = len(arms) * self.arm_memory + self.ledger_memory(arms)
        held += self.graphs.held(len(arms)) + self.images
        return held + self.step_memory // self.placement.data + self.kicks.memory

    @property
    def total(self) -> int:
        return sum(self.streams.values()) + self.checkpoints[0] * self.checkpoints[1]


def plan(config: Config, ranks: int | None = None) -> Plan:
    """The plan of a resolved config on `ranks` processes (default: as many as a run here gets)."""
    world = default_world(config) if ranks is None else World(ranks, "")
    placement = place(config, world.ranks)
    streams = train_layout(config)
    network, views = meta_network(config), 2 * config.batches.size
    parameters, buffers = _elements(network)
    real = getattr(torch, config.train.dtype).itemsize
    copies = state_tensors(config.optimiser.name, config.optimiser.momentum)
    # The pair masks and Σ come on top, 2B × 2B each; three of them are float.
    turn = _activations(config, parameters) + real * 3 * views**2
    every = [stream for stream in streams if _rows(config, stream, "batch") >= config.train.steps]
    return Plan(
        arms=tuple(config.arms),
        directory=path_of(config),
        digest=digest(config),
        parameters=parameters,
        per_step=sum(_row(streams, stream) for stream in every),
        streams={stream: _total(config, streams, stream) for stream in streams},
        checkpoints=(_most_on_disk(config), _checkpoint_bytes(config, network)),
        # lars spreads its ratios over layers by an index of every element, int32.
        arm_memory=real * ((2 + copies) * parameters + buffers) + 4 * parameters * (config.optimiser.name == "lars"),
        step_memory=turn,
        images=held_bytes(config),
        graphs=graph_memory(config, placement.data, parameters=parameters, buffers=buffers, turn=turn),
        ledger=ledger_cost(config),
        vector=vector_bytes(config, network),
        placement=placement,
        why_ranks=world.why,
        traffic=_traffic(config, placement, network),
        kicks=_kicks(config, parameters),
    )


def _activations(config: Config, parameters: int) -> int:
    """Bytes that a forward of both views keeps for its backward."""
    elements = forward_on_shapes(config).kept(2 * config.batches.size)
    if config.train.precision == "bf16":  # of layers' inputs, and of weights
        return torch.bfloat16.itemsize * (elements + parameters)
    return getattr(torch, config.train.dtype).itemsize * elements


def _kicks(config: Config, parameters: int) -> Extra:
    traits = {name: traits_of(config.arms, name) for name in config.arms}
    kicks = [kick for of in traits.values() for kick in of.kicks]
    matched = {kick.match: str(config.arms[kick.match].reference) for kick in kicks}
    audited = sum(traits[match].terms != traits[reference].terms for match, reference in matched.items())
    real = getattr(torch, config.train.dtype).itemsize
    # An address of two int64 for every four weights; while an arm is kicked its direction and the squares of that, in
    # float64, and its weights before; a gradient of each loss, and the own one while a loss is at its turn.
    of_direction = (4 + 2 * 8 + real) * parameters if kicks else 0
    of_gradients = real * (audited + (audited > 0)) * parameters
    return Extra(audited, len(kicks) * parameters, of_direction + of_gradients)


def _traffic(config: Config, placement: Placement, network: Network) -> Traffic:
    real, parts = getattr(torch, config.train.dtype).itemsize, placement.data
    parameters, _ = _elements(network)
    home = {arm: a for a, group in enumerate(placement.groups) for arm in group}
    travelling = [
        reference for reference, arms in dependents(config).items() if {home[arm] for arm in arms} - {home[reference]}
    ]
    channels = sum(module.running_mean.numel() for module in network.modules() if isinstance(module, BatchNorm))
    others = parts - 1
    return Traffic(
        weights=real * parameters * len(travelling),
        ledger=vector_bytes(config, network) * len(travelling) * ledger_cost(config).travelling,
        views=_views(config, placement),
        embeddings=real * 2 * config.batches.size // parts * config.model.projection_dim * others,
        # mean and variance on the way, two sums on the way back, in float64
        statistics=2 * 2 * 8 * channels * others * (2 if config.train.views_forward == "separate" else 1),
        # a piece from every other rank, then every other rank's sum
        gradient=2 * real * parameters * others // parts,
    )


def _views(config: Config, placement: Placement) -> int:
    """Bytes of the views that a rank gets from others in a step, of every kind of input."""
    ranks, samples = len(placement.groups), config.batches.size // placement.data
    if data_info(config).in_memory or not is_shared(samples, ranks):
        return 0
    own = shares(samples, ranks)[0]  # as few as any
    return (1 + len(own_inputs(config.arms))) * (samples - own.stop) * 2 * 3 * config.views.size**2 * 4


def disk_bytes(config: Config) -> int:
    """What the run will need on disk, `Plan.total`, and a checkpoint more while one is written."""
    streams = train_layout(config)
    recorded = sum(_total(config, streams, stream) for stream in streams)
    return recorded + (_most_on_disk(config) + 1) * _checkpoint_bytes(config, meta_network(config))


def _elements(network: Network) -> tuple[int, int]:
    """How many elements the parameters of a network have, and its buffers."""
    return sum(p.numel() for p in network.parameters()), sum(b.numel() for b in network.buffers())


def _checkpoint_bytes(config: Config, network: Network) -> int:
    """One checkpoint of every arm, and of what the ledger carries along."""
    parameters, buffers = _elements(network)
    copies = state_tensors(config.optimiser.name, config.optimiser.momentum)
    arms = getattr(torch, config.train.dtype).itemsize * len(config.arms) * ((1 + copies) * parameters + buffers)
    return arms + vector_bytes(config, network) * sum(ledger_cost(config).saved.values())


def _most_on_disk(config: Config) -> int:
    """Checkpoints at the run's end: the permanent ones, and the newest two that only recovery needs.

    While one is written there is one more for a moment.
    """
    kept, every = set(config.checkpoints.keep.upto(config.train.steps)), checkpoint_steps(config)
    return len(kept | set(every[-2:]))


def _row(streams: Layout, stream: str) -> int:
    return sum(map(row_bytes, streams[stream].values()))


def _total(config: Config, streams: Layout, stream: str) -> int:
    rows = {group: _rows(config, stream, group) for group in GROUPS} | {"fixed": 0}
    return sum(
        column.bytes * rows[name.partition(".")[0]]
        for columns in streams[stream].values()
        for name, column in columns.items()
    )


def _rows(config: Config, stream: str, group: str) -> int:
    """At how many steps a group of a stream is recorded."""
    return sum(1 for _ in due(config, stream, group))
