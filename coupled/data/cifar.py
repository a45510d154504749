"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009) from their binary distributions, which need no unpickling.

A file is records without a header: one byte for each labelling, then 3072 bytes of pixels, the planes R, G and B one
after another, each 32 rows of 32. The files are not trusted: a file must be exactly as long as its records before it
is read, and labels must be in range.
"""

import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from coupled.data.arrays import ArraySplit
from coupled.data.splits import DataInfo, SplitName
from coupled.errors import UserError

PAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"
_SIZE = 32
_PIXELS = 3 * _SIZE * _SIZE

# Mean and standard deviation of all pixels of the training images. The std (.2023, .1994, .2010) that is often seen for
# CIFAR-10 is another quantity, the mean over images of each image's own: only networks trained with it should see it.
INFOS = {
    "cifar10": DataInfo(
        name="cifar10",
        train_size=50_000,
        test_size=10_000,
        size=_SIZE,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
        classes={"class": 10},
        default_labelling="class",
        train_counts={"class": (5000,) * 10},
        test_counts={"class": (1000,) * 10},
    ),
    "cifar100": DataInfo(
        name="cifar100",
        train_size=50_000,
        test_size=10_000,
        size=_SIZE,
        mean=(0.5071, 0.4865, 0.4409),
        std=(0.2673, 0.2564, 0.2762),
        classes={"fine": 100, "coarse": 20},
        default_labelling="fine",
        train_counts={"fine": (500,) * 100, "coarse": (2500,) * 20},
        test_counts={"fine": (100,) * 100, "coarse": (500,) * 20},
        inside={"fine": "coarse"},
    ),
}


@dataclass(frozen=True)
class _Layout:
    """Where a data set's records are: its folder, the files of each split, the labellings of a record's first bytes."""

    folder: str
    files: Mapping[SplitName, tuple[str, ...]]
    labellings: tuple[str, ...]
    archive: str
    pickled: tuple[str, str]  # the pickled distribution: its folder, and a file of it


_LAYOUTS = {
    "cifar10": _Layout(
        "cifar-10-batches-bin",
        {"train": tuple(f"data_batch_{k}.bin" for k in range(1, 6)), "test": ("test_batch.bin",)},
        ("class",),
        "cifar-10-binary.tar.gz",
        ("cifar-10-batches-py", "test_batch"),
    ),
    "cifar100": _Layout(
        "cifar-100-binary",
        {"train": ("train.bin",), "test": ("test.bin",)},
        ("coarse", "fine"),
        "cifar-100-binary.tar.gz",
        ("cifar-100-python", "test"),
    ),
}


REMEDIES = {
    name: f"get {layout.archive} (binary version) from {PAGE}, unpack it, set paths.data to the folder it is in"
    for name, layout in _LAYOUTS.items()
}


def load(name: str, split: SplitName, root: str) -> ArraySplit:
    """A split of `cifar10` or `cifar100` from its files in `root` or the folder of their archive in it; UserError."""
    if not root:
        raise UserError(f"{name} needs its files", "paths.data is empty", REMEDIES[name])
    return read_split(INFOS[name], split, Path(root))


def read_split(info: DataInfo, split: SplitName, root: Path) -> ArraySplit:
    """The split of as many records as `info` says, evenly spread over its files; no other constant is checked here."""
    layout = _LAYOUTS[info.name]
    try:
        paths = _find(info.name, root, layout.files[split])
    except OSError as error:
        raise _damaged(info.name, root, f"cannot be looked into ({error.strerror})") from error
    heads, share = len(layout.labellings), info.size_of(split) // len(paths)
    records = torch.empty(info.size_of(split), heads + _PIXELS, dtype=torch.uint8)
    for path, part in zip(paths, records.split(share), strict=True):
        _read(info, path, part)
        for k, labelling in enumerate(layout.labellings):
            highest, most = int(part[:, k].max()), info.classes[labelling] - 1
            if highest > most:
                raise _damaged(info.name, path, f"holds the {labelling} label {highest}, allowed are 0 to {most}")
    # Pixels stay where they were read to, between the labels: a second copy would be another 150 MB.
    images = records[:, heads:].unflatten(1, (3, _SIZE, _SIZE))
    return ArraySplit(images, {name: records[:, k].clone() for k, name in enumerate(layout.labellings)})


def _find(name: str, root: Path, files: tuple[str, ...]) -> list[Path]:
    """The files in `root`, or in the folder of their archive in it; UserError names another version that is there."""
    layout = _LAYOUTS[name]
    folders = (root, root / layout.folder)
    for folder in folders:
        if (folder / files[0]).exists():
            return [folder / file for file in files]
    given, allowed = f"{name}: no file {files[0]}", f"looked in {folders[0]} and {folders[1]}"
    folder, file = layout.pickled
    if (root / folder).is_dir() or (root / file).is_file():
        allowed += "; the pickled python version is there, which is not read"
    elif (root / layout.archive).is_file():
        allowed += f"; {layout.archive} is there, but not unpacked"
    raise UserError(given, allowed, REMEDIES[name])


def _read(info: DataInfo, path: Path, records: Tensor) -> None:
    """Fill `records` (n, bytes of one) from a file that must hold exactly that."""
    try:
        status, count, length = path.stat(), *records.shape
        if not stat.S_ISREG(status.st_mode):
            raise _damaged(info.name, path, "is not a file")
        if status.st_size != count * length:
            sizes = f"{status.st_size} bytes, not {count * length} ({count} records of {length})"
            raise _damaged(info.name, path, f"holds {sizes}")
        with path.open("rb") as file:
            read = file.readinto(records.numpy().data)
    except OSError as error:
        raise _damaged(info.name, path, f"cannot be read ({error.strerror})") from error
    if read != records.numel():
        raise _damaged(info.name, path, f"ended after {read} bytes while it was read")


def _damaged(name: str, path: Path, fault: str) -> UserError:
    return UserError(f"{name}: {path} {fault}", f"expected {name}'s own file of the binary version", REMEDIES[name])
