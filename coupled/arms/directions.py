"""Random directions in the space of weights, by address: uniform on the sphere of every layer that arms share."""

from collections.abc import Sequence

import torch
from torch import Tensor

from coupled.address import Counter, Purpose, counter_of, name_word, philox, uniform
from coupled.models.flat import FlatState, Segment
from coupled.models.segments import Segments


class Directions:
    """Directions for the weights of arms of one layout; a classifier head has none. docs/theory.md (110).

    A direction is a vector of independent normal values of which each layer stands for itself, whatever its length. The
    words behind a layer are those of its own address, whichever layers there are.
    """

    def __init__(self, state: FlatState, seed: int) -> None:
        self._seed, self._segments = seed, state.shared_segments
        self._layers = Segments(self._segments, state.weights.device)
        # Every segment begins at a multiple of 4, so that no block of words is of two layers.
        places = [torch.arange((of.padded_stop - of.start) // 4) for of in self._segments]
        names = [torch.full_like(at, name_word(of.name)) for at, of in zip(places, self._segments, strict=True)]
        self._places, self._names = (torch.cat(parts).to(state.weights.device) for parts in (places, names))

    def add(self, state: FlatState, wanted: Tensor, purpose: Purpose, *, draw: int, step: int = 0) -> None:
        """Move the weights of every layer by its `wanted` length, float64 (layers,), in a direction by address."""
        values = self.normals(purpose, draw, step)
        add_along(state, self._segments, values, wanted, self._layers.squares(values).sqrt())

    def normals(self, purpose: Purpose, draw: int, step: int) -> Tensor:
        """Normal values of variance ½, float64 (shared,), and 0 in the padding."""
        odds = _compiled if self._places.device.type == "cpu" else _in_operations
        values = odds(counter_of(self._seed, purpose, b=draw, c=step), self._places, self._names).erfinv_()
        for segment in self._segments:
            values[segment.stop : segment.padded_stop] = 0
        return values


def _compiled(counter: Counter, places: Tensor, names: Tensor) -> Tensor:
    """What is the inverse normal's, of the four words of every block: (w + ½)·2⁻³¹ − 1, float64 (4n,)."""
    from coupled.arms.odds import odds  # numba takes its time to load, and few runs need it

    return torch.from_numpy(odds(places.numpy(), names.numpy(), *counter, threads=torch.get_num_threads()))


def _in_operations(counter: Counter, places: Tensor, names: Tensor) -> Tensor:
    """The same on any device, in some 150 operations."""
    key, fields = counter
    blocks = torch.stack([places, names, *(torch.full_like(places, field) for field in fields)], dim=1)
    return 2 * uniform(philox(blocks, key).flatten()) - 1


def add_along(
    state: FlatState, segments: Sequence[Segment], direction: Tensor, wanted: Tensor, lengths: Tensor
) -> None:
    """Move the weights of every layer by its `wanted` length along its part of `direction`, which is of `lengths`.

    Both float64 (layers,); computed in float64 and rounded once. A layer for which either is 0 keeps its bytes.
    """
    # A deliberate sync: what is added to -0.0, be it 0, would change its sign.
    factors = (wanted.to(lengths) / lengths).masked_fill(lengths == 0, 0.0).tolist()
    for segment, factor in zip(segments, factors, strict=True):
        if factor != 0:
            weight, along = (flat[segment.start : segment.stop] for flat in (state.weights, direction))
            weight.copy_(weight.to(torch.float64, copy=True).add_(along, alpha=factor))
