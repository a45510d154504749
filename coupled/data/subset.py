"""Class subsets and imbalanced subsamples: some samples of a split, under ids of their own.

Which training images of a class are kept is an address: a prefix of its images in the order of a permutation keyed by
(seed 0, SUBSET, class). So it is the same for every run, and of two selections the smaller one keeps a part
of the images that the larger one keeps.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import torch
from torch import Tensor

from coupled.address import Purpose, permutation
from coupled.data.splits import DataInfo, FileSplit, ImageSplit, Split, SplitName
from coupled.errors import UserError, unknown
from coupled.views import Recipe

_SEED = 0
_Whole = TypeVar("_Whole", bound=Split)


@dataclass(frozen=True)
class Selection:
    """Which samples of a data set to keep. Class numbers are those of `labelling` in the whole set.

    `classes` are kept in the order given and become 0 … k−1 (None: all, as they are). Of the training images of a class
    at most `per_class` are kept, and fewer for `imbalance`: see `kept`. None keeps all.
    """

    labelling: str
    classes: tuple[int, ...] | None = None
    per_class: int | None = None
    imbalance: float | None = None

    def check(self, info: DataInfo) -> None:
        """UserError where the selection cannot be made of a data set."""
        if self.labelling not in info.classes:
            raise unknown("labelling", self.labelling, info.classes)
        many, given = info.classes[self.labelling], self.classes
        label = f"data.classes = [{', '.join(map(str, given or ()))}]"
        if given is not None and (outside := [c for c in given if not 0 <= c < many]):
            allowed = f"the classes of {self.labelling} are 0 to {many - 1}"
            raise UserError(f"data.classes names {outside[0]}", allowed, f"remove {outside[0]}")
        if given is not None and len(set(given)) < len(given):
            raise UserError(label, "each class once", "remove what comes twice")
        if given is not None and len(given) < 2:
            raise UserError(label, "at least two classes: one alone has no negatives of another class", "add classes")
        if self.per_class is not None and self.per_class < 1:
            raise UserError(f"data.per_class = {self.per_class}", "at least 1", "raise it")
        if self.imbalance is not None and not (math.isfinite(self.imbalance) and self.imbalance >= 1):
            allowed = "from 1: images of the first class over those of the last"
            raise UserError(f"data.imbalance = {self.imbalance}", allowed, "raise it")
        if self.imbalance is not None and len(self.chosen(many)) < 2:
            raise UserError(f"data.imbalance = {self.imbalance}", f"{self.labelling} has one class", "remove it")

    def chosen(self, many: int) -> tuple[int, ...]:
        """The classes that are kept of `many`, in their new order."""
        return tuple(range(many)) if self.classes is None else self.classes

    def kept(self, counts: Sequence[int]) -> tuple[int, ...]:
        """How many training images of each chosen class are kept, of classes of `counts` images.

        Class k of K keeps ⌊n₀·ρ^(−k/(K−1))⌋, at least 1 (Cui et al. 2019), but never more than it has and `per_class`
        allows, where n₀ is what is left of the largest class after `per_class`. So the sizes fall from n₀ to n₀/ρ
        where all classes are at least as large as their share, and an unequal data set keeps its smaller classes.
        """
        sizes = [counts[c] for c in self.chosen(len(counts))]
        if self.per_class is not None:
            sizes = [min(size, self.per_class) for size in sizes]
        if self.imbalance is None:
            return tuple(sizes)
        first, last = max(sizes), len(sizes) - 1
        return tuple(min(size, _tail(first, self.imbalance, k, last)) for k, size in enumerate(sizes))


def _tail(first: int, ratio: float, k: int, last: int) -> int:
    """⌊first · ratio^(−k/last)⌋, at least 1."""
    guess = round(first * ratio ** (-k / last))
    if guess < 2:
        return 1
    # Decided in integers: the last bit of a power differs between machines, and with it 500 and 499.
    over, under = ratio.as_integer_ratio()
    fits = guess**last * over**k <= first**last * under**k
    return guess if fits else guess - 1


class Subset(Split, Generic[_Whole]):
    """Samples `ids` of another split, sorted: int64 (n,), the ids there. The run's ids count within the subset.

    `numbers` (classes,) renumbers the labels of `labelling`; the other labellings of `names` stay as they are.
    """

    def __init__(self, whole: _Whole, ids: Tensor, labelling: str, numbers: Tensor, names: Collection[str]) -> None:
        self.ids = ids
        self._whole, self._labelling, self._numbers, self._names = whole, labelling, numbers, names

    def __len__(self) -> int:
        return len(self.ids)

    def fingerprint(self) -> str | None:
        return self._whole.fingerprint()  # the config says which samples are kept

    def labels(self, labelling: str) -> Tensor:
        # Only as the data set writes it: another spelling of `labelling` would miss its new numbers.
        if labelling not in self._names:
            raise unknown("labelling", labelling, self._names)
        labels = self._whole.labels(labelling)[self.ids]
        return self._numbers[labels] if labelling == self._labelling else labels


class ImageSubset(Subset[ImageSplit], ImageSplit):
    """A subset of images in memory."""

    @property
    def is_array(self) -> bool:  # type: ignore[override]
        return self._whole.is_array

    def images(self, ids: Tensor) -> Tensor:
        return self._whole.images(self.ids[ids])


class FileSubset(Subset[FileSplit], FileSplit):
    """A subset of images in files. The views' words are those of the ids within the subset."""

    def crops(self, ids: Tensor, words: Tensor, recipe: Recipe, size: int) -> Tensor:
        return self._whole.crops(self.ids[ids], words, recipe, size)

    def plain(self, ids: Tensor, size: int) -> Tensor:
        return self._whole.plain(self.ids[ids], size)


def select(info: DataInfo, whole: Split, name: SplitName, selection: Selection) -> ImageSubset | FileSubset:
    """What `selection` keeps of a split of the data set `info`.

    Of a test split only `classes` counts: evaluation is on all images of the classes that are left.
    """
    labels, many = whole.labels(selection.labelling), info.classes[selection.labelling]
    counts, chosen = torch.bincount(labels, minlength=many).tolist(), selection.chosen(many)
    sizes = selection.kept(counts) if name == "train" else [counts[c] for c in chosen]
    parts = []
    for c, size in zip(chosen, sizes, strict=True):
        members = torch.nonzero(labels == c).flatten()
        parts.append(members[permutation(_SEED, Purpose.SUBSET, len(members), a=c)[:size]])
    ids = torch.cat(parts).sort().values
    numbers = torch.full((many,), -1)  # no sample of another class is left
    numbers[torch.tensor(chosen)] = torch.arange(len(chosen))
    if isinstance(whole, FileSplit):
        return FileSubset(whole, ids, selection.labelling, numbers, tuple(info.classes))
    assert isinstance(whole, ImageSplit), "a split is of images or of files"
    return ImageSubset(whole, ids, selection.labelling, numbers, tuple(info.classes))


def remaining(info: DataInfo, selection: Selection, counts: Mapping[SplitName, Sequence[int]]) -> DataInfo:
    """`info` of what is left, from the images per class of the whole splits; mean and std stay the whole set's.

    The counts of other labellings are not known without their labels and are left out.
    """
    name, chosen = selection.labelling, selection.chosen(info.classes[selection.labelling])
    train, test = selection.kept(counts["train"]), tuple(counts["test"][c] for c in chosen)
    return replace(
        info,
        train_size=sum(train),
        test_size=sum(test),
        classes={**info.classes, name: len(chosen)},
        train_counts={name: train},
        test_counts={name: test},
    )
