"""Per-layer values of flat vectors: sums, norms, and back to every element. One reduction for all layers at once."""

from collections.abc import Sequence

import torch
from torch import Tensor

from coupled.models.flat import Segment


class Segments:
    """Per-layer values of flat vectors of one layout, and back."""

    def __init__(self, segments: Sequence[Segment], device: torch.device) -> None:
        self.lengths = torch.tensor([segment.padded_stop - segment.start for segment in segments], device=device)
        # Half the memory of int64, and there are fewer layers than that.
        layers = torch.arange(len(segments), dtype=torch.int32, device=device)
        self._layer_of = torch.repeat_interleave(layers, self.lengths)

    def sums(self, values: Tensor) -> Tensor:
        """Σ of a flat float64 vector over each layer; the padding has to be 0."""
        # unsafe leaves out a check of the lengths that would make a GPU wait for the host at every call.
        return torch.segment_reduce(values, "sum", lengths=self.lengths, unsafe=True)

    def norms(self, flat: Tensor) -> Tensor:
        """‖·‖ per layer of a flat vector, float64."""
        # One temporary, not two: on a CPU the fresh memory costs more than the arithmetic.
        return self.sums(flat.to(torch.float64, copy=True).square_()).sqrt()

    def spread(self, values: Tensor) -> Tensor:
        """Per-layer values to every element of its layer and the padding after it."""
        return values.index_select(0, self._layer_of)
