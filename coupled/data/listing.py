"""The files of a data set in image folders: listed by name, none of them opened.

    train/<class>/….jpg        `test` or `val` beside `train` is the test split, with the same classes
    test/<class>/….jpg

Class numbers are the places of the class folders' names in sorted order; ids go class by class, and within a class by
the files' paths. Names are sorted as bytes, so that no locale matters.
"""

import hashlib
import os
from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from coupled.data.splits import SplitName
from coupled.errors import UserError
from coupled.strays import is_of_machines

SUFFIXES = (".jpg", ".jpeg", ".png")
# Pictures that are left out and counted. `.jfif` is JPEG by another name; it stays out because a listing is a run's
# identity (a run of an earlier version could not go on) and torchvision's ImageFolder leaves it out too.
_UNREAD = {
    *(".jfif", ".jpe", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".heic", ".heif"),
    *(".avif", ".jp2", ".jxl", ".ppm", ".pgm"),
}
_MAX_ANNOTATIONS = 4 << 20  # bytes; tiny-ImageNet's own file has a tenth of it

GENERIC = "image-folder"
REMEDIES = {
    "imagenet": "get ILSVRC 2012 from https://image-net.org and set paths.data to the folder of train and val",
    "tiny-imagenet": "unpack http://cs231n.stanford.edu/tiny-imagenet-200.zip and set paths.data to tiny-imagenet-200",
    "mini-imagenet": "set paths.data to the folder of train and test; docs/folders.md says how to make it",
    GENERIC: "set paths.data to the folder of train and test, each with a folder for each class",
}


@dataclass(frozen=True, eq=False)
class Listing:
    """The files of a split: `counts[c]` of them are in `folders[c]`, under the folder `top`.

    Their names, relative to that folder, lie end to end in `names`; `ends` (N,), int64, is where each ends. (As Python
    strings a million names would take ten times the memory, and be copied into every worker.)
    """

    top: Path
    classes: list[str]
    folders: list[str]
    counts: tuple[int, ...]
    names: bytes
    ends: Tensor
    left_out: Counter[str]  # how many pictures of each kind are not listed

    def identity(self) -> bytes:
        """SHA-256 of the classes, their counts and the files' names in their order, whatever the files contain."""
        sha = hashlib.sha256(repr((self.classes, self.counts)).encode(errors="surrogateescape"))
        sha.update(self.ends.numpy().astype("<i8").tobytes())
        sha.update(self.names)
        return sha.digest()

    def path(self, index: int, label: int) -> Path:
        """The file of id `index`, whose class is `label`."""
        start = int(self.ends[index - 1]) if index else 0
        return self.top / self.folders[label] / os.fsdecode(self.names[start : int(self.ends[index])])


@dataclass(frozen=True)
class _Images:
    """The images of one class, as paths below its folder; `left_out`: pictures there of kinds that are not read."""

    names: list[bytes]
    left_out: Counter[str]


def listed(name: str, split: SplitName, root: str) -> Listing:
    """The files of a split of the data set `name`, its classes being those of `train`; UserError if they do not fit."""
    assert name in REMEDIES, f"{name} is no data set of folders"
    top = _given(name, root) / "train"
    classes, outside = _classes(name, top)
    if split == "test":
        top = _test_folder(name, Path(root))
        if name == "tiny-imagenet" and (top / "images").is_dir():
            return _annotated(name, top, classes)
        test_classes, outside = _classes(name, top)
        _check_classes(name, top, classes, test_classes)
    return _joined(top, classes, classes, (_images(name, top / each) for each in classes), outside)


def look(name: str, root: str) -> None:
    """UserError where the folder of a split or its class folders are missing; no image is looked for."""
    _classes(name, _given(name, root) / "train")
    _test_folder(name, Path(root))


def _given(name: str, root: str) -> Path:
    if not root:
        allowed = "it is the folder that holds train and a test split"
        raise UserError(f"{name}: paths.data is not set", allowed, REMEDIES[name])
    return Path(root)


def counted(kinds: Counter[str]) -> str:
    """For people: "12 × .webp, 3 × .bmp"."""
    return ", ".join(f"{count} × {kind}" for kind, count in kinds.most_common())


def _joined(
    top: Path, classes: list[str], folders: list[str], of_classes: Iterable[_Images], outside: Counter[str]
) -> Listing:
    """The listing of a split from the images of its classes, one class at a time, and what lies `outside` of these."""
    counts, names, lengths, left_out = [], bytearray(), array("q"), Counter(outside)
    for images in of_classes:
        counts.append(len(images.names))
        names += b"".join(images.names)
        lengths.extend(map(len, images.names))
        left_out.update(images.left_out)
    ends = torch.frombuffer(lengths, dtype=torch.int64).cumsum(0)
    return Listing(top, classes, folders, tuple(counts), bytes(names), ends, left_out)


def _entries(name: str, folder: Path) -> list[os.DirEntry[str]]:
    """What a folder holds, without hidden names and what file managers and storage devices put there."""
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not (entry.name.startswith(".") or is_of_machines(entry.name))]
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise UserError(f"{name}: cannot list the folder {folder} ({why})", REMEDIES[name]) from error


def _is_image(entry: os.DirEntry[str]) -> bool:
    return entry.name.lower().endswith(SUFFIXES)


def _classes(name: str, folder: Path) -> tuple[list[str], Counter[str]]:
    """The names of the class folders in `folder`, sorted (they may be links), and the images beside them, counted."""
    entries = _entries(name, folder)
    classes = sorted((entry.name for entry in entries if entry.is_dir()), key=os.fsencode)
    outside = sum(_is_image(entry) and not entry.is_dir() for entry in entries)
    if not classes:
        content = "images but no class folders" if outside else "no class folders"
        do = "move each image into a folder named after its class" if outside else REMEDIES[name]
        raise UserError(f"{name}: {folder} holds {content}", f"expected {folder}/<class>/<image>", do)
    return classes, Counter({"image outside class folders": outside} if outside else {})


def _test_folder(name: str, root: Path) -> Path:
    """`val` for the data sets whose own `test` has no labels, else the first of `test` and `val` that is there."""
    places = [root / "val"] if name in ("imagenet", "tiny-imagenet") else [root / "test", root / "val"]
    for place in places:
        if place.is_dir():
            return place
    wanted = " or ".join(map(str, places))
    raise UserError(f"{name}: no folder {wanted}", "the test split lies beside train", REMEDIES[name])


def _check_classes(name: str, folder: Path, train: list[str], test: list[str]) -> None:
    unpaired = sorted(set(train) ^ set(test), key=os.fsencode)
    if unpaired:
        present, absent = ("train", folder) if unpaired[0] in train else (folder, "train")
        given = f"{name}: class {unpaired[0]} is in {present} and not in {absent}"
        raise UserError(given, "both splits must have the same class folders", REMEDIES[name])


def _images(name: str, folder: Path) -> _Images:
    """The images in a class folder and the folders inside it, sorted. None is opened."""
    names, pending, left_out = [], [""], Counter[str]()
    while pending:
        inside = pending.pop()
        for entry in _entries(name, folder / inside):
            # A link to a folder is not followed here: it could lead in a circle.
            if entry.is_dir(follow_symlinks=False):
                pending.append(f"{inside}{entry.name}/")
            elif _is_image(entry):
                if not entry.is_file():
                    raise UserError(f"{name}: {entry.path} is no file", "a dead link or a device", "remove it")
                names.append(os.fsencode(inside + entry.name))
            elif (suffix := Path(entry.name).suffix.lower()) in _UNREAD:
                left_out[suffix] += 1
            elif entry.is_symlink() and entry.is_dir():
                left_out["link to a folder"] += 1
    if not names:
        given = f"{name}: class folder {folder} holds no images" + (f" but {counted(left_out)}" if left_out else "")
        do = "save them anew as one of these" if left_out else "fill it or remove it"
        raise UserError(given, "at least one " + ", ".join(SUFFIXES), do)
    return _Images(sorted(names), left_out)


def _annotated(name: str, folder: Path, classes: list[str]) -> Listing:
    """tiny-ImageNet's own test split: images in one folder, and a line `image TAB class TAB box` for each."""
    path = folder / "val_annotations.txt"
    try:
        with path.open("rb") as file:
            lines = file.read(_MAX_ANNOTATIONS).splitlines()
    except OSError as error:
        raise UserError(f"{name}: cannot read {path} ({error.strerror})", REMEDIES[name]) from error
    labels = dict(line.split(b"\t")[:2] for line in lines if b"\t" in line)
    of_classes = {os.fsencode(each): _Images([], Counter()) for each in classes}
    images = _images(name, folder / "images")
    for image in images.names:
        label = labels.get(image, b"")
        if label not in of_classes:
            of_class = f"the class {os.fsdecode(label)}" if label else "no class"
            given = f"{name}: {path} gives {os.fsdecode(image)} {of_class}"
            raise UserError(given, "expected one that has a folder in train", REMEDIES[name])
        of_classes[label].names.append(image)
    return _joined(folder, classes, ["images"] * len(classes), of_classes.values(), images.left_out)
