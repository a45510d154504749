"""What observers measure: losses on every arm's Σ, and per-layer geometry of weights against the anchor's.

Everything here only looks: no forward pass, no draw, no change of mode. Values are float64 tensors on the arms' device;
the recorder moves them to the host in one transfer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from coupled.alignment import weight_gap
from coupled.arms import Arm
from coupled.models.flat import FlatState
from coupled.models.segments import Segments
from coupled.objectives import Objective, evaluate
from coupled.ranks.mesh import Mesh
from coupled.source import Batch


def in_weight_gap(name: str) -> bool:
    """Does a parameter count in the weight gap? Encoder weights do; biases and the projector do not (P2's code)."""
    return name.startswith("encoder.") and not name.endswith(".bias")


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

    def against(self, own: Layers, anchor: Layers) -> dict[str, Tensor]:
        """Distance and angle per layer, global distance, and the weight gap, of two arms' weights."""
        difference = own.weights - anchor.weights
        squared = self.sums(difference * difference)
        distance, norm, anchor_norm = squared.sqrt(), own.squares.sqrt(), anchor.squares.sqrt()
        gap = weight_gap(norm[self._counted], anchor_norm[self._counted], distance[self._counted])
        return {
            "layer_distance": distance,
            "layer_angle": _angle(own, anchor, self),
            "distance": squared.sum().sqrt(),
            "weight_gap": gap,
        }


def _angle(own: Layers, anchor: Layers, geometry: LayerGeometry) -> Tensor:
    """Angle in radians per layer, [0, π]: 2·atan2(‖u−v‖, ‖u+v‖) of unit vectors (acos fails tiny angles).

    NaN for a layer of norm 0, which has no direction.
    """
    u = own.weights / geometry.spread(own.squares.sqrt())
    v = anchor.weights / geometry.spread(anchor.squares.sqrt())
    minus, plus = geometry.sums((u - v).square()), geometry.sums((u + v).square())
    return 2 * torch.atan2(minus.sqrt(), plus.sqrt())


def state_columns(
    geometry: LayerGeometry, arms: Mapping[str, Arm], mesh: Mesh, dependents: Mapping[str, Sequence[str]]
) -> tuple[dict[str, dict[str, Tensor]], dict[str, dict[str, Tensor]]]:
    """The weight columns of the streams scalars and layers, for every arm here, from one pass over the weights.

    `dependents`: every anchor of the run with the arms compared with it; weights of anchors elsewhere come from there.
    """
    layers = {name: geometry.layers(arm.state.weights) for name, arm in arms.items()}
    scalars = {name: {"state.norm": of.squares.sum().sqrt()} for name, of in layers.items()}
    per_layer = {name: {"state.norm": of.squares.sqrt()} for name, of in layers.items()}
    some = next(iter(arms.values())).state

    def local(arm: str) -> Tensor:
        return arms[arm].state.weights[: some.shared] if arm in arms else torch.empty_like(some.weights[: some.shared])

    for anchor, weights in mesh.anchors(dependents, local):
        here = [name for name in dependents[anchor] if name in arms]
        anchors = layers[anchor] if anchor in layers else geometry.layers(weights) if here else None
        for name in here:
            assert anchors is not None
            compared = geometry.against(layers[name], anchors)
            scalars[name] |= {f"state.{key}": compared[key] for key in ("distance", "weight_gap")}
            per_layer[name] |= {f"state.{key}": compared[f"layer_{key}"] for key in ("distance", "angle")}
    return scalars, per_layer
