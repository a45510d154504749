"""Who makes which views: of image folders, the ranks that see the same part of a batch make them together."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from coupled.config import Config
from coupled.config.traits import Inputs, own_inputs
from coupled.ranks.mesh import Axis


def seen_by(config: Config, ranks: int, index_of: Callable[[str], int]) -> dict[Inputs | None, list[int]]:
    """Which of so many ranks along the arms axis see each kind of input; all of them see the shared one (None).

    `index_of`: where along the axis an arm lives.
    """
    own = {inputs: sorted(set(map(index_of, arms))) for inputs, arms in own_inputs(config.arms).items()}
    return {None: list(range(ranks)), **own}


def is_shared(samples: int, ranks: int) -> bool:
    """Do so many ranks along the arms axis make the views of so many samples of image folders together?"""
    return 1 < ranks <= samples


def counts(samples: int, ranks: int) -> list[int]:
    """Of how many samples each rank makes the views: as equal as can be, one after the other."""
    return [samples * (rank + 1) // ranks - samples * rank // ranks for rank in range(ranks)]


class Share:
    """The samples of a batch whose views this rank makes, and the message by which the ranks of an axis hand theirs on.

    `part`: the samples that these ranks see, all the same ones. Each makes its own of `counts`, of every kind of input:
    also of one that no arm here sees, so that all ranks decode as much. `seen_by` is of the config, so all agree on the
    messages.
    """

    def __init__(self, axis: Axis, part: slice, seen_by: Mapping[Inputs | None, Sequence[int]]) -> None:
        self._axis, self._seen_by = axis, seen_by
        self._counts = counts(part.stop - part.start, axis.size)
        start = part.start + sum(self._counts[: axis.index])
        self.samples = slice(start, start + self._counts[axis.index])

    @property
    def is_handed_on(self) -> bool:
        """Do other ranks make views that this one sees?"""
        return self._axis.size > 1

    def has(self, inputs: Inputs | None) -> bool:
        """Are views of this kind made here?"""
        return inputs in self._seen_by

    def whole(self, inputs: Inputs | None, views: Tensor) -> Tensor | None:
        """Both views of the samples here (2n, 3, S, S) → of the whole part (2b, 3, S, S), view 1 first; None where no
        arm here sees this kind. A message of all ranks of the axis.
        """
        if not self.is_handed_on:
            return views
        more = max(self._counts) - len(views) // 2  # all ranks hand on equally many
        by_view = functional.pad(views.unflatten(0, (2, len(views) // 2)), (0, 0) * 3 + (0, more))
        if len(self._seen_by[inputs]) == self._axis.size:
            gathered = self._axis.gathered(by_view)
        else:
            arrived = [self._axis.collected(by_view, index) for index in self._seen_by[inputs]]
            gathered = next((tensors for tensors in arrived if tensors is not None), None)
        if gathered is None:
            return None
        own = [tensor[:, :count] for tensor, count in zip(gathered, self._counts, strict=True)]
        return torch.cat(own, dim=1).flatten(0, 1)
