"""Per-layer values of flat vectors: sums in float64, and back to every element; here is chosen how sums are taken."""

from collections.abc import Collection, Iterable, Sequence
from enum import Enum
from functools import cached_property
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coupled.models.flat import ALIGN_BYTES, Segment

# Elements that are summed before they are added to those of other blocks of their layer: by the compiled pass, and by
# operations, which add one row after the other.
BLOCK: Final = 1 << 14
_BLOCK_OF_ROWS: Final = 1 << 12


class Sum(Enum):
    """A sum over each layer, of one vector w, its reference a, and what both began with, w_0 and a_0."""

    SQUARES = 0  # w²
    DISTANCES = 1  # (w − a)²
    RADIAL = 2  # (w − a)(w + a)
    OPPOSITE = 3  # (w + a)²
    MOVED = 4  # (w − w_0)²
    ALONG = 5  # (w − w_0)(a − a_0)


class Vectors(NamedTuple):
    """Flat vectors of one layout and precision. A sum needs those that its formula names."""

    own: Tensor
    reference: Tensor | None = None
    start: Tensor | None = None
    reference_start: Tensor | None = None

    def serve(self, kind: Sum) -> bool:
        """Are those here that a sum needs?"""
        need = {Sum.SQUARES: (), Sum.MOVED: (self.start,), Sum.ALONG: self[1:]}.get(kind, (self.reference,))
        return all(flat is not None for flat in need)


def is_compiled(flat: Tensor) -> bool:
    """Are a vector's sums taken by the compiled pass?"""
    return flat.dtype == torch.float32 and flat.device.type == "cpu"


def blocks_of(ends: Sequence[tuple[int, int]], size: int) -> tuple[list[int], list[int]]:
    """Where blocks of at most `size` elements begin, and the last ends; and how many each layer has, of consecutive
    layers (start, stop).
    """
    starts = [range(start, max(stop, start + 1), size) for start, stop in ends]
    return [*(at for layer in starts for at in layer), ends[-1][1]], [len(layer) for layer in starts]


class Segments:
    """Per-layer values of flat vectors of one layout, and back.

    Vectors may be longer: what lies behind the last segment does not count. The padding has to be 0. Every sum has the
    same bits whichever others are taken with it, and by any number of threads.
    """

    def __init__(self, segments: Sequence[Segment], device: torch.device) -> None:
        self._ends = [(segment.start, segment.padded_stop) for segment in segments]
        self._size = segments[-1].padded_stop
        self._cuts: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
        self.lengths = torch.tensor([stop - start for start, stop in self._ends], device=device)

    def squares(self, flat: Tensor) -> Tensor:
        """Σ w² per layer, float64 (layers,)."""
        return self.sums(Vectors(flat), [Sum.SQUARES])[Sum.SQUARES]

    def distances(self, flat: Tensor, other: Tensor) -> Tensor:
        """Σ (w − a)² per layer, float64 (layers,)."""
        return self.sums(Vectors(flat, other), [Sum.DISTANCES])[Sum.DISTANCES]

    def sums(self, vectors: Vectors, wanted: Collection[Sum], copy: Tensor | None = None) -> dict[Sum, Tensor]:
        """The sums that are wanted, each float64 (layers,) on the vectors' device, in one pass over the vectors, in
        which `copy` takes what `own` is: (N,), as long as the segments.
        """
        assert all(map(vectors.serve, wanted)), (wanted, "a vector is missing")
        if not wanted and copy is None:
            return {}
        order = sorted(wanted, key=lambda kind: kind.value)
        # Each vector that is not needed may be any.
        flats = [(vectors.own if flat is None else flat)[: self._size] for flat in vectors]
        rows = (self._compiled if is_compiled(vectors.own) else self._in_operations)(flats, order, copy)
        return dict(zip(order, rows.unbind(), strict=True))

    def spread(self, values: Tensor) -> Tensor:
        """Per-layer values to every element of its layer and the padding after it."""
        return values.index_select(0, self._layer_of)

    @cached_property
    def _layer_of(self) -> Tensor:
        # Half the memory of int64, and there are fewer layers than that.
        layers = torch.arange(len(self._ends), dtype=torch.int32, device=self.lengths.device)
        # Without the size a GPU would make the host wait for it.
        return torch.repeat_interleave(layers, self.lengths, output_size=self._size)

    @property
    def size(self) -> int:
        """How many elements the segments take, with their padding."""
        return self._size

    @cached_property
    def blocks(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where blocks of a compiled pass begin, and the last ends; and each layer's first."""
        starts, counts = blocks_of(self._ends, BLOCK)
        return np.array(starts), np.cumsum([0, *counts[:-1]])

    def _compiled(self, flats: Sequence[Tensor], order: Sequence[Sum], copy: Tensor | None) -> Tensor:
        from coupled.models.layer_sums import sums  # numba takes its time to load, and few commands need it

        arrays = [flat.detach().numpy() for flat in flats]
        kept = None if copy is None else copy.numpy()
        columns = [kind.value for kind in order]
        return torch.from_numpy(sums(arrays, columns, *self.blocks, kept, torch.get_num_threads()))

    def _in_operations(self, flats: Sequence[Tensor], order: Sequence[Sum], copy: Tensor | None) -> Tensor:
        """For float64 and on a GPU, in few operations."""
        if copy is not None:
            copy.copy_(flats[0])
        if not order:
            return self.lengths.new_empty((0, len(self.lengths)), dtype=torch.float64)
        addends = _Addends(*flats)
        return self.totals((addends.of(kind) for kind in order), flats[0].itemsize)

    def totals(self, addends: Iterable[Tensor], itemsize: int) -> Tensor:
        """The sum of each of `addends` (N,) over each layer, (addends, layers), in few operations; `itemsize`: bytes of
        an element of the flat vectors that are laid out so. One addend after the other is asked for.
        """
        width = ALIGN_BYTES // itemsize
        rows = [values.view(-1, width).sum(1) for values in addends]
        # unsafe leaves out a check of the lengths that would make a GPU wait for the host at every call.
        sums = rows[0] if len(rows) == 1 else torch.cat(rows)
        for lengths in self._lengths(width, len(rows)):
            sums = torch.segment_reduce(sums, "sum", lengths=lengths, unsafe=True)
        return sums.view(len(rows), -1)

    def _lengths(self, width: int, count: int) -> tuple[Tensor, Tensor]:
        """Rows of blocks and blocks of layers, for so many sums one behind the other. A GPU sums a segment in one block
        of threads, however long it is: so it is given short ones, twice.
        """
        if (width, count) not in self._cuts:
            starts, blocks = blocks_of(self._ends, _BLOCK_OF_ROWS)
            rows = [(stop - start) // width for start, stop in pairwise(starts)]
            device = self.lengths.device
            self._cuts[width, count] = (
                torch.tensor(rows * count, device=device),
                torch.tensor(blocks * count, device=device),
            )
        return self._cuts[width, count]


class _Addends:
    """What sums add up, in float64, (N,). Differences of vectors are taken once."""

    def __init__(self, own: Tensor, reference: Tensor, start: Tensor, reference_start: Tensor) -> None:
        self._own, self._start = own.double(), start
        self._reference, self._reference_start = reference, reference_start

    def of(self, kind: Sum) -> Tensor:
        match kind:
            case Sum.SQUARES:
                return self._own * self._own
            case Sum.DISTANCES:
                return self._difference * self._difference
            case Sum.RADIAL:
                return self._difference * self._total
            case Sum.OPPOSITE:
                return self._total * self._total
            case Sum.MOVED:
                return self._motion * self._motion
            case Sum.ALONG:
                return self._motion * (self._reference.double() - self._reference_start)

    @cached_property
    def _difference(self) -> Tensor:
        return self._own - self._reference

    @cached_property
    def _total(self) -> Tensor:
        return self._own + self._reference

    @cached_property
    def _motion(self) -> Tensor:
        return self._own - self._start
