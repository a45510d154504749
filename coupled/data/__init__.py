"""The data sets by name. A new one gets a line in `DATASETS` and one in `_LOADERS`."""

from collections.abc import Callable
from typing import Literal

from coupled.data import fashion_mnist, shapes
from coupled.data.base import DataInfo, Split
from coupled.errors import unknown

__all__ = ["DATASETS", "DataInfo", "Split", "info", "load"]

SplitName = Literal["train", "test"]

DATASETS: dict[str, DataInfo] = {known.name: known for known in (shapes.info, fashion_mnist.info)}

_LOADERS: dict[str, Callable[[SplitName, int | None, str], Split]] = {
    "shapes": lambda split, seed, _root: shapes.load(split, _given(seed)),
    "fashion-mnist": lambda split, _seed, root: fashion_mnist.load(split, root or fashion_mnist.DEFAULT_ROOT),
}


def info(name: str) -> DataInfo:
    """What is known of a data set without its files; UserError with the nearest name if there is none such."""
    if name in DATASETS:
        return DATASETS[name]
    raise unknown("data set", name, DATASETS)


def _given(seed: int | None) -> int:
    assert seed is not None, "a procedural data set is made from a seed"
    return seed


def load(name: str, split: SplitName, *, seed: int | None, root: str) -> Split:
    """A split of a data set.

    `seed` is the data seed of a procedural data set (None for others); `root` is the directory of a real one's files,
    "" being the place where its Debian package puts them.
    """
    info(name)
    return _LOADERS[name](split, seed, root)
