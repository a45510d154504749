"""The mesh of ranks as one of them sees it: who holds what, and the few messages that ranks exchange.

Two axes. Along *arms*, ranks hold different arms and exchange embeddings and weights for what compares arms. Along
*data*, ranks hold the same arms and a part of every batch. Every sum over ranks is taken in the order of ranks, on
values that were gathered: its bits depend on no library's choice of algorithm.

Messages of the step use the device's backend (nccl, gloo); small integers of the host and those of the writing threads
have gloo groups of their own, so that neither waits for a GPU nor meets the messages of another thread.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from coupled.errors import EarlyEnd, RunStopped, UserError
from coupled.ranks.faults import Elsewhere, Watch, agreed
from coupled.ranks.placement import Placement

T = TypeVar("T")


def gather_of(library: Any) -> Callable[..., Any]:
    """What gathers into one tensor, by the newer of its two names where torch.distributed has it: there the older one
    warns.
    """
    return getattr(library, "all_gather_single", None) or library.all_gather_into_tensor


_gather: Final = gather_of(dist)


@dataclass
class Axis:
    """One axis of the mesh through this rank: the ranks along it, in order. Of size 1, everything is the identity."""

    index: int = 0
    size: int = 1
    group: Any = None
    watch: Watch | None = None

    def gathered(self, tensor: Tensor) -> Tensor:
        """(size, *shape): the tensors of all ranks along the axis, which are of one shape, in their order."""
        if self.size == 1:
            return tensor[None]
        tensors = tensor.new_empty((self.size, tensor.numel()))
        with self._watched():
            _gather(tensors, tensor.contiguous().view(1, -1), group=self.group)
        return tensors.view(self.size, *tensor.shape)

    def shared(self, tensor: Tensor, index: int) -> Tensor:
        """The tensor of the rank at `index`, in place of those that the others give."""
        if self.size > 1:
            with self._watched():
                dist.broadcast(tensor, group_src=index, group=self.group)
        return tensor

    def part(self, count: int) -> slice:
        """Which of `count` samples are this rank's."""
        each = count // self.size
        return slice(self.index * each, (self.index + 1) * each)

    def exchanged(self, chunks: Tensor) -> Tensor:
        """(size, n): row k of every rank's `chunks` goes to rank k; what arrives is in the order of ranks."""
        received = torch.empty_like(chunks)
        with self._watched():
            dist.all_to_all_single(received, chunks, group=self.group)
        return received

    @contextmanager
    def _watched(self) -> Iterator[None]:
        assert self.watch is not None
        with self.watch.waiting():
            yield


@dataclass
class Mesh:
    """This process among the ranks of a run. `ALONE` is a run of one process."""

    placement: Placement | None = None
    rank: int = 0
    arms: Axis = field(default_factory=Axis)
    data: Axis = field(default_factory=Axis)
    host: Axis = field(default_factory=Axis)
    sums: Axis = field(default_factory=Axis)  # as `data`, for gradients that are added up beside the next forward
    # for the writing threads alone: messages of two threads in one group would meet the wrong ones
    writers: Axis = field(default_factory=Axis)

    @property
    def is_first(self) -> bool:
        """Is this rank 0, which alone opens the run directory, writes its manifest and prints?"""
        return self.rank == 0

    @property
    def writes(self) -> bool:
        """Does this rank record and save its arms? The first of their data ranks does."""
        return self.data.index == 0

    def holds(self, owner: str) -> bool:
        """Is an arm, or what arms share, this rank's to record?"""
        return self.holder(owner) == self.rank

    def holder(self, owner: str) -> int:
        """The rank that records an arm, or what arms share."""
        return 0 if self.placement is None else self.placement.holder(owner)

    def own(self, arms: Sequence[str]) -> list[str]:
        """The arms that live here."""
        return list(arms) if self.placement is None else list(self.placement.groups[self.arms.index])

    def index_of(self, arm: str) -> int:
        """Where along the arms axis an arm lives."""
        groups = () if self.placement is None else self.placement.groups
        return next((a for a, group in enumerate(groups) if arm in group), 0)

    def most(self, *values: int) -> tuple[int, ...]:
        """The largest of every rank's values, position by position; a meeting of all ranks."""
        if self.host.size == 1:
            return values
        return tuple(self.host.gathered(torch.tensor(values, dtype=torch.int64)).amax(0).tolist())

    def together(self, act: Callable[[], Any]) -> Any:
        """Every rank's own `act()`. If one fails, all do: the first that failed with its error, others `Elsewhere`."""
        result, error = None, None
        try:
            result = act()
        except EarlyEnd as raised:
            error = raised
        self.agree(error)
        return result

    def agree(self, error: EarlyEnd | None, axis: Axis | None = None) -> None:
        """A meeting of all ranks (of an axis) that raises if any of them has an error."""
        axis = axis or self.host
        own = 0 if error is None or isinstance(error, Elsewhere) else error.exit_code
        codes = axis.gathered(torch.tensor([own])).flatten().tolist()
        failed = [rank for rank, code in enumerate(codes) if code]
        if error is not None and failed[:1] in ([], [axis.index]):
            raise agreed(error)
        if failed:
            raise agreed(Elsewhere(codes[failed[0]]))

    def ending(self, error: RunStopped) -> RunStopped:
        """What to raise where all ranks have come to the same error: rank 0 prints it."""
        return agreed(error if self.is_first else Elsewhere(error.exit_code))

    def alone_on_first(self, act: Callable[[], T]) -> T | None:
        """What `act()` gave on rank 0, there; None on the others. Its error ends all ranks."""
        return self.together(act if self.is_first else lambda: None)

    def on_first(self, act: Callable[[], Any]) -> Any:
        """What `act()` gave on rank 0, as JSON carries it; its error there ends all ranks."""
        result = self.alone_on_first(act)
        if self.host.size == 1:
            return result
        text = json.dumps(result).encode() if self.is_first else b""
        length = self.most(len(text))[0]
        data = torch.zeros(length, dtype=torch.uint8)
        if self.is_first:
            data = torch.frombuffer(bytearray(text), dtype=torch.uint8)
        return json.loads(self.host.shared(data, 0).numpy().tobytes())

    def same(self, facts: Mapping[str, str]) -> None:
        """UserError if the facts of a rank (a library's version, a data set's digest) are not those of rank 0."""
        first = self.on_first(lambda: dict(facts))
        differing = [
            f"{key} is {facts.get(key)}, on rank 0 {first[key]}" for key in first if facts.get(key) != first[key]
        ]
        self.together(lambda: _refuse(self.rank, differing))

    def references(
        self, dependents: Mapping[str, Sequence[str]], local: Callable[[str], Tensor]
    ) -> Iterator[tuple[str, Tensor]]:
        """(reference, tensor) of every reference in order; `local(arm)` gives that of an arm that lives here, and of
        one that does not a tensor of the same shape to receive it in.

        `dependents`: the arms compared with each reference. What no other rank needs does not travel.
        """
        for reference, arms in dependents.items():
            home = self.index_of(reference)
            tensor = local(reference)
            if any(self.index_of(arm) != home for arm in arms):
                tensor = self.arms.shared(tensor, home)
            yield reference, tensor


def _refuse(rank: int, differing: Sequence[str]) -> None:
    if differing:
        raise UserError(
            f"rank {rank} is not like rank 0: {'; '.join(differing[:4])}",
            "all ranks of a run need the same libraries, drivers, machine type and data",
            "make them equal",
        )


ALONE = Mesh()
