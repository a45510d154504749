"""A data set: constants known without its files, images by id, labels by labelling."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from coupled.views import Recipe

SplitName = Literal["train", "test"]


@dataclass(frozen=True)
class DataInfo:
    """Registry constants of a data set, so that `plan` needs no files.

    `classes` maps each basic labelling to its number of classes, and is empty where images have no labels
    (`default_labelling` is then ""); `mean` and `std` are those of the RGB channels of the training images in [0, 1];
    `size` is the images' height and width in pixels (image folders: of their views by default); `procedural` data sets
    are made from data.seed. `train_counts` and `test_counts` hold the images of every class of a labelling; a labelling
    is missing where that is not known without making or listing the images. `inside` maps labellings to others that are
    coarser: all images of a class lie in one class there. `in_memory`: images are held, not decoded when asked for.
    `listing`: the SHA-256 (hex) that tells the files of `image-folder` from others; `left_out`: which pictures there
    are not read, and how many, in words.
    """

    name: str
    train_size: int
    test_size: int
    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    classes: Mapping[str, int]
    default_labelling: str
    procedural: bool = False
    in_memory: bool = True
    listing: str = ""
    left_out: str = ""
    train_counts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    test_counts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    inside: Mapping[str, str] = field(default_factory=dict)

    def size_of(self, split: SplitName) -> int:
        """Images of a split."""
        return self.train_size if split == "train" else self.test_size

    def counts_of(self, split: SplitName) -> Mapping[str, tuple[int, ...]]:
        """`train_counts` or `test_counts`."""
        return self.train_counts if split == "train" else self.test_counts


def content_digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 (hex) of tensors by name: names, dtypes and shapes, then the elements, little-endian."""
    arrays = {name: tensor.contiguous().numpy() for name, tensor in sorted(tensors.items())}
    sha = hashlib.sha256(repr([(name, str(array.dtype), array.shape) for name, array in arrays.items()]).encode())
    for array in arrays.values():
        sha.update(array.astype(array.dtype.newbyteorder("<"), copy=False).data)
    return sha.hexdigest()


class Split(ABC):
    """One split of a data set. Ids are 0 … len−1. Every split is an `ImageSplit` or a `FileSplit`."""

    left_out: str = ""  # the pictures in its folders that are not read, by kind and number

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def labels(self, labelling: str) -> Tensor:
        """Labels of the whole split under `labelling`: int64 (N,) in [0, classes)."""

    def class_name(self, labelling: str, number: int) -> str:
        """The name by which people know class `number` of a labelling."""
        return str(number)

    def fingerprint(self) -> str | None:
        """SHA-256 (hex) of images and labels; None where config and code determine them, or it would take long."""
        return None


class ImageSplit(Split):
    """A split whose images are of one size and held in memory, or drawn into it."""

    is_array: bool = False  # are all images in memory from the start? A GPU may then hold a copy of them

    @abstractmethod
    def images(self, ids: Tensor) -> Tensor:
        """Images of `ids` (n,), int64: uint8 RGB (n, 3, size, size) on the CPU."""


class FileSplit(Split):
    """A split whose images have sizes of their own and are decoded from their files when asked for."""

    @abstractmethod
    def crops(self, ids: Tensor, words: Tensor, recipe: Recipe, size: int) -> Tensor:
        """Both crops of `ids` (n,), int64, under the views' words (2, n, 32), each from its image's full resolution.

        float32 (2n, 3, size, size) on the CPU, crop 1 of every image first. RunStopped names a damaged file.
        """

    @abstractmethod
    def plain(self, ids: Tensor, size: int) -> Tensor:
        """Images of `ids` (n,), int64, resized for evaluation: float32 (n, 3, size, size) in [0, 1] on the CPU."""
