"""What observers measure: losses on every arm's Σ, and per-layer geometry of weights against the reference's.

Everything here only looks: no forward pass, no draw, no change of mode. Values are float64 tensors on the arms' device;
the recorder moves them to the host in one transfer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from coupled.arms.arm import Arm
from coupled.models.flat import FlatState, in_weight_gap
from coupled.models.segments import Segments
from coupled.ranks.mesh import Mesh
from coupled.theory.alignment import weight_gap


@dataclass(frozen=True)
class Layers:
    """One arm: its flat weights in float64 and their squared norm per layer, float64 (layers,)."""

    weights: Tensor
    squares: Tensor


class LayerGeometry(Segments):
    """Per-layer sums over flat vectors of one layout; what only some arms have (a head) is left out."""

    def __init__(self, state: FlatState) -> None:
        super().__init__(state.shared_segments, state.weights.device)
        self.shared = state.shared
        # Indices, not a mask: selecting by a mask would make a GPU wait for the host.
        counted = [i for i, segment in enumerate(state.shared_segments) if in_weight_gap(segment.name)]
        self._counted = torch.tensor(counted, device=state.weights.device)

    def layers(self, flat: Tensor) -> Layers:
        weights = flat[: self.shared].double()
        return Layers(weights, self.sums(weights * weights))

    def norms(self, flat: Tensor) -> Tensor:
        """‖·‖ per layer of a flat vector, float64 (layers,)."""
        return super().norms(flat[: self.shared])

    def against(self, own: Layers, reference: Layers) -> dict[str, Tensor]:
        """Distance and angle per layer, global distance, and the weight gap, of two arms' weights."""
        difference = own.weights - reference.weights
        squared = self.sums(difference * difference)
        distance, norm, reference_norm = squared.sqrt(), own.squares.sqrt(), reference.squares.sqrt()
        gap = weight_gap(norm[self._counted], reference_norm[self._counted], distance[self._counted])
        return {
            "layer_distance": distance,
            "layer_angle": _angle(own, reference, self),
            "distance": squared.sum().sqrt(),
            "weight_gap": gap,
        }


def _angle(own: Layers, reference: Layers, geometry: LayerGeometry) -> Tensor:
    """Angle in radians per layer, [0, π]: 2·atan2(‖u−v‖, ‖u+v‖) of unit vectors (acos fails tiny angles).

    NaN for a layer of norm 0, which has no direction.
    """
    u = own.weights / geometry.spread(own.squares.sqrt())
    v = reference.weights / geometry.spread(reference.squares.sqrt())
    minus, plus = geometry.sums((u - v).square()), geometry.sums((u + v).square())
    return 2 * torch.atan2(minus.sqrt(), plus.sqrt())


def state_columns(
    geometry: LayerGeometry, arms: Mapping[str, Arm], mesh: Mesh, dependents: Mapping[str, Sequence[str]]
) -> tuple[dict[str, dict[str, Tensor]], dict[str, dict[str, Tensor]]]:
    """The weight columns of the streams scalars and layers, for every arm here, from one pass over the weights.

    `dependents`: every reference of the run with the arms compared with it; weights of one elsewhere come from there.
    """
    layers = {name: geometry.layers(arm.state.weights) for name, arm in arms.items()}
    scalars = {name: {"state.norm": of.squares.sum().sqrt()} for name, of in layers.items()}
    per_layer = {name: {"state.norm": of.squares.sqrt()} for name, of in layers.items()}
    some = next(iter(arms.values())).state

    def local(arm: str) -> Tensor:
        return arms[arm].state.weights[: some.shared] if arm in arms else torch.empty_like(some.weights[: some.shared])

    for reference, weights in mesh.references(dependents, local):
        here = [name for name in dependents[reference] if name in arms]
        references = layers[reference] if reference in layers else geometry.layers(weights) if here else None
        for name in here:
            assert references is not None
            compared = geometry.against(layers[name], references)
            scalars[name] |= {f"state.{key}": compared[key] for key in ("distance", "weight_gap")}
            per_layer[name] |= {f"state.{key}": compared[f"layer_{key}"] for key in ("distance", "angle")}
    return scalars, per_layer
