"""The stream layers: per-layer norms of weights, gradients and updates, distances and angles to the reference."""

from torch import Tensor

from coupled.recording.observation import Observation, Observer, Rows, Setting, StepObservation
from coupled.runtime import one_thread


class Layers(Observer):
    """Each arm's layers, one by one."""

    stream = "layers"

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._before: dict[str, Tensor] = {}

    def state(self, seen: Observation) -> Rows:
        with one_thread():
            rows = {name: {"state.norm": of.squares.sqrt()} for name, of in seen.weights.own.items()}
        for name, comparison in seen.weights.comparisons.items():
            rows[name] |= {"state.distance": comparison.layer_distance, "state.angle": comparison.layer_angle}
        return rows

    def batch(self, seen: StepObservation) -> Rows:
        # In the arms' own precision: the update is what it is there.
        self._before = {name: arm.state.weights.clone() for name, arm in seen.arms.items()}
        with one_thread():
            norms = {name: seen.geometry.norms(arm.state.gradient) for name, arm in seen.arms.items()}
        return {name: {"batch.gradient_norm": norm} for name, norm in norms.items()}

    def update(self, seen: StepObservation) -> Rows:
        before, self._before = self._before, {}
        with one_thread():
            norms = {name: seen.geometry.norms(arm.state.weights - before[name]) for name, arm in seen.arms.items()}
        return {name: {"update.norm": norm} for name, norm in norms.items()}
