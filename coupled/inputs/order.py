"""The batch stream: step → sample ids is arithmetic on keyed permutations, so any step can be asked for alone.

A *visit* numbers how often a sample's turn has come: with it and the sample's id, a view has an address that no other
view of the run shares. Uniform: the visit is the epoch. Balanced: the cycle of the sample's class.
"""

from bisect import bisect_right
from functools import lru_cache

import torch
from torch import Tensor

from coupled.address import Purpose, permutation
from coupled.errors import UserError


class Uniform:
    """Epochs of ⌊N/B⌋ steps over a permutation keyed by (seed, "order", epoch, draw); the tail N mod B is left out.

    `draw` 0 is the order that arms share.
    """

    def __init__(self, seed: int, n: int, batch_size: int, draw: int = 0) -> None:
        self.batch_size, self.steps_per_epoch = batch_size, n // batch_size
        self._order = lru_cache(maxsize=2)(lambda epoch: permutation(seed, Purpose.ORDER, n, a=epoch, b=draw))

    def at(self, step: int) -> tuple[Tensor, Tensor]:
        """Sample ids and visits of the batch of `step`, both int64 (B,)."""
        epoch, position = divmod(step, self.steps_per_epoch)
        ids = self._order(epoch)[position * self.batch_size : (position + 1) * self.batch_size]
        return ids, torch.full_like(ids, epoch)


class Balanced:
    """Batches with ⌊B/C⌋ samples of each class, and one more of B mod C classes.

    Each class cycles keyed permutations of its samples, without a gap. Which classes get one more is a keyed
    permutation of the classes, new for every block of C steps, walked B mod C classes a step: every class is favoured
    equally often in a block, so how many samples of a class came before a step is arithmetic. `draw` 0 is the order
    that arms share.
    """

    def __init__(self, seed: int, labels: Tensor, classes: int, batch_size: int, draw: int = 0) -> None:
        self.seed, self.classes, self.batch_size, self.draw = seed, classes, batch_size, draw
        self._members = [torch.nonzero(labels == c).flatten() for c in range(classes)]
        self._share, self._rest = divmod(batch_size, classes)
        needed = 2 * (self._share + (self._rest > 0))
        smallest = min(range(classes), key=lambda c: len(self._members[c]))
        if len(self._members[smallest]) < needed:
            raise UserError(
                f"batches.size = {batch_size} balanced over {classes} classes",
                f"every class needs {needed} images, class {smallest} has {len(self._members[smallest])}",
                "lower batches.size or use batches.stream = uniform",
            )
        self._ranks = lru_cache(maxsize=4)(self._ranks_in_block)
        self._order = lru_cache(maxsize=2 * classes)(self._order_of_cycle)

    def at(self, step: int) -> tuple[Tensor, Tensor]:
        """Sample ids and visits of the batch of `step`, both int64 (B,), grouped by class; no sample comes twice."""
        ids, visits = [], []
        for c, members in enumerate(self._members):
            start, stop = self._offset(c, step), self._offset(c, step + 1)
            while start < stop:
                cycle, position = divmod(start, len(members))
                part = self._order(c, cycle)[position : position + stop - start]
                ids.append(part)
                visits.append(torch.full_like(part, cycle))
                start += len(part)
        return torch.cat(ids), torch.cat(visits)

    def _ranks_in_block(self, block: int) -> list[int]:
        """Each class's position in the block's permutation."""
        return permutation(self.seed, Purpose.REMAINDER, self.classes, a=block, b=self.draw).argsort().tolist()

    def _offset(self, c: int, step: int) -> int:
        """How many samples of class c the batches before `step` hold."""
        block, j = divmod(step, self.classes)
        # The block's first j steps walk positions 0 … j·rest − 1 modulo C: count those that are c's.
        favours = -((self._ranks(block)[c] - j * self._rest) // self.classes)
        return self._share * step + self._rest * block + favours

    def _raw_order(self, c: int, cycle: int) -> Tensor:
        members = self._members[c]
        return members[permutation(self.seed, Purpose.CLASS_ORDER, len(members), a=cycle, b=c, c=self.draw)]

    def _order_of_cycle(self, c: int, cycle: int) -> Tensor:
        """The keyed permutation of a cycle; where the one before ends inside a batch, that batch's ids are put off.

        They come right behind the batch instead. Only a batch's worth at the start moves, and a class has at least two
        batches' worth, so the end of the cycle before is that of its own keyed permutation.
        """
        order, start = self._raw_order(c, cycle), cycle * len(self._members[c])
        # A block of C steps takes B of each class: the step in which the cycle starts is in block start // B.
        first = start // self.batch_size * self.classes
        block = range(first, first + self.classes + 1)
        seam = block[bisect_right(block, start, key=lambda step: self._offset(c, step)) - 1]
        before = start - self._offset(c, seam)
        if before == 0:
            return order
        taken = torch.isin(order, self._raw_order(c, cycle - 1)[-before:])
        head = torch.nonzero(~taken).flatten()[: self._offset(c, seam + 1) - start]
        rest = torch.ones(len(order), dtype=torch.bool)
        rest[head] = False
        return torch.cat([order[head], order[rest]])
