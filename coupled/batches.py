"""The batch stream: step → sample ids is arithmetic on keyed permutations, so any step can be asked for alone.

A *visit* numbers how often a sample's turn has come: with it and the sample's id, a view has an address that no other
view of the run shares. Uniform: the visit is the epoch. Balanced: the cycle of the sample's class.
"""

from functools import lru_cache

import torch
from torch import Tensor

from coupled.address import Purpose, permutation
from coupled.errors import UserError


class Uniform:
    """Epochs of ⌊N/B⌋ steps over a permutation keyed by (seed, "order", epoch); the tail N mod B is left out."""

    def __init__(self, seed: int, n: int, batch_size: int) -> None:
        self.batch_size, self.steps_per_epoch = batch_size, n // batch_size
        self._order = lru_cache(maxsize=2)(lambda epoch: permutation(seed, Purpose.ORDER, n, a=epoch))

    def at(self, step: int) -> tuple[Tensor, Tensor]:
        """Sample ids and visits of the batch of `step`, both int64 (B,)."""
        epoch, position = divmod(step, self.steps_per_epoch)
        ids = self._order(epoch)[position * self.batch_size : (position + 1) * self.batch_size]
        return ids, torch.full_like(ids, epoch)


class Balanced:
    """Batches with ⌊B/C⌋ samples of each class, and one more of B mod C classes chosen by a keyed permutation.

    Each class cycles its own keyed permutation in windows of ⌈B/C⌉ ids, one window a step, so that a batch never holds
    a sample twice; what does not fill a window waits for another cycle's shuffle. An epoch is ⌊N/B⌋ steps.
    """

    def __init__(self, seed: int, labels: Tensor, classes: int, batch_size: int) -> None:
        self.seed, self.classes, self.batch_size = seed, classes, batch_size
        self.steps_per_epoch = len(labels) // batch_size
        self._members = [torch.nonzero(labels == c).flatten() for c in range(classes)]
        self._share, self._rest = divmod(batch_size, classes)
        self._window = self._share + (self._rest > 0)
        smallest = min(range(classes), key=lambda c: len(self._members[c]))
        if len(self._members[smallest]) < self._window:
            raise UserError(
                f"batches.size = {batch_size} balanced over {classes} classes",
                f"every class needs {self._window} images, class {smallest} has {len(self._members[smallest])}",
                "lower batches.size or use batches.stream = uniform",
            )
        self._order = lru_cache(maxsize=2 * classes)(self._class_order)

    def _class_order(self, c: int, cycle: int) -> Tensor:
        members = self._members[c]
        return members[permutation(self.seed, Purpose.CLASS_ORDER, len(members), a=cycle, b=c)]

    def at(self, step: int) -> tuple[Tensor, Tensor]:
        """Sample ids and visits of the batch of `step`, both int64 (B,), grouped by class."""
        favoured = permutation(self.seed, Purpose.REMAINDER, self.classes, a=step)[: self._rest].tolist()
        ids, visits = [], []
        for c, members in enumerate(self._members):
            cycle, window = divmod(step, len(members) // self._window)
            count = self._share + (c in favoured)
            start = window * self._window
            ids.append(self._order(c, cycle)[start : start + count])
            visits.append(torch.full((count,), cycle))
        return torch.cat(ids), torch.cat(visits)
