"""What a data set is: constants known without its files, images by id, labels by labelling."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class DataInfo:
    """Registry constants of a data set, so that `plan` needs no files.

    `classes` maps each basic labelling to its number of classes; `mean` and `std` are those of the RGB channels of
    the training images in [0, 1]; `size` is the images' height and width in pixels;
    `procedural` data sets are made from data.seed.
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


class Split(ABC):
    """One split of a data set. Ids are 0 … len−1."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def images(self, ids: Tensor) -> Tensor:
        """Images of `ids` (n,), int64: uint8 RGB (n, 3, size, size) on the CPU."""

    @abstractmethod
    def labels(self, labelling: str) -> Tensor:
        """Labels of the whole split under `labelling`: int64 (N,) in [0, classes)."""
