"""Which samples are evaluated, and their fixed views: drawn with seed 0, the same for every run of a data set."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from coupled import views
from coupled.address import Purpose, permutation
from coupled.data.splits import SplitName
from coupled.errors import UserError

SPLITS: Final[tuple[SplitName, ...]] = ("train", "test")
SIZE: Final = 10_000  # samples of a split unless the user says otherwise: the sheet's "10 000 random test images"
LEAST: Final = 4  # debiased CKA needs them


@dataclass(frozen=True)
class Sample:
    """The evaluated samples of a split: ids (n,) int64, ascending; labels (n,) by labelling; `whole`: it is all of it.

    `asked`: how many were asked for; None for all. A split that is smaller is taken whole.
    """

    split: SplitName
    ids: Tensor
    labels: Mapping[str, Tensor]
    whole: bool
    asked: int | None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def flags(self) -> tuple[str, ...]:
        """What a reader must know about their number."""
        short = self.asked is not None and len(self) < self.asked
        return (f"{self.split} has {len(self)} samples, {self.asked} were asked for",) if short else ()


def chosen_ids(split: SplitName, n: int, size: int | None) -> Tensor:
    """The ids (size,) that are evaluated of a split of n samples; all of them where `size` is None or not smaller."""
    if size is not None and size < LEAST:
        raise UserError(f"{size} samples", f"at least {LEAST} are needed", "raise --samples, or use --all")
    if size is None or size >= n:
        return torch.arange(n)
    return permutation(0, Purpose.EVALUATION, n, a=SPLITS.index(split))[:size].sort().values


def view_words(split: SplitName, ids: Tensor) -> Tensor:
    """The draws (2, n, …) behind the two fixed views of evaluated samples."""
    visits = torch.full_like(ids, SPLITS.index(split))
    return torch.stack([views.view_words(0, Purpose.EVALUATION_VIEW, ids, visits, view) for view in (0, 1)])


def batches(split: SplitName, n: int, size: int) -> Tensor:
    """Positions (⌊n/B⌋, B) of n evaluated samples in batches of B = `size`; n mod B of them are in none.

    UserError where n samples make no batch.
    """
    if not 2 <= size <= n:
        raise UserError(f"batches of {size}", f"from 2 to the {n} samples of {split}", "set --batch, or --samples")
    order = permutation(0, Purpose.EVALUATION_BATCHES, n, a=SPLITS.index(split), b=size)
    return order[: n // size * size].view(-1, size)
