"""Image sets of Hugging Face from disk: what `save_to_disk` of the library `datasets` writes, or Parquet files.

    train/dataset_info.json, train/data-00000-of-00001.arrow …      test, or validation, beside train
    train-00000-of-00001.parquet …                                  in the folder itself or in data; or train/….parquet

A table has a column of encoded images and any number of columns of class numbers, which are the labellings. pyarrow
alone reads it: `datasets` would look for newer files on the network, keep copies in a cache and bring a hundred MB.
The tables are not trusted: they are validated as a whole, and images are decoded as those of folders are.
"""

import hashlib
import importlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from coupled.data.decode import pixels
from coupled.data.pictures import Pictures
from coupled.data.splits import DataInfo, SplitName
from coupled.data.unfit import Unfit
from coupled.errors import RunStopped, UserError

NAME = "hugging-face"
REMEDY = "set paths.data to a folder of save_to_disk, or of train-….parquet and test-….parquet"
_SPLITS: dict[SplitName, tuple[str, ...]] = {"train": ("train",), "test": ("test", "validation", "val")}
_MOST_JSON = 16 << 20  # bytes; the names of 20,000 classes take 2 MB
# How much larger than its file a table may be: coded images cannot be packed, so a true one is hardly larger.
_LARGER, _LARGER_BY = 4, 64 << 20
_HASHED = 4 << 30  # bytes of encoded images, which take some six seconds
_ROWS = 64  # rows of a Parquet file that are unpacked before their size is looked at


@dataclass(frozen=True)
class _Columns:
    """What a table says of its columns: that of the images, and the names of the classes of each labelling."""

    image: str
    classes: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class _Table:
    """The columns of a split, from all of its files in their order; `images` None where they were not read."""

    columns: _Columns
    labels: Mapping[str, Tensor]
    images: Any
    count: int


class TableSplit(Pictures):
    """A split of encoded images in tables: those of save_to_disk stay in their file, those of Parquet are held."""

    def __init__(self, table: _Table, folder: Path) -> None:
        self._name, self._table, self._folder = NAME, table, folder

    def __len__(self) -> int:
        return self._table.count

    def labels(self, labelling: str) -> Tensor:
        if labelling not in self._table.labels:
            allowed = ", ".join(self._table.labels) or "none"
            raise UserError(f"{NAME} has no labelling {labelling!r}", f"allowed: {allowed}", "name one of them")
        return self._table.labels[labelling]

    def class_name(self, labelling: str, number: int) -> str:
        return self._table.columns.classes[labelling][number]

    def fingerprint(self) -> str | None:
        """SHA-256 (hex) of the images' encoded bytes, each with its length; None beyond 4 GiB, as of a folder: it would
        take minutes. The labels are in the config's listing.
        """
        if sum(chunk.nbytes for chunk in self._table.images.chunks) > _HASHED:
            return None
        sha = hashlib.sha256()
        for chunk in self._table.images.chunks:
            for image in chunk:
                encoded = image.as_buffer()
                sha.update(encoded.size.to_bytes(8, "little"))
                sha.update(encoded)
        return sha.hexdigest()

    def _picture(self, index: int) -> Tensor:
        try:
            return torch.from_numpy(pixels(self._table.images[index].as_py())).permute(2, 0, 1)
        except Unfit as reason:
            raise RunStopped(f"image {index} of {self._folder} {reason}; {reason.do}") from reason


def load(split: SplitName, root: str) -> TableSplit:
    """A split of the tables in `root`; UserError where they are missing, damaged or hold no images."""
    paths = _find(split, root)
    return TableSplit(_read(paths, images=True), paths[0].parent)


def scan(root: str) -> DataInfo:
    """What the tables in `root` hold, from their labels alone.

    Its `size` is 224 and `mean` and `std` are ImageNet's, as for a folder of images.
    """
    tables: dict[SplitName, _Table] = {split: _read(_find(split, root), images=False) for split in ("train", "test")}
    train, test = tables["train"], tables["test"]
    if train.columns.classes != test.columns.classes:
        raise UserError(f"{NAME}: the splits in {root} have other classes", "both must have the same", REMEDY)
    sha = hashlib.sha256(repr([(t.count, *t.columns.classes.items()) for t in (train, test)]).encode())
    for table in (train, test):
        for labels in table.labels.values():
            sha.update(labels.numpy().astype("<i8").tobytes())
    classes = {name: len(names) for name, names in train.columns.classes.items()}
    counts = {
        split: {name: tuple(torch.bincount(table.labels[name], minlength=classes[name]).tolist()) for name in classes}
        for split, table in tables.items()
    }
    return DataInfo(
        name=NAME,
        train_size=train.count,
        test_size=test.count,
        size=224,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        classes=classes,
        default_labelling=next(iter(classes), ""),
        in_memory=False,
        listing=sha.hexdigest(),
        train_counts=counts["train"],
        test_counts=counts["test"],
    )


def look(root: str) -> None:
    """UserError where files are missing; none is read."""
    for split in _SPLITS:
        _find(split, root)


def _find(split: SplitName, root: str) -> list[Path]:
    """The files of a split in their order: of save_to_disk as its state names them, Parquet files by name."""
    if not root:
        raise UserError(f"{NAME}: paths.data is not set", "it is the folder of the tables", REMEDY)
    for name in _SPLITS[split]:
        folder = Path(root) / name
        if (folder / "dataset_info.json").is_file():
            return _saved(folder)
        for pattern in (f"{name}-*.parquet", f"{name}.parquet", f"data/{name}-*.parquet", f"{name}/*.parquet"):
            if paths := sorted(Path(root).glob(pattern), key=os.fsencode):
                _check_whole(paths)
                return paths
    wanted = " or ".join(_SPLITS[split])
    raise UserError(f"{NAME}: no {wanted} split in {root}", f"looked for folders and Parquet files {wanted}", REMEDY)


def _check_whole(paths: Sequence[Path]) -> None:
    """UserError where files are numbered "00001-of-00003" and some of these are not there."""
    numbered = [match for path in paths if (match := re.search(r"-(\d+)-of-(\d+)\.parquet$", path.name))]
    numbers, counts = [int(match[1]) for match in numbered], {int(match[2]) for match in numbered}
    if numbered and (len(numbered) != len(paths) or counts != {len(paths)} or numbers != list(range(len(paths)))):
        raise _damaged(paths[0].parent, f"holds {len(paths)} files like {paths[0].name}, which are not all of one set")


def _saved(folder: Path) -> list[Path]:
    """The files that the state of a saved split names, all of which must lie in its folder."""
    state = _json(folder / "state.json")
    files = [each.get("filename") if isinstance(each, dict) else None for each in _listed(state.get("_data_files"))]
    names = [file for file in files if isinstance(file, str) and Path(file).name == file and file.endswith(".arrow")]
    if not names or len(names) != len(files):
        raise _damaged(folder / "state.json", "names no files of its folder")
    if state.get("_indices_files"):
        raise _damaged(folder, "is saved with a selection of rows", "call flatten_indices() before save_to_disk")
    return [folder / name for name in names]


def _read(paths: list[Path], *, images: bool) -> _Table:
    """A split's table; with `images` False only its labels, which of Parquet files are read alone."""
    arrow = _library()
    try:
        columns = _columns(arrow, paths[0])
        for path in paths[1:]:
            if _columns(arrow, path) != columns:
                raise _damaged(path, f"has other columns or class names than {paths[0].name}")
        tables = [_content(arrow, path, columns, images=images) for path in paths]
        table = arrow.concat_tables(tables)
        table.validate(full=True)
        labels = {name: _labels(paths[0], name, table[name], len(of)) for name, of in columns.classes.items()}
        encoded = _encoded(arrow, paths[0], table[columns.image]) if images else None
    except UserError:
        raise
    except Exception as error:  # pyarrow's own errors on damaged files are of a dozen kinds
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise _damaged(paths[0].parent, f"cannot be read ({reason[:200]!a})") from error
    if not table.num_rows:
        raise _damaged(paths[0].parent, "holds no images")
    return _Table(columns, labels, encoded, table.num_rows)


def _columns(arrow: Any, path: Path) -> _Columns:
    """The columns of images and of class numbers, as `datasets` describes them beside a table or in it."""
    if path.suffix == ".arrow":
        features = _json(path.parent / "dataset_info.json").get("features")
    else:
        described = (arrow.parquet.read_schema(path).metadata or {}).get(b"huggingface", b"{}")
        features = _mapping(_mapping(json.loads(described)).get("info")).get("features")
    features = {name: _mapping(feature) for name, feature in _mapping(features).items()}
    images = [name for name, feature in features.items() if feature.get("_type") == "Image"]
    if len(images) != 1:
        given = f"describes {len(images)} columns of images" + (f" ({', '.join(images)})" if images else "")
        raise _damaged(path, given, "save it anew with exactly one column of the type Image")
    classes = {
        name: tuple(map(str, _listed(feature.get("names"))))
        for name, feature in features.items()
        if feature.get("_type") == "ClassLabel"
    }
    if empty := [name for name, names in classes.items() if not names]:
        raise _damaged(path, f"has no names of the classes of {empty[0]!a}")
    return _Columns(images[0], classes)


def _content(arrow: Any, path: Path, columns: _Columns, *, images: bool) -> Any:
    """The wanted columns of one file. Those of save_to_disk are mapped, not read."""
    wanted = [*columns.classes, *([columns.image] if images or not columns.classes else [])]
    most = _LARGER * path.stat().st_size + _LARGER_BY
    if path.suffix == ".arrow":
        with arrow.memory_map(str(path)) as file:
            names = arrow.ipc.open_stream(file).schema.names
            file.seek(0)
            # Other columns are not unpacked, and of these no more than one batch beyond what is allowed.
            options = arrow.ipc.IpcReadOptions(included_fields=[names.index(name) for name in wanted])
            stream = arrow.ipc.open_stream(file, options=options)
            batches, size = [], 0
            for batch in stream:
                size += batch.nbytes
                if size > most:
                    raise _damaged(path, f"unpacks to more than {most} bytes")
                batches.append(batch)
            table = arrow.Table.from_batches(batches, stream.schema).select(wanted)
    else:
        batches, size = [], 0
        with arrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(_ROWS if columns.image in wanted else 1 << 16, columns=wanted):
                size += batch.nbytes
                if size > most:
                    raise _damaged(path, f"unpacks to more than {most} bytes")
                batches.append(batch.select(wanted))
            schema = arrow.schema([file.schema_arrow.field(name) for name in wanted])
        table = arrow.Table.from_batches(batches, schema)
    if table.nbytes > most:
        raise _damaged(path, f"unpacks to more than {most} bytes")
    return table.replace_schema_metadata(None)


def _labels(path: Path, name: str, column: Any, classes: int) -> Tensor:
    if column.null_count or not str(column.type).startswith("int"):
        raise _damaged(path, f"has rows without a class number in {name!a}", "leave them out, then save it anew")
    labels = torch.tensor(column.to_numpy(), dtype=torch.int64)
    for label in (int(labels.min()), int(labels.max())) if len(labels) else ():
        if not 0 <= label < classes:
            raise _damaged(path, f"holds the label {label} in {name!a}, allowed are 0 to {classes - 1}")
    return labels


def _encoded(arrow: Any, path: Path, column: Any) -> Any:
    """The bytes of the images' files, one after another."""
    if not arrow.types.is_struct(column.type) or column.type.get_field_index("bytes") < 0:
        raise _damaged(path, f"has images of the type {str(column.type)[:80]!a}, not of bytes and path")
    encoded = importlib.import_module("pyarrow.compute").struct_field(column, "bytes")
    if not (arrow.types.is_binary(encoded.type) or arrow.types.is_large_binary(encoded.type)) or encoded.null_count:
        raise _damaged(path, "holds paths of images and not their bytes", "save it anew with save_to_disk")
    return encoded


def _json(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return _mapping(json.loads(file.read(_MOST_JSON)))
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no JSON"
        raise _damaged(path, f"cannot be read ({reason})") from error


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _library() -> Any:
    """pyarrow, with its modules for Parquet files and streams."""
    try:
        library = importlib.import_module("pyarrow")
        importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise UserError(f"{NAME} needs pyarrow", "it is not installed here", "pip install 'coupled[hf]'") from None
    return library


def _damaged(path: Path, fault: str, do: str = REMEDY) -> UserError:
    return UserError(f"{NAME}: {path} {fault}", "expected an image set as the library datasets saves it", do)
