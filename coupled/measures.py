"""What observers measure: losses on every arm's Σ, and per-layer geometry of weights against the anchor's.

Everything here only looks: no forward pass, no draw, no change of mode. Values are float64 tensors on the arms' device;
the recorder moves them to the host in one transfer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from coupled.alignment import weight_gap
from coupled.arms import Arm
from coupled.models.flat import FlatState
from coupled.objectives import evaluate
from coupled.source import Batch


def in_weight_gap(name: str) -> bool:
    """Does a parameter count in the weight gap? Encoder weights do; biases and the projector do not (P2's code)."""
    return name.startswith("encoder.") and not name.endswith(".bias")


def batch_scalars(arm: Arm, batch: Batch, objectives: Sequence[Arm]) -> dict[str, Tensor]:
    """Own loss, the loss of every objective arm on this arm's Σ, and gap, mass, skipped anchors of every labelling.

    The loss of another arm's objective uses that arm's labelling and temperature; the gap uses this arm's temperature.
    """
    labellings = list(batch.pairs)
    wanted = {(name, arm.temperature) for name in labellings} | {(o.labelling, o.temperature) for o in objectives}
    values = {key: evaluate(arm.sigma, batch.pairs[key[0]], key[1]) for key in sorted(wanted)}
    columns = {"batch.loss": arm.loss.double()}
    for other in objectives:
        columns[f"batch.loss_of.{other.name}"] = values[other.labelling, other.temperature].losses[other.objective]
    for name in labellings:
        value = values[name, arm.temperature]
        columns |= {f"batch.gap.{name}": value.gap, f"batch.mass.{name}": value.mass}
        columns[f"batch.skipped.{name}"] = value.skipped
    return columns


@dataclass(frozen=True)
class Layers:
    """One arm: its flat weights in float64 and their squared norm per layer, float64 (layers,)."""

    weights: Tensor
    squares: Tensor


class LayerGeometry:
    """Per-layer sums over flat vectors of one layout."""

    def __init__(self, state: FlatState) -> None:
        self.names = [segment.name for segment in state.weight_segments]
        lengths = [segment.padded_stop - segment.start for segment in state.weight_segments]
        device = state.weights.device
        self.lengths = torch.tensor(lengths, device=device)
        # Indices, not a mask: selecting by a mask would make a GPU wait for the host.
        counted = [i for i, name in enumerate(self.names) if in_weight_gap(name)]
        self._counted = torch.tensor(counted, device=device)
        self._layer_of = torch.repeat_interleave(torch.arange(len(lengths), device=device), self.lengths)

    def sums(self, values: Tensor) -> Tensor:
        """Σ of a flat float64 vector over each layer (the padding is 0 in every product)."""
        # unsafe leaves out a check of the lengths that would make a GPU wait for the host at every call.
        return torch.segment_reduce(values, "sum", lengths=self.lengths, unsafe=True)

    def layers(self, state: FlatState) -> Layers:
        weights = state.weights.double()
        return Layers(weights, self.sums(weights * weights))

    def spread(self, values: Tensor) -> Tensor:
        """Per-layer values (layers,) to every element of its layer, laid out like the flat vector."""
        return values[self._layer_of]

    def norms(self, flat: Tensor) -> Tensor:
        """‖·‖ per layer of a flat vector, float64 (layers,)."""
        flat = flat.double()
        return self.sums(flat * flat).sqrt()

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
    geometry: LayerGeometry, arms: Mapping[str, Arm]
) -> tuple[dict[str, dict[str, Tensor]], dict[str, dict[str, Tensor]]]:
    """The weight columns of the streams scalars and layers, for every arm, from one pass over the weights."""
    layers = {name: geometry.layers(arm.state) for name, arm in arms.items()}
    scalars, per_layer = {}, {}
    for name, arm in arms.items():
        scalars[name] = {"state.norm": layers[name].squares.sum().sqrt()}
        per_layer[name] = {"state.norm": layers[name].squares.sqrt()}
        if arm.anchor is not None:
            compared = geometry.against(layers[name], layers[arm.anchor])
            scalars[name] |= {f"state.{key}": compared[key] for key in ("distance", "weight_gap")}
            per_layer[name] |= {f"state.{key}": compared[f"layer_{key}"] for key in ("distance", "angle")}
    return scalars, per_layer
