"""SVHN, cropped digits (Netzer et al. 2011), from its MATLAB files.

A file holds X, uint8 (32, 32, 3, N): row, column, channel, image; and y (N, 1), 1 … 10, of which 10 is the digit 0.
The files are not trusted. scipy's reader takes a number in the file for the type of an array's bytes, and crashes the
process where there is no such type. So the file is checked here first: it has format 5 (6 and 7 are the same), holds X
and y once each, and their shapes, types and lengths in bytes are right, in compressed arrays as well.
"""

import io
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from coupled.data.arrays import ArraySplit
from coupled.data.splits import DataInfo, SplitName
from coupled.errors import UserError

PAGE = "http://ufldl.stanford.edu/housenumbers/"
_SIZE = 32

# Numbers of MATLAB's format 5: classes of arrays, types of stored elements.
_DOUBLE, _UINT8 = 6, 9
_INT8, _BYTES, _INT32, _UINT32, _DOUBLES, _MATRIX, _COMPRESSED = 1, 2, 5, 6, 9, 14, 15
_HEADER = 128  # bytes before the first array
_HEAD = 256  # bytes of an array that hold all that comes before its elements

info = DataInfo(
    name="svhn",
    train_size=73_257,
    test_size=26_032,
    size=_SIZE,
    mean=(0.4377, 0.4438, 0.4728),
    std=(0.1980, 0.2010, 0.1970),
    classes={"class": 10},
    default_labelling="class",
    train_counts={"class": (4948, 13861, 10585, 8497, 7458, 6882, 5727, 5595, 5045, 4659)},
    test_counts={"class": (1744, 5099, 4149, 2882, 2523, 2384, 1977, 2019, 1660, 1595)},
)

REMEDIES = {info.name: f"get train_32x32.mat and test_32x32.mat from {PAGE} and set paths.data to their folder"}


def load(split: SplitName, root: str) -> ArraySplit:
    """A split from its file in the directory `root`; UserError if it is missing or damaged."""
    return read_split(info, split, _given(root))


def look(root: str) -> None:
    """UserError where files are missing; none is read."""
    for split in ("train", "test"):
        path = _given(root) / f"{split}_32x32.mat"
        if not path.is_file():
            raise UserError(f"svhn: no file {path}", "looked for it there only", REMEDIES[info.name])


def _given(root: str) -> Path:
    if not root:
        raise UserError("svhn needs its files", "paths.data is empty", REMEDIES[info.name])
    return Path(root)


def read_split(known: DataInfo, split: SplitName, root: Path) -> ArraySplit:
    """The split in `root`/`split`_32x32.mat, with as many images as `known` says; no other constant is checked here."""
    from scipy import io as scipy_io  # here: training on other data loads no scipy

    path = root / f"{split}_32x32.mat"
    try:
        if not path.exists():
            raise UserError(f"svhn: no file {path}", "looked for it there only", REMEDIES[info.name])
        if not path.is_file():
            raise _damaged(path, "is not a file")
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # where scipy only warns, the file is damaged as well
            images, digits = _read(scipy_io, path, known.size_of(split))
    except UserError:
        raise
    except Exception as error:  # the reader's own errors on damaged files are of a dozen kinds
        reason = "it ends too early" if isinstance(error, struct.error) else str(error) or type(error).__name__
        raise _damaged(path, f"cannot be read ({reason.splitlines()[0]})") from error
    if digits.min() < 1 or digits.max() > 10 or (digits != digits.round()).any():
        raise _damaged(path, "holds labels other than 1 to 10")
    return ArraySplit(images, {"class": digits.astype(np.int64) % 10})


def _read(scipy_io: Any, path: Path, count: int) -> tuple[np.ndarray, np.ndarray]:
    """X as (N, 3, 32, 32) and y (N,) of a file that must hold them for `count` images."""
    with path.open("rb") as file:
        arrays = _arrays(file)
    pixels = 3 * _SIZE * _SIZE * count
    # MATLAB stores doubles as bytes where nothing is lost, and scipy then returns bytes.
    allowed = {
        "X": [_Array("X", _UINT8, (_SIZE, _SIZE, 3, count), _BYTES, pixels)],
        "y": [
            _Array("y", _UINT8, (count, 1), _BYTES, count),
            _Array("y", _DOUBLE, (count, 1), _BYTES, count),
            _Array("y", _DOUBLE, (count, 1), _DOUBLES, 8 * count),
        ],
    }
    for name, variants in allowed.items():
        named = [array for array in arrays if array.name == name]
        if len(named) != 1 or named[0] not in variants:
            given = " and ".join(map(str, named)) or "not at all"
            raise _damaged(path, f"holds {name} {given}, not {variants[0]}")
    loaded = scipy_io.loadmat(str(path), appendmat=False, variable_names=list(allowed))
    return loaded["X"].transpose(3, 2, 0, 1), loaded["y"][:, 0]


class _Array(NamedTuple):
    """What an array's first bytes tell: its class, with flags (complex, logical), and how its elements are stored."""

    name: str
    kind: int
    shape: tuple[int, ...]
    stored: int
    length: int  # in bytes

    def __str__(self) -> str:
        kind = {_DOUBLE: "double", _UINT8: "uint8"}.get(self.kind, f"class {self.kind:#x}")
        return f"{self.shape} {kind} in {self.length} bytes of type {self.stored}"


def _arrays(file: BinaryIO) -> list[_Array]:
    """The arrays of a file of format 5. struct.error, zlib.error or ValueError where it is not one."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    header = file.read(_HEADER)
    order = {b"\0\1IM": "<", b"\1\0MI": ">"}.get(header[-4:])
    if len(header) != _HEADER or order is None:
        raise ValueError("it is not of MATLAB's format 5 to 7")
    arrays = []
    while start := file.read(8):
        kind, length = struct.unpack(order + "2I", start)
        following, body = file.tell() + length, file.read(min(length, 16 * _HEAD))
        if following > size:
            raise ValueError("it ends inside an array")
        packed = kind == _COMPRESSED
        arrays.append(_head(zlib.decompressobj().decompress(body, _HEAD) if packed else start + body, order))
        file.seek(following)
    return arrays


def _head(array: bytes, order: str) -> _Array:
    """What the first bytes of an array tell. An array is a row of parts, each behind a tag: its type and its length."""
    kinds, spans, at = [], [], 8
    for _ in range(4):  # flags, shape, name, elements
        kind, length = struct.unpack_from(order + "2I", array, at)
        small = kind >> 16  # a part of up to four bytes is inside its tag, and its length in the type's upper half
        kind, length, start = (kind & 0xFFFF, small, at + 4) if small else (kind, length, at + 8)
        kinds.append(kind)
        spans.append(slice(start, start + length))
        at = at + 8 if small else start + -(-length // 8) * 8
    flags, shape, name, elements = spans
    (matrix,) = struct.unpack_from(order + "I", array)
    if matrix != _MATRIX or kinds[:3] != [_UINT32, _INT32, _INT8]:
        raise ValueError("it holds more than arrays")
    (kind, _) = struct.unpack(order + "2I", array[flags])
    sizes = struct.unpack(f"{order}{(shape.stop - shape.start) // 4}i", array[shape])
    return _Array(array[name].decode("latin-1"), kind, sizes, kinds[3], elements.stop - elements.start)


def _damaged(path: Path, fault: str) -> UserError:
    return UserError(f"svhn: {path} {fault}", "expected SVHN's own file of cropped digits", REMEDIES[info.name])
