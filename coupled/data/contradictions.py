"""Does a split that was read contradict its data set's constants? The check that every data set goes through."""

import math

import torch
from torch import Tensor

from coupled.data.splits import DataInfo, FileSplit, ImageSplit, Split, SplitName

_CHUNK = 256  # images at a time: they stay in the processor's cache
# How far mean and std may be from the constants, in [0, 1]. The training images have them to four digits, so an error
# of 5e-5 is rounding; CIFAR-10's test images, which have as many of each class as its training files could, are .0028
# away. Test images are others: SVHN's std is .03 from that of its training images, the farthest of all that are known
# here. MNIST and KMNIST, whose files have Fashion-MNIST's names and shapes, are .15 and .09 away from it.
_TOLERANCE: dict[SplitName, float] = {"train": 0.001, "test": 0.05}


def contradiction(info: DataInfo, name: SplitName, split: object, *, statistics: bool) -> str:
    """What first contradicts `info` in a split; "" where nothing does.

    It checks the labels and the number of images of each class of every labelling, the number of images, the
    labellings that lie inside others, the shape and type of an image, and with `statistics` mean and std of all pixels.
    It opens no image files.
    """
    if not isinstance(split, ImageSplit | FileSplit):
        return f"is a {type(split).__name__}, not an ImageSplit or a FileSplit"
    if isinstance(split, FileSplit):  # the class that lacks files says more than their number
        return _labels(info, name, split) or _size(info, name, split) or _nesting(info, split)
    labels = _size(info, name, split) or _labels(info, name, split) or _nesting(info, split)
    return labels or _image(info, split) or (_statistics(info, name, split) if statistics else "")


def _labels(info: DataInfo, name: SplitName, split: Split) -> str:
    for labelling, classes in info.classes.items():
        labels = split.labels(labelling)
        if labels.dtype != torch.int64 or tuple(labels.shape) != (len(split),):
            given = f"{str(labels.dtype).removeprefix('torch.')} {tuple(labels.shape)}"
            return f"has labels of {given} under {labelling}, not int64 ({len(split)},)"
        outside = labels[(labels < 0) | (labels >= classes)]
        if len(outside):
            return f"has the label {int(outside[0])} under {labelling}, allowed are 0 to {classes - 1}"
        counts, expected = torch.bincount(labels, minlength=classes).tolist(), info.counts_of(name).get(labelling)
        for c, (count, published) in enumerate(zip(counts, expected or counts, strict=True)):
            if count != published:
                return (
                    f"has {count} images of class {split.class_name(labelling, c)} under {labelling}, not {published}"
                )
    return ""


def _size(info: DataInfo, name: SplitName, split: Split) -> str:
    expected = info.size_of(name)
    return "" if len(split) == expected else f"has {len(split)} images, not {expected}"


def _nesting(info: DataInfo, split: Split) -> str:
    for inner, outer in info.inside.items():
        classes, labels = info.classes[outer], split.labels(inner)
        together = (labels * classes + split.labels(outer)).unique()
        owners, counts = (together // classes).unique(return_counts=True)
        if int(counts.max()) > 1:
            torn = owners[counts > 1][0]
            places = (together[together // classes == torn] % classes).tolist()
            return f"has images of {inner} class {int(torn)} in the {outer} classes {places[0]} and {places[1]}"
    return ""


def _image(info: DataInfo, split: ImageSplit) -> str:
    first, expected = split.images(torch.tensor([0])), (1, 3, info.size, info.size)
    if first.dtype == torch.uint8 and tuple(first.shape) == expected:
        return ""
    return f"has an image of {first.dtype} {tuple(first.shape)}, not torch.uint8 {expected}"


def _statistics(info: DataInfo, name: SplitName, split: ImageSplit) -> str:
    allowed = _TOLERANCE[name]
    for statistic, measured, known in zip(("mean", "std"), mean_std(split), (info.mean, info.std), strict=True):
        if any(abs(a - b) > allowed for a, b in zip(measured, known, strict=True)):
            given, wanted = (", ".join(f"{value:.4f}" for value in values) for values in (measured, known))
            return f"has other pixels: their {statistic} is ({given}), not within {allowed:g} of ({wanted})"
    return ""


def mean_std(split: ImageSplit) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of all pixels of a split in [0, 1], of R, G and B: one pass, in integers."""
    counts = torch.zeros(3, 256, dtype=torch.int64)
    for ids in torch.arange(len(split)).split(_CHUNK):
        for channel, pixels in enumerate(split.images(ids).unbind(1)):
            counts[channel] += torch.bincount(pixels.flatten(), minlength=256)
    moments = [_moments(channel) for channel in counts]
    return [mean for mean, _ in moments], [std for _, std in moments]


def _moments(counts: Tensor) -> tuple[float, float]:
    """Mean and std of bytes over 255, from how many there are of each."""
    values = torch.arange(256)
    number, total = int(counts.sum()), int((counts * values).sum())
    squares = int((counts * values**2).sum())
    # Python's integers: n·Σv² does not fit into 64 bits.
    return total / (255 * number), math.sqrt(number * squares - total**2) / (255 * number)
