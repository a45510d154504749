"""What observers are given of a step, and what an observer is."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, TypeVar

import numpy as np

from coupled.arms.arm import Arm
from coupled.config import Config
from coupled.errors import UserError
from coupled.graphs import OFF, Graphs
from coupled.inputs.certificate import Link, Links
from coupled.inputs.source import Batch
from coupled.models.segments import Sum
from coupled.ranks.mesh import Mesh
from coupled.recording.ledger import Ledger
from coupled.recording.panels import Panels
from coupled.recording.transfer import Rows, Transfer
from coupled.recording.weights import LayerGeometry, Weights

T = TypeVar("T")


@dataclass(frozen=True)
class Observation:
    """The state of `step`: the arms that live here, and values that observers share so that each is computed once.

    `dependents`: every reference of the run with the arms compared with it. `looking`: all who look at this step.
    """

    step: int
    arms: Mapping[str, Arm]
    mesh: Mesh
    geometry: LayerGeometry
    dependents: Mapping[str, Sequence[str]]
    looking: Sequence["Observer"]
    _made: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False)

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` gives, made once for all who look at this step."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    @cached_property
    def weights(self) -> Weights:
        """One pass over the weights of this state, at the first use: before the update, then, of a step that has one.

        A meeting of all ranks that write: who asks for it does so on each of them.
        """
        sums = frozenset[Sum]().union(*(observer.sums for observer in self.looking))
        return Weights(self.geometry, self.arms, self.mesh, self.dependents, sums, keep=self._keep, graphs=self._graphs)

    def sums(self) -> list[Transfer]:
        """Those of the weights, if anybody has asked for them."""
        return [self.weights.transfer] if "weights" in vars(self) else []

    @property
    def _keep(self) -> bool:
        """Is there an update that weights are to be kept for?"""
        return False

    @property
    def _graphs(self) -> Graphs:
        return OFF


@dataclass(frozen=True)
class StepObservation(Observation):
    """A state with the batch that it sees, after every arm's backward: losses, z and gradients are those of the batch.

    After the update, `arms` have moved; the rest is as it was. `batch`: what arms share; `batch_of` an arm is what that
    arm sees. `graphs`: for what is made of tensors that lie where they do at every step.
    """

    batch: Batch
    links: Links
    graphs: Graphs = OFF

    def batch_of(self, arm: str) -> Batch:
        """What an arm that lives here sees."""
        return self.batch.of(self.arms[arm].traits.inputs)

    def link_of(self, arm: str) -> Link:
        """What the step adds to the chain of what an arm sees."""
        return self.links[self.arms[arm].traits.inputs]

    @property
    def with_own_inputs(self) -> list[str]:
        """The arms here that see other inputs than the shared ones, and have them on record."""
        return [name for name, arm in self.arms.items() if arm.traits.inputs is not None]

    @property
    def _keep(self) -> bool:
        return any(observer.keeps_weights for observer in self.looking)

    @property
    def _graphs(self) -> Graphs:
        return self.graphs


@dataclass(frozen=True)
class Setting:
    """What an observer is made from."""

    config: Config
    panels: Panels
    ledger: Ledger


class Observer:
    """Looks at each scheduled step for one stream: no training forward, no draw. What it gives are rows of the stream's
    columns, by owner; of arms that live elsewhere, nothing.

    `sums`: those over the weights that its rows come from; `keeps_weights`: it asks what the update moved.
    `on_every_data_rank`: it exchanges something with the ranks that share its arms; others look on the first one alone.
    `may_fail`: it runs what a user wrote. It raises nothing itself, since other ranks may be in a meeting: `error` has
    what went wrong, and all ranks stop with it once they have looked.
    """

    stream: str
    sums: ClassVar[frozenset[Sum]] = frozenset()
    keeps_weights: ClassVar[bool] = False
    on_every_data_rank: ClassVar[bool] = False
    may_fail: ClassVar[bool] = False
    error: UserError | None = None

    def __init__(self, setting: Setting) -> None:
        del setting

    def state(self, seen: Observation) -> Rows:
        """Columns `state.*`: also of the last state, which has no batch."""
        del seen
        return {}

    def batch(self, seen: StepObservation) -> Rows:
        """Columns `batch.*`: after the backward, before the update."""
        del seen
        return {}

    def update(self, seen: StepObservation) -> Rows:
        """Columns `update.*`: after the update, of the same step."""
        del seen
        return {}

    def fixed(self) -> Mapping[str, np.ndarray]:
        """Columns `fixed.*` of what arms share: the same at every step."""
        return {}
