"""Per-layer geometry of arms' weights: in all, against their references', and against what they began with.

One pass over an arm's weights takes all sums that the observers who look at a step want, and a copy for what the update
moves. Everything here only looks: no forward pass, no draw, no change of mode. Sums of weights come to the host in one
transfer, with what else a step records, and all that follows from them is computed there, in float64.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property, partial
from typing import Final

import torch
from torch import Tensor

from coupled.arms.arm import Arm
from coupled.arms.initial import initial_weights
from coupled.config import Config
from coupled.graphs import OFF, Graphs
from coupled.models.flat import FlatState, in_weight_gap
from coupled.models.segments import Segments, Sum, Vectors
from coupled.ranks.mesh import Mesh
from coupled.recording.transfer import Transfer, send
from coupled.theory.alignment import weight_gap

# What is summed of an arm that is compared with none.
_ALONE: Final = frozenset({Sum.SQUARES, Sum.MOVED})


class LayerGeometry(Segments):
    """Per-layer sums over flat vectors of one layout; what only some arms have (a head) is left out.

    It keeps the vectors that every step needs again: what arms began with, and room for what they were.
    """

    def __init__(self, state: FlatState, config: Config) -> None:
        super().__init__(state.shared_segments, state.weights.device)
        self.shared, self._config = state.shared, config
        self.counted = torch.tensor([in_weight_gap(segment.name) for segment in state.shared_segments])
        self._starts: dict[str, Tensor] = {}
        self._rooms: dict[str, Tensor] = {}

    def starts(self, arms: Collection[str]) -> Mapping[str, Tensor]:
        """What these arms began with, in the run's precision; equal ones are held once. They are made again from their
        addresses, also when a run is gone on with.
        """
        if not self._starts.keys() >= set(arms):
            self._starts = initial_weights(self._config, [*dict.fromkeys([*self._starts, *arms])], self.lengths.device)
        return self._starts

    def room(self, arm: Arm) -> Tensor:
        """A vector in which the arm's weights can be kept until its update."""
        if arm.name not in self._rooms:
            self._rooms[arm.name] = torch.empty_like(arm.state.weights[: self.shared])
        return self._rooms[arm.name]


class Weights:
    """The weights of every arm here, and of every reference that one of them is compared with: what the sums of
    `wanted` say of them.

    `dependents`: every reference of the run with the arms compared with it. The weights of one elsewhere come from
    there: making this is a meeting of all ranks that write. With `keep`, `updates` can be asked for after the update.
    What else is asked for waits for a GPU, unless `transfer` was sent long enough ago.
    """

    def __init__(
        self,
        geometry: LayerGeometry,
        arms: Mapping[str, Arm],
        mesh: Mesh,
        dependents: Mapping[str, Sequence[str]],
        wanted: Collection[Sum],
        *,
        keep: bool = False,
        graphs: Graphs = OFF,
    ) -> None:
        self._geometry, self._arms, self._graphs = geometry, arms, graphs
        self.own = list(arms)
        self._reference_of = {name: arm.reference for name, arm in arms.items() if arm.reference is not None}
        weights = {name: arm.state.weights[: geometry.shared] for name, arm in arms.items()}
        some = next(iter(weights.values()))
        received = mesh.references(dependents, lambda arm: weights[arm] if arm in arms else torch.empty_like(some))
        weights |= {name: flat for name, flat in received if name in self._reference_of.values()}
        starts = geometry.starts(weights) if {Sum.MOVED, Sum.ALONG} & set(wanted) else {}
        self._kept = {name: geometry.room(arm) for name, arm in arms.items()} if keep else {}
        sums = {}
        for name, own in weights.items():
            reference = self._reference_of.get(name)
            vectors = Vectors(own, start=starts.get(name))
            if reference is not None:
                vectors = Vectors(own, weights[reference], starts.get(name), starts.get(reference))
            kinds = set(wanted) if reference is not None else _ALONE & set(wanted)
            copy = self._kept.get(name)
            take = partial(_sums, geometry, vectors, kinds, copy)
            stays = name in arms and (reference is None or reference in arms)  # what came from elsewhere is elsewhere
            key = ("sums of weights", name, *sorted(kind.name for kind in kinds), keep)
            sums[name] = graphs.run(key, take, changes=[] if copy is None else [copy]) if stays else take()
        self.transfer = Transfer(sums)
        self._names = list(sums)

    @property
    def compared(self) -> list[str]:
        """The arms here that have a reference."""
        return list(self._reference_of)

    @cached_property
    def _sums(self) -> dict[str, dict[Sum, Tensor]]:
        """The sums on the host; where nobody has sent them, they are sent now and waited for."""
        send([self.transfer])
        sums: dict[str, dict[Sum, Tensor]] = {name: {} for name in self._names}
        for (name, kind), row in self.transfer.arrays().items():
            sums[name][Sum[kind]] = torch.from_numpy(row)
        return sums

    def norm(self, arm: str) -> Tensor:
        """‖w‖ of all layers, 0-d."""
        return self.squares(arm).sum().sqrt()

    def norms(self, arm: str) -> Tensor:
        """‖w‖ per layer (layers,)."""
        return self.squares(arm).sqrt()

    def squares(self, arm: str) -> Tensor:
        """‖w‖² per layer (layers,)."""
        return self._sums[arm][Sum.SQUARES]

    def distances(self, arm: str) -> Tensor:
        """‖w − a‖ per layer (layers,); a: the reference's weights."""
        return self._sums[arm][Sum.DISTANCES].sqrt()

    def distance(self, arm: str) -> Tensor:
        """‖w − a‖ of all layers, 0-d."""
        return self._sums[arm][Sum.DISTANCES].sum().sqrt()

    def gap(self, arm: str) -> Tensor:
        """The weight gap to the reference, 0-d."""
        counted, reference = self._geometry.counted, self._reference_of[arm]
        norm, reference_norm = (self.squares(name).sqrt()[counted] for name in (arm, reference))
        return weight_gap(norm, reference_norm, self.distances(arm)[counted])

    def angles(self, arm: str) -> Tensor:
        """The angle to the reference in radians per layer (layers,)."""
        norm, reference_norm = (self.squares(name).sqrt() for name in (arm, self._reference_of[arm]))
        radial, distances, opposite = (self._sums[arm][kind] for kind in (Sum.RADIAL, Sum.DISTANCES, Sum.OPPOSITE))
        return angles(norm, reference_norm, radial=radial, distances=distances, opposite=opposite)

    def moved(self, arm: str) -> Tensor:
        """‖w − w_0‖² per layer (layers,), also of references."""
        return self._sums[arm][Sum.MOVED]

    def along(self, arm: str) -> tuple[Tensor, Tensor, Tensor]:
        """⟨w − w_0, a − a_0⟩, ‖w − w_0‖² and ‖a − a_0‖², 0-d."""
        moved, reference_moved = self.moved(arm), self.moved(self._reference_of[arm])
        return self._sums[arm][Sum.ALONG].sum(), moved.sum(), reference_moved.sum()

    def updates(self) -> dict[str, Tensor]:
        """What each arm's update moved each of its layers by, ‖·‖ (layers,), on the arms' device; after the update."""
        return {
            name: self._graphs.run(("update", name), partial(self._update, name, kept))["norm"]
            for name, kept in self._kept.items()
        }

    def _update(self, name: str, kept: Tensor) -> dict[str, Tensor]:
        return {"norm": self._geometry.distances(self._arms[name].state.weights, kept).sqrt()}


def _sums(geometry: Segments, vectors: Vectors, kinds: Collection[Sum], copy: Tensor | None) -> dict[str, Tensor]:
    return {kind.name: row for kind, row in geometry.sums(vectors, kinds, copy).items()}


def angles(norm: Tensor, reference_norm: Tensor, *, radial: Tensor, distances: Tensor, opposite: Tensor) -> Tensor:
    """Angle in radians per layer, [0, π]: docs/theory.md (59). NaN for a layer of norm 0, which has no direction.

    All float64 (layers,): ‖w‖, ‖a‖, Σ (w−a)(w+a), Σ (w−a)² and Σ (w+a)². Exactly 0 for w = a, and π for w = −a. With
    sums good to ε, θ² is good to 4ε‖w−a‖²/(‖w‖‖a‖): θ has all its digits unless w and a differ in length by far more
    than in direction. At angles near 0 it is then off by 1e-12 where lengths differ by 1 %, by 1e-8 at a factor of 2.
    """
    longer = (radial / (norm + reference_norm)).square()
    # Rounding may leave less than nothing of what is all length.
    across, along = (distances - longer).clamp(min=0), (opposite - longer).clamp(min=0)
    angle = 2 * torch.atan2(across.sqrt(), along.sqrt())
    return angle.masked_fill((norm == 0) | (reference_norm == 0), torch.nan)
