"""The data set of a config, subset as it says."""

from typing import Literal

from coupled import data
from coupled.config import Config
from coupled.config.resolve import subset_of
from coupled.data.splits import DataInfo, Split


def data_info(config: Config) -> DataInfo:
    """What the config's data set is, subset as it says."""
    return subset_of(config, data.info(config.data.name, config.paths.data))


def load_split(config: Config, split: Literal["train", "test"]) -> Split:
    """A split of the config's data set, subset as it says."""
    given = config.data
    return data.load(
        given.name,
        split,
        seed=given.seed,
        root=config.paths.data,
        labelling=given.labelling,
        classes=given.classes or None,
        per_class=given.per_class,
        imbalance=given.imbalance,
    )
