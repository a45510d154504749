"""Which samples a few-shot classifier is given, and which pairs of classes stand for all: drawn by address with seed 0,
the same for every arm, step and run of a data set.

Shapes: labels (n,) of evaluated samples, C classes that are present, m shots of each.
"""

from functools import lru_cache
from typing import Final

import torch
from torch import Tensor

from analysis.evaluation.samples import SPLITS
from coupled.address import Purpose, permutation, words
from coupled.data.splits import SplitName

MOST_PAIRS: Final = 100  # pairs of classes that stand for all


class Shots:
    """One draw of shots: an order of the samples of each class. More shots of a draw contain fewer."""

    def __init__(self, labels: Tensor, draw: int) -> None:
        self.classes = labels.unique()
        self._orders = [
            own[permutation(0, Purpose.SHOTS, len(own), a=label, b=draw)]
            for label in self.classes.tolist()
            for own in [(labels == label).nonzero()[:, 0]]
        ]

    @property
    def most(self) -> int:
        """The number of samples of the smallest class: so many shots can be drawn."""
        return min(map(len, self._orders))

    def first(self, m: int) -> Tensor:
        """Positions (C, m) of the first m samples of each class, in the order of `classes`; m is at most `most`."""
        assert 1 <= m <= self.most, f"{m} shots of a class of {self.most}"
        return torch.stack([order[:m] for order in self._orders])


def with_replacement(labels: Tensor, draw: int, m: int, split: SplitName) -> Tensor:
    """Positions (C, m) of m samples of each class of a split, drawn independently: more of a draw contain fewer.

    A sample's share of the draws is off 1/n by 2⁻³² at most, n being the size of its class.
    """
    drawn = []
    for label in labels.unique().tolist():
        own = (labels == label).nonzero()[:, 0]
        word = words(0, Purpose.SHOTS, m, a=label, b=draw, c=1 + SPLITS.index(split))
        drawn.append(own[(word * len(own)) >> 32])
    return torch.stack(drawn)


@lru_cache(maxsize=16)
def class_pairs(count: int) -> tuple[tuple[int, int], ...]:
    """All pairs i < j of `count` classes, in an order by address."""
    pairs = torch.combinations(torch.arange(count), 2)
    return tuple((i, j) for i, j in pairs[permutation(0, Purpose.CLASS_PAIRS, len(pairs), a=count)].tolist())


def chosen_pairs(count: int) -> list[tuple[int, int]]:
    """The pairs i < j of classes that two-way numbers are means over: all, or 100 by address; ascending."""
    return sorted(class_pairs(count)[:MOST_PAIRS])


def pair_of_draw(count: int, draw: int) -> tuple[int, int]:
    """The pair of classes of a draw where each draw has one: another one as long as there are others."""
    pairs = class_pairs(count)
    return pairs[draw % len(pairs)]
