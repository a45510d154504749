"""Who makes which views: of image folders, the ranks that see the same part of a batch make them together."""

from itertools import pairwise

from torch import Tensor

from coupled.ranks.mesh import Axis


def is_shared(samples: int, ranks: int) -> bool:
    """Do so many ranks along the arms axis make the views of so many samples of image folders together?"""
    return 1 < ranks <= samples


def shares(samples: int, ranks: int) -> list[slice]:
    """The samples whose views each rank makes: as equally many as can be, one after the other."""
    return [slice(*ends) for ends in pairwise(samples * rank // ranks for rank in range(ranks + 1))]


class Share:
    """The samples of a batch whose views this rank makes, and the messages by which an axis's ranks hand theirs on.

    `part`: the samples that these ranks see, all the same ones. Each makes its own of `shares`, of every kind of input:
    also of one that no arm here sees, so that all ranks decode as much and all know of every message.
    """

    def __init__(self, axis: Axis, part: slice) -> None:
        self._axis = axis
        self._shares = shares(part.stop - part.start, axis.size)
        own = self._shares[axis.index]
        self.samples = slice(part.start + own.start, part.start + own.stop)

    @property
    def is_handed_on(self) -> bool:
        """Do other ranks make the rest?"""
        return self._axis.size > 1

    def whole(self, views: Tensor, kept: bool) -> Tensor | None:
        """Both views of the samples here (2n, 3, S, S) → of the whole part (2b, 3, S, S), view 1 first; None where this
        rank has no use for them, `kept` is false. Messages of all ranks of the axis, two from each.
        """
        if not self.is_handed_on:
            return views
        # One broadcast from each, straight to its place: on CPUs a tenth of the time of gloo's gather.
        own = views.unflatten(0, (2, -1))
        whole = own.new_empty((2, self._shares[-1].stop, *own.shape[2:])) if kept else None
        for index, rows in enumerate(self._shares):
            for view in (0, 1):
                sent = own[view] if index == self._axis.index else None
                place = own.new_empty((rows.stop - rows.start, *own.shape[2:])) if whole is None else whole[view, rows]
                self._axis.shared(place if sent is None else place.copy_(sent), index)
        return None if whole is None else whole.flatten(0, 1)
