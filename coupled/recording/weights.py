"""Per-layer geometry of arms' weights, in all and against their references': one pass serves every observer.

Everything here only looks: no forward pass, no draw, no change of mode. Values are float64 tensors on the arms' device;
the recorder moves them to the host in one transfer a stream.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from coupled.arms.arm import Arm
from coupled.models.flat import FlatState, in_weight_gap
from coupled.models.segments import Segments
from coupled.ranks.mesh import Mesh
from coupled.runtime import one_thread
from coupled.theory.alignment import weight_gap


class ArmWeights(NamedTuple):
    """One arm: its flat weights in float64, without a head, and their squared norm per layer, float64 (layers,)."""

    flat: Tensor
    squares: Tensor


class Comparison(NamedTuple):
    """Two arms' weights: distance and angle per layer (layers,), and distance and weight gap in all, 0-d."""

    layer_distance: Tensor
    layer_angle: Tensor
    distance: Tensor
    weight_gap: Tensor


class LayerGeometry(Segments):
    """Per-layer sums over flat vectors of one layout; what only some arms have (a head) is left out."""

    def __init__(self, state: FlatState) -> None:
        super().__init__(state.shared_segments, state.weights.device)
        self.shared = state.shared
        # Indices, not a mask: selecting by a mask would make a GPU wait for the host.
        counted = [i for i, segment in enumerate(state.shared_segments) if in_weight_gap(segment.name)]
        self._counted = torch.tensor(counted, device=state.weights.device)

    def of(self, flat: Tensor) -> ArmWeights:
        weights = flat[: self.shared].double()
        return ArmWeights(weights, self.sums(weights * weights))

    def norms(self, flat: Tensor) -> Tensor:
        """‖·‖ per layer of a flat vector, float64 (layers,)."""
        return super().norms(flat[: self.shared])

    def compare(self, own: ArmWeights, reference: ArmWeights) -> Comparison:
        """Distance and angle per layer, global distance, and the weight gap, of two arms' weights."""
        difference = own.flat - reference.flat
        squared = self.sums(difference * difference)
        distance, norm, reference_norm = squared.sqrt(), own.squares.sqrt(), reference.squares.sqrt()
        gap = weight_gap(norm[self._counted], reference_norm[self._counted], distance[self._counted])
        return Comparison(distance, self._angle(own, reference), squared.sum().sqrt(), gap)

    def _angle(self, own: ArmWeights, reference: ArmWeights) -> Tensor:
        """Angle in radians per layer, [0, π]: 2·atan2(‖u−v‖, ‖u+v‖) of unit vectors (acos fails tiny angles).

        NaN for a layer of norm 0, which has no direction.
        """
        u = own.flat / self.spread(own.squares.sqrt())
        v = reference.flat / self.spread(reference.squares.sqrt())
        minus, plus = self.sums((u - v).square()), self.sums((u + v).square())
        return 2 * torch.atan2(minus.sqrt(), plus.sqrt())


class Weights:
    """The weights of every arm here, and of every reference that one of them is compared with.

    `dependents`: every reference of the run with the arms compared with it. The weights of one elsewhere come from
    there: making this is a meeting of all ranks that write.
    """

    def __init__(
        self, geometry: LayerGeometry, arms: Mapping[str, Arm], mesh: Mesh, dependents: Mapping[str, Sequence[str]]
    ) -> None:
        self._geometry, shared = geometry, geometry.shared
        self.own = {name: geometry.of(arm.state.weights) for name, arm in arms.items()}
        self.references: dict[str, ArmWeights] = {}
        self._reference_of = {name: arm.reference for name, arm in arms.items() if arm.reference is not None}
        some = next(iter(arms.values())).state.weights[:shared]

        def local(arm: str) -> Tensor:
            return arms[arm].state.weights[:shared] if arm in arms else torch.empty_like(some)

        for reference, weights in mesh.references(dependents, local):
            if reference in self._reference_of.values():
                self.references[reference] = self.own[reference] if reference in arms else geometry.of(weights)

    @cached_property
    def comparisons(self) -> dict[str, Comparison]:
        """Every arm here that has a reference, against it."""
        with one_thread():
            return {
                name: self._geometry.compare(self.own[name], self.references[reference])
                for name, reference in self._reference_of.items()
            }
