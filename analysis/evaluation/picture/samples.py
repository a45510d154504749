"""Which samples a picture shows: classes and samples of each by address, the same for every arm, step and run."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from analysis.evaluation.features import Evaluation
from analysis.evaluation.picture.embedding import LEAST
from analysis.evaluation.samples import SPLITS, Sample
from coupled.address import Purpose, permutation
from coupled.data.splits import SplitName
from coupled.errors import UserError, unknown
from coupled.inputs.dataset import data_info

CLASSES, PER_CLASS = 5, 200
_NAMED = 3  # classes that a flag names


@dataclass(frozen=True)
class Shown:
    """The samples of a picture: positions (n,) among the evaluated ones, ascending, and their classes (n,), int64."""

    sample: Sample
    labelling: str
    positions: Tensor
    labels: Tensor
    flags: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def ids(self) -> Tensor:
        return self.sample.ids[self.positions]

    @property
    def classes(self) -> list[int]:
        """The classes that are shown, ascending."""
        return self.labels.unique().tolist()


def shown(evaluation: Evaluation, split: SplitName, labelling: str | None, classes: int, per_class: int) -> Shown:
    """So many samples of each of so many classes, of those of `split` that are evaluated; fewer where there are fewer.

    labelling: any of the data set; None for the run's first. Raises UserError for less than a class or a sample, for a
    data set without labels, an unknown labelling, and where the samples are too few for a picture.
    """
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    for count, of in ((classes, "classes"), (per_class, "per-class")):
        if count < 1:
            raise UserError(f"{count} for --{of}", "at least 1 is needed")
    sample = evaluation.sample(split)
    if not sample.labels:
        raise UserError(f"the data set of {evaluation.run.path} has no labels", "a picture shows classes")
    labelling = labelling or next(iter(sample.labels))
    labels = _labels(evaluation, sample, labelling)
    of_class = dict(_chosen(labels, split, classes, per_class))
    positions = torch.cat(list(of_class.values())).sort().values
    if len(positions) < LEAST:
        allowed = f"a picture needs at least {LEAST}"
        raise UserError(f"{len(positions)} samples of {split}", allowed, "raise --classes, --per-class or --samples")
    flags = (*sample.flags, *_flags({label: len(own) for label, own in of_class.items()}, classes, per_class))
    return Shown(sample, labelling, positions, labels[positions], flags)


def _labels(evaluation: Evaluation, sample: Sample, labelling: str) -> Tensor:
    known = dict.fromkeys([*sample.labels, *data_info(evaluation.config).classes])
    if labelling not in known:
        raise unknown("labelling", labelling, known)
    return evaluation.split(sample.split).labels(labelling)[sample.ids]


def _chosen(labels: Tensor, split: SplitName, classes: int, per_class: int) -> Iterator[tuple[int, Tensor]]:
    """The positions of each class that is shown: the same classes of both splits, if they have the same."""
    present = labels.unique()
    order = permutation(0, Purpose.PICTURE, len(present), c=1)
    for label in present[order[:classes]].sort().values.tolist():
        own = (labels == label).nonzero()[:, 0]
        yield label, own[permutation(0, Purpose.PICTURE, len(own), a=label, b=SPLITS.index(split))[:per_class]]


def _flags(sizes: dict[int, int], classes: int, per_class: int) -> Iterator[str]:
    if len(sizes) < classes:
        yield f"{len(sizes)} classes have samples, {classes} were asked for"
    if len(set(sizes.values())) == 1 and min(sizes.values()) < per_class:
        yield f"{min(sizes.values()):,} samples of each class, {per_class:,} were asked for"
        return
    small = [f"{size:,} of class {label}" for label, size in sizes.items() if size < per_class]
    if small:
        more = f" and of {len(small) - _NAMED} more" if len(small) > _NAMED else ""
        yield f"samples: {', '.join(small[:_NAMED])}{more}, {per_class:,} of each were asked for"
