"""Data sets in image folders: ImageNet, tiny-ImageNet, mini-ImageNet, and any other in a folder for each class.

A split is listed when it is loaded (`listing` says how), without opening the files; an image is decoded each time it is
asked for.
"""

import hashlib
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from coupled.data.decode import decode
from coupled.data.listing import GENERIC, REMEDIES, SUFFIXES, Listing, counted, listed
from coupled.data.pictures import Pictures
from coupled.data.splits import DataInfo, FileSplit, SplitName
from coupled.errors import UserError


def _info(name: str, size: int, train: int | tuple[int, ...], test: tuple[int, ...]) -> DataInfo:
    """`train` and `test` are the images of each class; where those of `train` differ, it is their sum alone."""
    known = isinstance(train, tuple)
    return DataInfo(
        name=name,
        train_size=sum(train) if known else train,
        test_size=sum(test),
        size=size,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        classes={"class": len(test)},
        default_labelling="class",
        train_counts={"class": train} if known else {},
        test_counts={"class": test},
        in_memory=False,
    )


# mini-ImageNet (Vinyals et al. 2016) is published as 100 classes of 600 images, divided by class for few-shot learning.
# Training all classes needs a split by image: here the usual 500 and 100 of each class. Any other is an `image-folder`.
INFOS: dict[str, DataInfo] = {
    "imagenet": _info("imagenet", 224, 1_281_167, (50,) * 1000),
    "tiny-imagenet": _info("tiny-imagenet", 64, (500,) * 200, (50,) * 200),
    "mini-imagenet": _info("mini-imagenet", 224, (500,) * 100, (100,) * 100),
}


class Folder(Pictures):
    """A split whose images lie in files."""

    def __init__(self, name: str, listing: Listing) -> None:
        self._name, self._listing = name, listing
        self.left_out = counted(listing.left_out)
        counts = torch.tensor(listing.counts)
        self._labels = torch.arange(len(counts)).repeat_interleave(counts)

    def __len__(self) -> int:
        return len(self._labels)

    def labels(self, labelling: str) -> Tensor:
        if labelling != "class":
            raise UserError(f"{self._name} has no labelling {labelling!r}", "allowed is class", "write class")
        return self._labels

    def class_name(self, labelling: str, number: int) -> str:
        return self._listing.classes[number]

    def path(self, index: int) -> Path:
        """The file of id `index`."""
        return self._listing.path(index, int(self._labels[index]))

    def _picture(self, index: int) -> Tensor:
        return decode(self.path(index))


def load(name: str, split: SplitName, root: str) -> FileSplit:
    """A split of the files in `root`; UserError if they are missing, or not those of the data set `name`."""
    listing = listed(name, split, root)
    classes, expected = len(listing.classes), INFOS[name].classes["class"] if name in INFOS else None
    if expected not in (None, classes):
        raise UserError(f"{name}: {classes} class folders in {split}", f"expected {expected}", REMEDIES[name])
    return Folder(name, listing)


def scan(root: str) -> DataInfo:
    """What the folders in `root` hold, from their listing alone: the data set `image-folder`.

    Its `size` is 224 and `mean` and `std` are ImageNet's, whatever the images are.
    """
    train, test = (listed(GENERIC, split, root) for split in ("train", "test"))
    listing = hashlib.sha256(train.identity() + test.identity()).hexdigest()
    kinds = counted(train.left_out + test.left_out)
    left_out = f"{kinds}; only {', '.join(SUFFIXES)} in class folders are read" if kinds else ""
    return replace(_info(GENERIC, 224, train.counts, test.counts), listing=listing, left_out=left_out)
