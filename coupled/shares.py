"""The class shares of a training set, as far as they are known without its images: what a-priori bounds start from."""

from dataclasses import dataclass

import torch

from coupled.config import Config
from coupled.source import data_info, load_split


@dataclass(frozen=True)
class Shares:
    """Training images of each class, and where the numbers are from, in words: "registry constants"."""

    counts: tuple[int, ...]
    said: str

    @property
    def size(self) -> int:
        return sum(self.counts)

    @property
    def largest(self) -> float:
        """π_max."""
        return max(self.counts) / self.size


def class_shares(config: Config, labelling: str) -> Shares:
    """The shares under a labelling of the config's training set, subset as it says.

    Registry constants where they are known; a procedural data set's labels are drawn and counted; else classes are
    assumed to be of equal size, and `said` says so. UserError where not even the number of classes is known.
    """
    info = data_info(config)
    if labelling in info.train_counts:
        return Shares(info.train_counts[labelling], "registry constants")
    if info.procedural:
        labels = load_split(config, "train").labels(labelling)
        return Shares(tuple(torch.bincount(labels, minlength=info.classes[labelling]).tolist()), "its labels")
    return Shares((1,) * info.classes[labelling], "not known without the images: assumed equal")
