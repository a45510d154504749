"""The stream similarity: every arm's batch similarity matrix as its factor z, Σ = z zᵀ."""

from torch import Tensor

from coupled.inputs.source import Batch
from coupled.recording.layout import SHARED
from coupled.recording.observation import Observer, Rows, StepObservation


class Similarity(Observer):
    """z of the training forward, and which samples it is of."""

    stream = "similarity"

    def batch(self, seen: StepObservation) -> Rows:
        rows = {name: {"batch.z": arm.z} for name, arm in seen.arms.items()}
        own = {name: {**rows[name], **_samples(seen.batch_of(name))} for name in seen.with_own_inputs}
        return {**rows, **own, SHARED: _samples(seen.batch)}


def _samples(batch: Batch) -> dict[str, Tensor]:
    """Which samples a batch has."""
    labels = {f"batch.labels.{name}": values for name, values in batch.labels.items()}
    return {"batch.ids": batch.ids, "batch.visits": batch.visits, **labels}
