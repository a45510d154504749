"""The class shares of a training set, as far as they are known without its images: what a-priori bounds start from."""

from dataclasses import dataclass

import torch

from coupled.config import Config
from coupled.config.traits import Permuted, traits_of
from coupled.errors import UserError
from coupled.inputs.dataset import data_info, load_split
from coupled.inputs.placebo import overlap_by_chance


@dataclass(frozen=True)
class ClassShares:
    """Training images of each class, and where the numbers are from, in words: "registry constants"."""

    counts: tuple[int, ...]
    known_from: str

    @property
    def size(self) -> int:
        return sum(self.counts)

    @property
    def largest(self) -> float:
        """π_max."""
        return max(self.counts) / self.size


def class_shares(config: Config, labelling: str) -> ClassShares:
    """The shares under a labelling of the config's training set, subset as it says.

    Registry constants where they are known; a procedural data set's labels are drawn and counted; else classes are
    assumed to be of equal size, and `known_from` says so. UserError where not even that can be: the number of classes
    is not known, or [data] chooses images by another labelling.
    """
    info = data_info(config)
    if labelling in info.train_counts:
        return ClassShares(info.train_counts[labelling], "registry constants")
    if info.procedural:
        labels = load_split(config, "train").labels(labelling)
        return ClassShares(tuple(torch.bincount(labels, minlength=info.classes[labelling]).tolist()), "its labels")
    data = config.data
    if labelling != data.labelling and (data.classes or data.per_class is not None or data.imbalance is not None):
        raise UserError(
            f"class shares of {labelling}",
            f"not known without the images: [data] chooses them by {data.labelling}",
            "ask for that labelling",
        )
    # As many of each as fit: how large the data set is enters a bound too.
    classes = info.classes[labelling]
    return ClassShares((max(1, info.train_size // classes),) * classes, "not known without the images: assumed equal")


def permuted_overlaps(config: Config) -> dict[str, float]:
    """By labelling that arms permute, the expected share of the pairs of one permuted class that are of one true class
    too: docs/theory.md (100). Left out where the classes of a batch are not known before training, or have no pairs.
    """
    labels = (traits_of(config.arms, arm).labels for arm in config.arms)
    labellings = dict.fromkeys(key.labelling for key in labels if isinstance(key, Permuted))
    overlaps = {}
    for labelling in labellings:
        try:
            counts = class_shares(config, labelling).counts
        except UserError:
            continue
        if config.data.balance_by is not None:
            if config.data.balance_by != labelling:
                continue
            each, rest = divmod(config.batches.size, len(counts))
            counts = [each + (number < rest) for number in range(len(counts))]
        # Any two samples of a uniform batch are two of the training set at random: the mean share is that of its pairs.
        if max(counts) > 1:
            overlaps[labelling] = overlap_by_chance(torch.tensor(counts))
    return overlaps
