"""Arrays as safetensors bytes: equal arrays give equal bytes, and no byte that is read is trusted."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any, Final

import numpy as np
from safetensors.numpy import save

from coupled.store.canonical import canonical_json, strict_json
from coupled.store.errors import StoreError, naming, one_line
from coupled.store.fs import REAL, FileSystem

METADATA_KEY: Final = "coupled"
MAX_HEADER: Final = 1 << 20  # bytes; refused before it is parsed
_MAX_AXES: Final = 64  # numpy's own limit
_MAX_BYTES: Final = (1 << 63) - 1

# BF16 has no numpy type: such a tensor is read as its raw 16-bit patterns
DTYPES: Final[Mapping[str, np.dtype[Any]]] = {
    name: np.dtype(code).newbyteorder("<")
    for name, code in {
        "F64": "f8", "F32": "f4", "F16": "f2", "BF16": "u2", "I64": "i8", "I32": "i4", "I16": "i2", "I8": "i1",
        "U64": "u8", "U32": "u4", "U16": "u2", "U8": "u1", "BOOL": "?",
    }.items()
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor of a file: dtype as safetensors names it, shape, and its bytes [start, stop) in the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a file, checked: tensors in file order, metadata (empty if none), file size in bytes."""

    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, Any]
    size: int


class TensorFile(Mapping[str, np.ndarray]):
    """The arrays of a checked file by name: read-only, mapped into memory when asked for. It holds no file open."""

    def __init__(self, path: Path, header: Header, fs: FileSystem) -> None:
        self.path = path
        self.header = header
        self._fs = fs

    @property
    def metadata(self) -> Mapping[str, Any]:
        return self.header.metadata

    def __getitem__(self, name: str) -> np.ndarray:
        info = self.header.tensors[name]
        with naming(self.path):
            mapped = self._fs.map(self.path)
        if len(mapped) != self.header.size:
            raise StoreError(self.path, "its size changed since its header was read")
        count = math.prod(info.shape)
        return np.frombuffer(mapped, DTYPES[info.dtype], count, info.start).reshape(info.shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self.header.tensors)

    def __len__(self) -> int:
        return len(self.header.tensors)


def to_bytes(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> bytes:
    """The safetensors file of these arrays; equal arrays and metadata give equal bytes in any process.

    The metadata is one canonical JSON object under the single key "coupled": with two keys or more the library
    writes them in the order of a randomised hash map. Raises TypeError for dtypes outside `DTYPES`, ValueError for
    metadata that canonical JSON refuses or a header longer than readers accept.
    """
    plain = {name: _plain(name, array) for name, array in tensors.items()}
    data = save(plain, metadata={METADATA_KEY: canonical_json(dict(metadata)).decode()})
    if int.from_bytes(data[:8], "little") > MAX_HEADER:
        raise ValueError(f"a header of more than {MAX_HEADER} bytes: fewer tensors or less metadata in one file")
    return data


def read_header(path: Path, fs: FileSystem = REAL) -> Header:
    """Parses and checks an untrusted file's header; StoreError names the file and the first thing wrong.

    Tensors must fill the file after the header exactly, without gap or overlap, each the size its shape says.
    """
    with naming(path), fs.reader(path) as file:
        size = file.seek(0, 2)
        file.seek(0)
        length = int.from_bytes(_exactly(path, file, 8), "little")
        if length > MAX_HEADER:
            raise StoreError(path, f"header of {length} bytes, {MAX_HEADER} allowed")
        text = _exactly(path, file, length)
    try:
        return _checked(text, size)
    except ValueError as error:
        raise StoreError(path, f"not a safetensors file of ours: {error}") from None


def open_tensors(path: Path, fs: FileSystem = REAL) -> TensorFile:
    """The file as a mapping of names to lazily mapped, read-only arrays. Raises StoreError like `read_header`."""
    return TensorFile(path, read_header(path, fs), fs)


def _plain(name: str, array: np.ndarray) -> np.ndarray:
    if name == "__metadata__":
        raise ValueError("no tensor can be called __metadata__: the format has that name for itself")
    if array.dtype.newbyteorder("<") not in DTYPES.values():
        raise TypeError(f"tensor {name!r} has dtype {array.dtype}; allowed: {', '.join(sorted(DTYPES))}")
    return np.asarray(
        array, dtype=array.dtype.newbyteorder("="), order="C"
    )  # not ascontiguousarray, which makes 0-d arrays 1-d


def _exactly(path: Path, file: FileIO, count: int) -> bytes:
    data = file.read(count)
    if len(data) != count:
        raise StoreError(path, f"cut short: {len(data)} bytes where {count} are needed")
    return data


def _checked(text: bytes, size: int) -> Header:
    parsed = strict_json(text)
    if not isinstance(parsed, dict):
        raise ValueError("the header is not a JSON object")
    metadata = _metadata(parsed.pop("__metadata__", None))
    base = 8 + len(text)
    infos = {name: _info(name, entry, base) for name, entry in parsed.items()}
    ordered = dict(sorted(infos.items(), key=lambda item: (item[1].start, item[1].stop)))
    end = base
    for name, info in ordered.items():
        if info.start != end:
            raise ValueError(f"tensor {one_line(name)!r} starts at byte {info.start}, the one before ends at {end}")
        end = info.stop
    if end != size:
        raise ValueError(f"the tensors end at byte {end}, the file at {size}")
    return Header(ordered, metadata, size)


def _metadata(given: Any) -> dict[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, dict) or list(given) != [METADATA_KEY] or not isinstance(given[METADATA_KEY], str):
        raise ValueError(f"__metadata__ is not one text under the key {METADATA_KEY!r}")
    metadata = strict_json(given[METADATA_KEY].encode("utf-8"))
    if not isinstance(metadata, dict):
        raise ValueError("the metadata is not a JSON object")
    return metadata


def _info(name: str, entry: Any, base: int) -> TensorInfo:
    label = f"tensor {one_line(name)!r}"
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{label} is not described by dtype, shape and data_offsets alone")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError(f"{label} has an unknown dtype; known: {', '.join(DTYPES)}")
    if not _counts(shape) or len(shape) > _MAX_AXES:
        raise ValueError(f"{label}: the shape is not a list of at most {_MAX_AXES} sizes")
    if not _counts(offsets) or len(offsets) != 2:
        raise ValueError(f"{label}: data_offsets are not two positions")
    # sizes beside a zero count too: numpy refuses them even for an empty array
    if math.prod(axis for axis in shape if axis) * DTYPES[dtype].itemsize > _MAX_BYTES:
        raise ValueError(f"{label}: the shape is larger than any file")
    needed = math.prod(shape) * DTYPES[dtype].itemsize
    if offsets[1] - offsets[0] != needed:
        raise ValueError(f"{label}: the shape needs {needed} bytes, the offsets give {offsets[1] - offsets[0]}")
    return TensorInfo(dtype, tuple(shape), base + offsets[0], base + offsets[1])


def _counts(values: Any) -> bool:
    return isinstance(values, list) and all(type(v) is int and 0 <= v <= _MAX_BYTES for v in values)
