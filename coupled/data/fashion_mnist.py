"""Fashion-MNIST (Xiao et al. 2017) from its IDX files, plain or gzipped.

An IDX file is a header of big-endian 32-bit words (a magic number 0x08nn: bytes in nn dimensions; then the
dimensions) and the bytes themselves. The files are not trusted: the header must be the expected one before anything is
allocated, and never more than one byte beyond the expected length is read or decompressed.
"""

import gzip
import zlib
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from coupled.data.splits import DataInfo, ImageSplit, Split, content_digest
from coupled.errors import UserError

DEFAULT_ROOT = "/usr/share/datasets/fashion-mnist"  # where the Debian package puts the files

info = DataInfo(
    name="fashion-mnist",
    train_size=60_000,
    test_size=10_000,
    size=28,
    mean=(0.2860, 0.2860, 0.2860),
    std=(0.3530, 0.3530, 0.3530),
    classes={"class": 10},
    default_labelling="class",
    train_counts={"class": (6000,) * 10},
    test_counts={"class": (1000,) * 10},
)

REMEDIES = {
    info.name: "apt-get install dataset-fashion-mnist, or set paths.data to the directory of the four IDX files"
}


class FashionMnist(ImageSplit):
    """A split held as grey bytes (N, 28, 28); the one channel is repeated when images are asked for."""

    is_array = True

    def __init__(self, grey: Tensor, classes: Tensor) -> None:
        self._grey, self._classes = grey, classes

    def __len__(self) -> int:
        return len(self._grey)

    def images(self, ids: Tensor) -> Tensor:
        return self._grey.index_select(0, ids).unsqueeze(1).repeat(1, 3, 1, 1)

    def labels(self, labelling: str) -> Tensor:
        if labelling not in info.classes:
            raise UserError(f"fashion-mnist has no labelling {labelling!r}", "allowed is class", "write class")
        return self._classes.to(torch.int64)

    def fingerprint(self) -> str:
        return content_digest({"images": self._grey, "labels.class": self._classes})


def load(split: Literal["train", "test"], root: str) -> Split:
    """A split from the files in the directory `root`; UserError if they are missing or damaged."""
    prefix, count = {"train": ("train", info.train_size), "test": ("t10k", info.test_size)}[split]
    return read_split(Path(root), prefix, count)


def look(root: str) -> None:
    """UserError where files are missing; none is read."""
    for prefix in ("train", "t10k"):
        for kind in ("images-idx3", "labels-idx1"):
            _find(Path(root), f"{prefix}-{kind}-ubyte")


def read_split(root: Path, prefix: str, count: int) -> FashionMnist:
    """The split of `count` samples in `root`/`prefix`-{images-idx3,labels-idx1}-ubyte, each plain or with .gz."""
    grey = _read_idx(_find(root, f"{prefix}-images-idx3-ubyte"), (count, info.size, info.size))
    path = _find(root, f"{prefix}-labels-idx1-ubyte")
    classes = _read_idx(path, (count,))
    if int(classes.max()) >= info.classes["class"]:
        raise _damaged(path, f"holds the label {int(classes.max())}, allowed are 0 to {info.classes['class'] - 1}")
    return FashionMnist(grey, classes)


def _find(root: Path, name: str) -> Path:
    for path in (root / name, root / f"{name}.gz"):
        if path.is_file():
            return path
    raise UserError(f"fashion-mnist: no file {root / name}", "looked for it plain and with .gz", REMEDIES[info.name])


def _damaged(path: Path, fault: str) -> UserError:
    return UserError(f"fashion-mnist: {path} {fault}", "expected Fashion-MNIST's own file", REMEDIES[info.name])


def _read_idx(path: Path, shape: tuple[int, ...]) -> Tensor:
    """The bytes of an IDX file that must have `shape`: uint8."""
    expected = (0x0800 + len(shape), *shape)
    size = torch.Size(shape).numel()
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            header = file.read(4 * len(expected))
            words = tuple(int.from_bytes(header[i : i + 4], "big") for i in range(0, len(header), 4))
            if words != expected or len(header) != 4 * len(expected):
                raise _damaged(path, f"begins with {_named(words)}, not {_named(expected)}")
            body = file.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(path, f"cannot be read ({error})") from error
    if len(body) != size:
        raise _damaged(path, f"holds {'more' if len(body) > size else len(body)} bytes after its header, not {size}")
    return torch.frombuffer(bytearray(body), dtype=torch.uint8).view(shape)


def _named(header: tuple[int, ...]) -> str:
    """A header as its magic number in hexadecimal and its dimensions."""
    return " ".join([f"{header[0]:#06x}", *map(str, header[1:])]) if header else "nothing"
