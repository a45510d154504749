"""A step's batch where the batch before it was: what CUDA graphs read."""

from dataclasses import replace

from torch import Tensor

from coupled.inputs.source import Batch
from coupled.objectives.masks import PairMasks


class InPlace:
    """Copies each batch into the tensors of one that it keeps, on the device; all batches of a run are of one shape."""

    def __init__(self) -> None:
        self._kept: Batch | None = None

    def __call__(self, batch: Batch) -> Batch:
        """The batch, with those tensors for its own that the next batch will have too."""
        if self._kept is None:
            self._kept = _like(batch)
        for own, given in zip(self._kept.on_device(), batch.on_device(), strict=True):
            own.copy_(given)
        return _with_tensors_of(self._kept, batch)


def _like(batch: Batch) -> Batch:
    """One with tensors of its own."""
    pairs = {key: PairMasks(*(tensor.clone() for tensor in _tensors(masks))) for key, masks in batch.pairs.items()}
    others = {inputs: _like(other) for inputs, other in batch.others.items()}
    return replace(batch, pixels=batch.pixels.clone(), pairs=pairs, others=others)


def _tensors(masks: PairMasks) -> tuple[Tensor, ...]:
    return masks.others, masks.different, masks.same, masks.kept, masks.labels


def _with_tensors_of(kept: Batch, batch: Batch) -> Batch:
    others = {inputs: _with_tensors_of(kept.others[inputs], other) for inputs, other in batch.others.items()}
    return replace(batch, pixels=kept.pixels, pairs=kept.pairs, others=others, in_place=True)
