"""Data sets in image folders: ImageNet, tiny-ImageNet, mini-ImageNet, and any other in a folder for each class.

    train/<class>/….jpg        `test` or `val` beside `train` is the test split, with the same classes
    test/<class>/….jpg

Class numbers are the places of the class folders' names in sorted order; ids go class by class, and within a class by
the files' paths. Names are sorted as bytes, so that no locale matters. A split is listed when it is loaded, without
touching the files themselves; an image is decoded each time it is asked for.
"""

import hashlib
import os
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from coupled import views
from coupled.data.base import DataInfo, FileSplit, SplitName
from coupled.data.decode import decode, evaluation_view, shown
from coupled.errors import RunStopped, UserError
from coupled.strays import is_of_machines
from coupled.views import Recipe

_SUFFIXES = (".jpg", ".jpeg", ".png")
# Pictures that are left out and counted. `.jfif` is JPEG by another name; it stays out because a listing is a run's
# identity (a run of an earlier version could not go on) and torchvision's ImageFolder leaves it out too.
_UNREAD = {
    *(".jfif", ".jpe", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".heic", ".heif"),
    *(".avif", ".jp2", ".jxl", ".ppm", ".pgm"),
}
_MAX_ANNOTATIONS = 4 << 20  # bytes; tiny-ImageNet's own file has a tenth of it
GENERIC = "image-folder"


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

_REMEDIES = {
    "imagenet": "get ILSVRC 2012 from https://image-net.org and set paths.data to the folder of train and val",
    "tiny-imagenet": "unpack http://cs231n.stanford.edu/tiny-imagenet-200.zip and set paths.data to tiny-imagenet-200",
    "mini-imagenet": "set paths.data to the folder of train and test; docs/folders.md says how to make it",
    GENERIC: "set paths.data to the folder of train and test, each with a folder for each class",
}


@dataclass(frozen=True, eq=False)
class _Listing:
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
    left_out: Counter[str]  # of the pictures that are not listed, how many there are of each kind

    def identity(self) -> bytes:
        """SHA-256 of the classes, their counts and the files' names in their order; contents are not looked at."""
        sha = hashlib.sha256(repr((self.classes, self.counts)).encode(errors="surrogateescape"))
        sha.update(self.ends.numpy().astype("<i8").tobytes())
        sha.update(self.names)
        return sha.digest()

    def path(self, index: int, label: int) -> Path:
        start = int(self.ends[index - 1]) if index else 0
        return self.top / self.folders[label] / os.fsdecode(self.names[start : int(self.ends[index])])


class Folder(FileSplit):
    """A split whose images lie in files."""

    def __init__(self, name: str, listing: _Listing) -> None:
        self._name, self._listing = name, listing
        self.left_out = _counted(listing.left_out)
        counts = torch.tensor(listing.counts)
        self._labels = torch.arange(len(counts)).repeat_interleave(counts)

    def __len__(self) -> int:
        return len(self._labels)

    def labels(self, labelling: str) -> Tensor:
        if labelling != "class":
            raise UserError(f"{self._name} has no labelling {labelling!r}", "allowed is class", "write class")
        return self._labels

    def class_name(self, labelling: str, number: int) -> str:
        return shown(self._listing.classes[number])

    def path(self, index: int) -> Path:
        """The file of id `index`."""
        return self._listing.path(index, int(self._labels[index]))

    def crops(self, ids: Tensor, words: Tensor, recipe: Recipe, size: int) -> Tensor:
        made = torch.empty(2, len(ids), 3, size, size)
        for row, image in enumerate(self._images(ids)):
            made[:, row] = views.crop(image[None], words[:, row : row + 1], recipe, size)
        return made.flatten(0, 1)

    def plain(self, ids: Tensor, size: int) -> Tensor:
        made = torch.empty(len(ids), 3, size, size)
        for row, image in enumerate(self._images(ids)):
            made[row] = evaluation_view(image, size)
        return made

    def _images(self, ids: Tensor) -> Iterator[Tensor]:
        """Each image, uint8 (3, H, W) of its own size."""
        for index in ids.tolist():
            try:
                yield decode(self.path(index))
            except RunStopped as error:
                raise RunStopped(f"{self._name}: {error}") from error


def load(name: str, split: SplitName, root: str) -> FileSplit:
    """A split of the files in `root`; UserError if they are missing, or not those of the data set `name`."""
    listing = _listed(name, split, root)
    if name in INFOS and (found := len(listing.classes)) != (expected := INFOS[name].classes["class"]):
        raise UserError(f"{name}: {found} class folders in {split}", f"expected {expected}", _REMEDIES[name])
    return Folder(name, listing)


def remedy(name: str) -> str:
    """How to get the files of a data set."""
    return _REMEDIES[name]


def scan(root: str) -> DataInfo:
    """What the folders in `root` hold, from their listing alone: the data set `image-folder`.

    Its `size` is 224 and `mean` and `std` are ImageNet's, whatever the images are.
    """
    train, test = (_listed(GENERIC, split, root) for split in ("train", "test"))
    listing = hashlib.sha256(train.identity() + test.identity()).hexdigest()
    kinds = _counted(train.left_out + test.left_out)
    left_out = f"{kinds}; only {', '.join(_SUFFIXES)} in class folders are read" if kinds else ""
    return replace(_info(GENERIC, 224, train.counts, test.counts), listing=listing, left_out=left_out)


def _listed(name: str, split: SplitName, root: str) -> _Listing:
    """The listing of a split, its classes being those of `train`."""
    assert name in _REMEDIES, f"{name} is no data set of folders"
    if not root:
        allowed = "it is the folder that holds train and a test split"
        raise UserError(f"{name}: paths.data is not set", allowed, _REMEDIES[name])
    top, left_out = Path(root) / "train", Counter[str]()
    classes = _classes(name, top, left_out)
    if split == "test":
        top, left_out = _test_folder(name, Path(root)), Counter[str]()
        if name == "tiny-imagenet" and (top / "images").is_dir():
            return _annotated(name, top, classes)
        _check_classes(name, top, classes, _classes(name, top, left_out))
    return _listing(top, classes, classes, (_files(name, top / each, left_out) for each in classes), left_out)


def _listing(
    top: Path, classes: list[str], folders: list[str], files: Iterable[list[bytes]], left_out: Counter[str]
) -> _Listing:
    counts, names, lengths = [], bytearray(), array("q")
    for each in files:
        counts.append(len(each))
        names += b"".join(each)
        lengths.extend(map(len, each))
    ends = torch.frombuffer(lengths, dtype=torch.int64).cumsum(0)
    return _Listing(top, classes, folders, tuple(counts), bytes(names), ends, left_out)


def _entries(name: str, folder: Path) -> list[os.DirEntry[str]]:
    """What a folder holds, but for hidden names and what file managers and storage devices put there."""
    try:
        with os.scandir(folder) as entries:
            return [each for each in entries if not (each.name.startswith(".") or is_of_machines(each.name))]
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise UserError(f"{name}: cannot list the folder {shown(folder)} ({why})", _REMEDIES[name]) from error


def _is_image(entry: os.DirEntry[str]) -> bool:
    return entry.name.lower().endswith(_SUFFIXES)


def _counted(kinds: Counter[str]) -> str:
    """For people: "12 × .webp, 3 × .bmp"."""
    return ", ".join(f"{count} × {kind}" for kind, count in kinds.most_common())


def _classes(name: str, folder: Path, left_out: Counter[str]) -> list[str]:
    """The names of the class folders in `folder`, sorted. They may be links. Images beside them are left out."""
    entries = _entries(name, folder)
    classes = sorted((entry.name for entry in entries if entry.is_dir()), key=os.fsencode)
    flat = sum(_is_image(entry) and not entry.is_dir() for entry in entries)
    if flat:
        left_out["image outside class folders"] += flat
    if not classes:
        what = "images but no class folders" if flat else "no class folders"
        do = "move each image into a folder named after its class" if flat else _REMEDIES[name]
        raise UserError(f"{name}: {shown(folder)} holds {what}", f"expected {shown(folder)}/<class>/<image>", do)
    return classes


def _test_folder(name: str, root: Path) -> Path:
    """`val` for the data sets whose own `test` has no labels, else the first of `test` and `val` that is there."""
    places = [root / "val"] if name in ("imagenet", "tiny-imagenet") else [root / "test", root / "val"]
    for place in places:
        if place.is_dir():
            return place
    wanted = " or ".join(map(shown, places))
    raise UserError(f"{name}: no folder {wanted}", "the test split lies beside train", _REMEDIES[name])


def _check_classes(name: str, folder: Path, train: list[str], test: list[str]) -> None:
    odd = sorted(set(train) ^ set(test), key=os.fsencode)
    if odd:
        here, elsewhere = ("train", shown(folder)) if odd[0] in train else (shown(folder), "train")
        what = f"{name}: class {shown(odd[0])} is in {here} and not in {elsewhere}"
        raise UserError(what, "both splits must have the same class folders", _REMEDIES[name])


def _files(name: str, folder: Path, left_out: Counter[str]) -> list[bytes]:
    """The images in a class folder and the folders inside it, relative to it, sorted. None is opened."""
    found, pending, others = [], [""], Counter[str]()
    while pending:
        inside = pending.pop()
        for entry in _entries(name, folder / inside):
            # A link to a folder is not followed here: it could lead in a circle.
            if entry.is_dir(follow_symlinks=False):
                pending.append(f"{inside}{entry.name}/")
            elif _is_image(entry):
                if not entry.is_file():
                    raise UserError(f"{name}: {shown(entry.path)} is no file", "a dead link or a device", "remove it")
                found.append(os.fsencode(inside + entry.name))
            elif (suffix := Path(entry.name).suffix.lower()) in _UNREAD:
                others[suffix] += 1
            elif entry.is_symlink() and entry.is_dir():
                others["link to a folder"] += 1
    if not found:
        what = f"{name}: class folder {shown(folder)} holds no images" + (f" but {_counted(others)}" if others else "")
        do = "save them anew as one of these" if others else "fill it or remove it"
        raise UserError(what, "at least one " + ", ".join(_SUFFIXES), do)
    left_out.update(others)
    return sorted(found)


def _annotated(name: str, folder: Path, classes: list[str]) -> _Listing:
    """tiny-ImageNet's own test split: images in one folder, and a file that says `image TAB class TAB box` of each."""
    path = folder / "val_annotations.txt"
    try:
        with path.open("rb") as file:
            lines = file.read(_MAX_ANNOTATIONS).splitlines()
    except OSError as error:
        raise UserError(f"{name}: cannot read {shown(path)} ({error.strerror})", _REMEDIES[name]) from error
    labels = dict(line.split(b"\t")[:2] for line in lines if b"\t" in line)
    files: dict[bytes, list[bytes]] = {os.fsencode(each): [] for each in classes}
    left_out = Counter[str]()
    for image in _files(name, folder / "images", left_out):
        label = labels.get(image, b"")
        if label not in files:
            given = f"the class {shown(os.fsdecode(label))}" if label else "no class"
            what = f"{name}: {shown(path)} gives {shown(os.fsdecode(image))} {given}"
            raise UserError(what, "expected one that has a folder in train", _REMEDIES[name])
        files[label].append(image)
    return _listing(folder, classes, ["images"] * len(classes), files.values(), left_out)
