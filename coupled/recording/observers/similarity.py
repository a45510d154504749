"""The stream similarity: every arm's batch similarity matrix as its factor z, Σ = z zᵀ."""

from coupled.recording.layout import SHARED
from coupled.recording.observation import Observer, Rows, StepObservation


class Similarity(Observer):
    """z of the training forward, and which samples it is of."""

    stream = "similarity"

    def batch(self, seen: StepObservation) -> Rows:
        batch = seen.batch
        labels = {f"batch.labels.{name}": values for name, values in batch.labels.items()}
        shared = {"batch.ids": batch.ids, "batch.visits": batch.visits, **labels}
        return {**{name: {"batch.z": arm.z} for name, arm in seen.arms.items()}, SHARED: shared}
