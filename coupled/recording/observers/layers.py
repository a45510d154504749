"""The stream layers: per-layer norms of weights, gradients and updates, distances and angles to the reference."""

from functools import partial

from coupled.models.segments import Sum
from coupled.recording.observation import Observation, Observer, Rows, StepObservation


class Layers(Observer):
    """Each arm's layers, one by one."""

    stream = "layers"
    sums = frozenset({Sum.SQUARES, Sum.DISTANCES, Sum.RADIAL, Sum.OPPOSITE})
    keeps_weights = True

    def state(self, seen: Observation) -> Rows:
        weights = seen.weights
        rows = {name: {"state.norm": partial(weights.norms, name)} for name in weights.own}
        for name in weights.compared:
            rows[name] |= {
                "state.distance": partial(weights.distances, name),
                "state.angle": partial(weights.angles, name),
            }
        return rows

    def batch(self, seen: StepObservation) -> Rows:
        layers = len(seen.geometry.lengths)  # without a head's
        return {name: {"batch.gradient_norm": arm.squares.gradient[:layers].sqrt()} for name, arm in seen.arms.items()}

    def update(self, seen: StepObservation) -> Rows:
        return {name: {"update.norm": norm} for name, norm in seen.weights.updates().items()}
