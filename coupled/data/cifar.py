"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009) from their binary or their python version, with equal images and labels.

Binary: a file is records without a header: one byte for each labelling, then 3072 bytes of pixels, the planes R, G and
B one after another, each 32 rows of 32. Python: a file is the pickle of a dictionary with the same pixels as an array
(`unpickling` reads it, and calls nothing), and a list of labels for each labelling.

The files are not trusted: before a file is read, it must be exactly as long as its records (as a pickle: longer than
its pixels, and not by much), and labels must be in range.
"""

import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from coupled.data.arrays import ArraySplit
from coupled.data.splits import DataInfo, SplitName
from coupled.data.unpickling import Bytes, RefusedError, unpickle
from coupled.errors import UserError

PAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"
_SIZE = 32
_PIXELS = 3 * _SIZE * _SIZE

# What a pickle holds beside its pixels: of each image a label or two and the name of its file, some 33 bytes in all, in
# three or four instructions; and a little of the whole.
_MOST_BYTES, _BYTES_OF_ALL = 128, 4096
_MOST_INSTRUCTIONS, _INSTRUCTIONS_OF_ALL = 8, 1000

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
class _Version:
    """One of the two forms in which a data set is published: its archive, the folder in it, the files of each split."""

    archive: str
    folder: str
    files: Mapping[SplitName, tuple[str, ...]]

    def places(self, root: Path) -> tuple[Path, Path]:
        """The folders in which the files may be."""
        return root, root / self.folder


@dataclass(frozen=True)
class _Layout:
    """Where a data set's records are. `labellings`: those of a record's first bytes; `keys`: theirs in a pickle."""

    labellings: tuple[str, ...]
    keys: tuple[bytes, ...]
    binary: _Version
    python: _Version


def _layout(names: tuple[str, str], folders: tuple[str, str], train: tuple[str, ...], test: str) -> dict[str, _Version]:
    """The versions, of which the binary one has files that end in `.bin`."""
    binary: dict[SplitName, tuple[str, ...]] = {"train": tuple(f"{n}.bin" for n in train), "test": (f"{test}.bin",)}
    return {
        "binary": _Version(names[0], folders[0], binary),
        "python": _Version(names[1], folders[1], {"train": train, "test": (test,)}),
    }


_LAYOUTS = {
    "cifar10": _Layout(
        ("class",),
        (b"labels",),
        **_layout(
            ("cifar-10-binary.tar.gz", "cifar-10-python.tar.gz"),
            ("cifar-10-batches-bin", "cifar-10-batches-py"),
            tuple(f"data_batch_{k}" for k in range(1, 6)),
            "test_batch",
        ),
    ),
    "cifar100": _Layout(
        ("coarse", "fine"),
        (b"coarse_labels", b"fine_labels"),
        **_layout(
            ("cifar-100-binary.tar.gz", "cifar-100-python.tar.gz"),
            ("cifar-100-binary", "cifar-100-python"),
            ("train",),
            "test",
        ),
    ),
}


REMEDIES = {
    name: f"get {layout.binary.archive} or {layout.python.archive} from {PAGE}, unpack it, "
    "set paths.data to the folder it is in"
    for name, layout in _LAYOUTS.items()
}


def load(name: str, split: SplitName, root: str) -> ArraySplit:
    """A split of `cifar10` or `cifar100` from its files in `root` or the folder of their archive in it; UserError."""
    return read_split(INFOS[name], split, _given(name, root))


def look(name: str, root: str) -> None:
    """UserError where files are missing; none is read."""
    for split in ("train", "test"):
        _found(name, _given(name, root), split)


def _given(name: str, root: str) -> Path:
    if not root:
        raise UserError(f"{name} needs its files", "paths.data is empty", REMEDIES[name])
    return Path(root)


def read_split(info: DataInfo, split: SplitName, root: Path) -> ArraySplit:
    """The split of as many records as `info` says, evenly spread over its files; no other constant is checked here."""
    layout = _LAYOUTS[info.name]
    version, folder = _found(info.name, root, split)
    paths, heads = [folder / file for file in version.files[split]], len(layout.labellings)
    records = torch.empty(info.size_of(split), heads + _PIXELS, dtype=torch.uint8)
    read = _read if version is layout.binary else _read_pickle
    for path, part in zip(paths, records.split(info.size_of(split) // len(paths)), strict=True):
        read(info, path, part)
        for k, labelling in enumerate(layout.labellings):
            _check_label(info, path, labelling, int(part[:, k].max()))
    # Pixels stay where they were read to, between the labels: a second copy would be another 150 MB.
    images = records[:, heads:].unflatten(1, (3, _SIZE, _SIZE))
    return ArraySplit(images, {name: records[:, k].clone() for k, name in enumerate(layout.labellings)})


def _found(name: str, root: Path, split: SplitName) -> tuple[_Version, Path]:
    try:
        return _find(name, root, split)
    except OSError as error:
        raise _damaged(name, root, f"cannot be looked into ({error.strerror})") from error


def _find(name: str, root: Path, split: SplitName) -> tuple[_Version, Path]:
    """The version that is there, and the folder of its files; the binary one where both are, as it is read faster."""
    layout = _LAYOUTS[name]
    versions = (layout.binary, layout.python)
    for version in versions:
        for folder in version.places(root):
            # A folder of images, too, has a folder `train`: only a file is taken for a pickle.
            first = folder / version.files[split][0]
            if first.exists() if version is layout.binary else first.is_file():
                return version, folder
    files = " or ".join(version.files[split][0] for version in versions)
    given, allowed = f"{name}: no file {files}", f"looked in {root}, {' and '.join(v.folder for v in versions)} in it"
    packed = [version.archive for version in versions if (root / version.archive).is_file()]
    if packed:
        allowed += f"; {packed[0]} is there, but not unpacked"
    raise UserError(given, allowed, REMEDIES[name])


def _read(info: DataInfo, path: Path, records: Tensor) -> None:
    """Fill `records` (n, bytes of one) from a file that must hold exactly that."""
    count, length = records.shape
    size = _size(info, path)
    if size != count * length:
        raise _damaged(info.name, path, f"holds {size} bytes, not {count * length} ({count} records of {length})")
    _fill(info, path, records.numpy().data)


def _read_pickle(info: DataInfo, path: Path, records: Tensor) -> None:
    """Fill `records` (n, bytes of one) from the pickle of a dictionary that must hold as many images and labels."""
    layout, count = _LAYOUTS[info.name], len(records)
    size, least = _size(info, path), count * _PIXELS
    most = least + count * _MOST_BYTES + _BYTES_OF_ALL
    if not least < size <= most:
        raise _damaged(info.name, path, f"holds {size} bytes, not {least} to {most}", "python")
    content = memoryview(bytearray(size))
    _fill(info, path, content)
    try:
        values = unpickle(content, count * _MOST_INSTRUCTIONS + _INSTRUCTIONS_OF_ALL)
        records[:, len(layout.keys) :] = torch.from_numpy(_pixels(values.get(b"data"), count))
        for k, (labelling, key) in enumerate(zip(layout.labellings, layout.keys, strict=True)):
            labels = _labels(values.get(key), key, count)
            _check_label(info, path, labelling, min(labels), "python")  # before numbers become bytes
            _check_label(info, path, labelling, max(labels), "python")
            records[:, k] = torch.tensor(labels, dtype=torch.uint8)
    except RefusedError as error:
        raise _damaged(info.name, path, str(error), "python") from error


def _pixels(value: object, count: int) -> np.ndarray:
    """The images of a pickle, uint8 (count, 3072)."""
    if not isinstance(value, Bytes) or value.content is None or value.shape != (count, _PIXELS):
        shape = value.shape if isinstance(value, Bytes) else "nothing"
        raise RefusedError(f"holds {shape} as its data, not an array of bytes {(count, _PIXELS)}")
    return np.frombuffer(value.content, dtype=np.uint8).reshape(value.shape, order="F" if value.by_columns else "C")


def _labels(value: object, key: bytes, count: int) -> list[int]:
    """The labels that a pickle holds under a key, as many as there are images."""
    integers = [each for each in value if type(each) is int] if isinstance(value, list) else []
    if not isinstance(value, list) or not len(value) == len(integers) == count:
        raise RefusedError(f"holds no list of {count} integers as its {key.decode()}")
    return integers


def _check_label(info: DataInfo, path: Path, labelling: str, label: int, version: str = "binary") -> None:
    most = info.classes[labelling] - 1
    if not 0 <= label <= most:
        raise _damaged(info.name, path, f"holds the {labelling} label {label}, allowed are 0 to {most}", version)


def _size(info: DataInfo, path: Path) -> int:
    """The bytes of what must be a file."""
    try:
        status = path.stat()
    except OSError as error:
        raise _damaged(info.name, path, f"cannot be read ({error.strerror})") from error
    if not stat.S_ISREG(status.st_mode):
        raise _damaged(info.name, path, "is not a file")
    return status.st_size


def _fill(info: DataInfo, path: Path, target: memoryview) -> None:
    """Read the first bytes of a file, as many as `target` has."""
    try:
        with path.open("rb") as file:
            read = file.readinto(target)
    except OSError as error:
        raise _damaged(info.name, path, f"cannot be read ({error.strerror})") from error
    if read != target.nbytes:
        raise _damaged(info.name, path, f"ended after {read} bytes while it was read")


def _damaged(name: str, path: Path, fault: str, version: str = "binary") -> UserError:
    return UserError(f"{name}: {path} {fault}", f"expected {name}'s own file of the {version} version", REMEDIES[name])
