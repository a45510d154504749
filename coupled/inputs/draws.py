"""The integers behind every batch: which samples, at which visit, and the words behind their views."""

from typing import NamedTuple

import torch
from torch import Tensor

from coupled import views
from coupled.address import Purpose
from coupled.config import Config
from coupled.config.traits import Inputs
from coupled.inputs.order import Balanced, Uniform


class Integers(NamedTuple):
    """ids and visits int64 (B,); words int64 (2, B, words per view), the draws behind the views."""

    ids: Tensor
    visits: Tensor
    words: Tensor


class Draws:
    """The integers of one kind of input by step: None is what arms share.

    `n`: samples of the split; `balance`: their labels (n,) and how many classes these have, where batches are balanced.
    With other batches, the view of a sample at a visit stays that of the shared inputs; with other views, ids and
    visits do.
    """

    def __init__(self, config: Config, inputs: Inputs | None, n: int, balance: tuple[Tensor, int] | None) -> None:
        self._seed, order, view = config.seed, 0, 0
        if inputs is not None:
            order, view = inputs.of_order, inputs.of_views
        self._view = torch.tensor([[0], [1]]) + 2 * view
        size = config.batches.size
        if balance is None:
            self._order: Uniform | Balanced = Uniform(config.seed, n, size, order)
        else:
            self._order = Balanced(config.seed, *balance, size, order)

    def at(self, step: int) -> Integers:
        """Those of the batch of `step`."""
        ids, visits = self._order.at(step)
        return Integers(ids, visits, views.view_words(self._seed, Purpose.VIEW, ids, visits, self._view))
