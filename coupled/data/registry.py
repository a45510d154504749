"""The data sets by name: their constants, a user's own, loading a split or a part of it.

A new built-in data set gets a line in `DATASETS` and one in `_READERS`. What any of them reads is checked here, against
its constants, before a run sees it.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from coupled.data import cifar, fashion_mnist, folders, hugging_face, listing, shapes, svhn
from coupled.data.contradictions import contradiction
from coupled.data.splits import DataInfo, Split, SplitName
from coupled.data.subset import Selection, remaining, select
from coupled.errors import RunStopped, UserError, raised, unknown
from coupled.userfiles import calling_file

_FOLDER = folders.GENERIC  # its constants come from a listing of its folders

# Constants of the data sets that come with the package and are known without their files.
DATASETS: dict[str, DataInfo] = {
    known.name: known
    for known in (shapes.info, fashion_mnist.info, *cifar.INFOS.values(), svhn.info, *folders.INFOS.values())
}


@dataclass(frozen=True)
class _Reader:
    """What loads a split (its name, the data seed, the folder of its files), what looks whether the files are there (a
    UserError if not), and how to get them.
    """

    load: Callable[[SplitName, int | None, str], Split]
    look: Callable[[str], None] | None = None
    remedy: str = ""
    root: str = ""  # where the files are looked for by default


def _of_cifar(name: str) -> _Reader:
    return _Reader(
        lambda split, _seed, root: cifar.load(name, split, root),
        lambda root: cifar.look(name, root),
        cifar.REMEDIES[name],
    )


def _of_folders(name: str) -> _Reader:
    return _Reader(
        lambda split, _seed, root: folders.load(name, split, root),
        lambda root: listing.look(name, root),
        folders.REMEDIES[name],
    )


_READERS: dict[str, _Reader] = {
    "shapes": _Reader(lambda split, seed, _root: shapes.load(split, _given(seed))),
    "fashion-mnist": _Reader(
        lambda split, _seed, root: fashion_mnist.load(split, root),
        fashion_mnist.look,
        fashion_mnist.REMEDIES["fashion-mnist"],
        fashion_mnist.DEFAULT_ROOT,
    ),
    "svhn": _Reader(lambda split, _seed, root: svhn.load(split, root), svhn.look, svhn.REMEDIES["svhn"]),
    hugging_face.NAME: _Reader(
        lambda split, _seed, root: hugging_face.load(split, root), hugging_face.look, hugging_face.REMEDY
    ),
    **{name: _of_cifar(name) for name in cifar.INFOS},
    **{name: _of_folders(name) for name in (*folders.INFOS, _FOLDER)},
}


@dataclass(frozen=True)
class _Registered:
    info: DataInfo
    load: Callable[[SplitName, str], Split]
    origin: str  # the file that registered it


_registered: dict[str, _Registered] = {}


def known() -> list[str]:
    """The names of all data sets: built-in, image folders, registered."""
    return [*_READERS, *_registered]


def info(name: str, root: str = "") -> DataInfo:
    """What is known of a data set without reading its images.

    Only `image-folder` and `hugging-face` look into `root`, and list what is there. UserError with the nearest name
    if there is no such data set.
    """
    if name in DATASETS:
        return DATASETS[name]
    if name in _registered:
        return _registered[name].info
    if name == _FOLDER:
        return folders.scan(root)
    if name == hugging_face.NAME:
        return hugging_face.scan(root)
    raise unknown("data set", name, known())


def look(name: str, root: str = "") -> bool:
    """Are there files to look for, which are there? By their names alone: none is read. A procedural data set has none,
    and a user's own knows for itself. UserError where files are missing.
    """
    reader = _READERS.get(name)
    if reader is None or reader.look is None:
        return False
    reader.look(root or reader.root)
    return True


def register_data_set(info: DataInfo, load: Callable[[SplitName, str], Split]) -> None:
    """Make a data set of one's own known as `info.name`; docs/data.md has an example.

    `load` gets "train" or "test" and the config's paths.data, and returns an `ImageSplit` (such as `ArraySplit`) or a
    `FileSplit`. The file that calls this may do so again, which replaces; a name of another's is a UserError.
    """
    check_info(info)
    origin = calling_file()
    if info.procedural:
        raise UserError(f"data set {info.name}: procedural = True", "False: load gets no data.seed", "remove it")
    if info.name in _READERS:
        raise UserError(f"data set {info.name} comes with this package", "a name of its own", "register another name")
    other = _registered[info.name].origin if info.name in _registered else origin
    if other != origin:
        raise UserError(f"data set {info.name} of {origin}", f"{other} has registered it", "register another name")
    _registered[info.name] = _Registered(info, load, origin)


def forget(name: str) -> None:
    """Take back a registration, if there is one."""
    _registered.pop(name, None)


def check_info(info: DataInfo) -> None:
    """UserError where constants contradict each other."""
    problem = _name_problem(info) or _number_problem(info) or _class_problem(info)
    if problem:
        raise UserError(f"data set {info.name!a}: {problem[0]}", problem[1], "correct its DataInfo")


def _name_problem(info: DataInfo) -> tuple[str, str] | None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", info.name):
        return "is no name", "at most 64 letters, digits, '.', '_' and '-'"
    return None


def _number_problem(info: DataInfo) -> tuple[str, str] | None:
    for field in ("train_size", "test_size", "size"):
        value = getattr(info, field)
        if not isinstance(value, int) or value < 1:
            return f"{field} = {value}", "an integer from 1"
    for field, low in (("mean", -math.inf), ("std", 0.0)):
        values = getattr(info, field)
        if len(values) != 3 or not all(math.isfinite(value) and value > low for value in values):
            return f"{field} = {values}", f"three finite numbers, of R, G and B{', above 0' if low == 0 else ''}"
    return None


def _class_problem(info: DataInfo) -> tuple[str, str] | None:
    if info.default_labelling not in (info.classes or {"": 0}):
        allowed = ", ".join(info.classes) or '"", as there are no labels'
        return f"default_labelling = {info.default_labelling!r}", f"one of classes: {allowed}"
    for labelling, classes in info.classes.items():
        if classes < 1:
            return f"classes[{labelling!r}] = {classes}", "an integer from 1"
    for split in ("train", "test"):
        for labelling, counts in info.counts_of(split).items():
            classes, size = info.classes.get(labelling, 0), info.size_of(split)
            if len(counts) != classes or sum(counts) != size or min(counts) < 0:
                return f"{split}_counts[{labelling!r}]", f"{classes} numbers of images that sum to {size}"
    for inner, outer in info.inside.items():
        if inner == outer or not {inner, outer} <= set(info.classes):
            return f"inside[{inner!r}] = {outer!r}", f"two of classes: {', '.join(info.classes)}"
    return None


def load(
    name: str,
    split: SplitName,
    *,
    seed: int | None = None,
    root: str = "",
    labelling: str | None = None,
    classes: Sequence[int] | None = None,
    per_class: int | None = None,
    imbalance: float | None = None,
) -> Split:
    """A split of a data set, or with any of the last three a `Subset` of it (docs/data.md).

    `seed` is the data seed of a procedural data set (None for others); `root` is the directory of a real one's files,
    "" being the place where its Debian package puts them. `classes` are those of `labelling`, by default the data
    set's own. UserError where files are missing or damaged or a subset cannot be made.
    """
    if classes is None and per_class is None and imbalance is None:
        return _whole(name, split, seed, root)
    constants = info(name, root)
    selection = _selection(constants, labelling, classes, per_class, imbalance)
    return select(constants, _whole(name, split, seed, root), split, selection)


def subset_info(
    info: DataInfo,
    *,
    labelling: str | None = None,
    classes: Sequence[int] | None = None,
    per_class: int | None = None,
    imbalance: float | None = None,
    seed: int | None = None,
) -> DataInfo:
    """What is known of the subset that `load` makes with the same arguments, without any files: its sizes and counts.

    UserError where it cannot be made, or where the images per class are not known without the files.
    """
    selection = _selection(info, labelling, classes, per_class, imbalance)
    counts: dict[SplitName, Sequence[int]] = {
        split: _counts(info, split, selection.labelling, seed) for split in ("train", "test")
    }
    return remaining(info, selection, counts)


def _selection(
    info: DataInfo,
    labelling: str | None,
    classes: Sequence[int] | None,
    per_class: int | None,
    imbalance: float | None,
) -> Selection:
    chosen = None if classes is None else tuple(classes)
    selection = Selection(labelling or info.default_labelling, chosen, per_class, imbalance)
    selection.check(info)
    return selection


def _counts(info: DataInfo, split: SplitName, labelling: str, seed: int | None) -> Sequence[int]:
    """Images per class of a whole split."""
    if labelling in info.counts_of(split):
        return info.counts_of(split)[labelling]
    if info.procedural:
        labels = _whole(info.name, split, seed, "").labels(labelling)
        return torch.bincount(labels, minlength=info.classes[labelling]).tolist()
    do = f"give its DataInfo {split}_counts" if info.name in _registered else f"name it {_FOLDER}, which counts them"
    raise UserError(f"a subset of {info.name}", f"its {split} images of each class are not known in advance", do)


def _given(seed: int | None) -> int:
    assert seed is not None, "a procedural data set is made from a seed"
    return seed


def _whole(name: str, split: SplitName, seed: int | None, root: str) -> Split:
    if name in _registered:
        return _load_registered(_registered[name], split, root)
    if name in _READERS:
        return _load_built_in(name, split, seed, root)
    raise unknown("data set", name, known())


def _load_built_in(name: str, split: SplitName, seed: int | None, root: str) -> Split:
    """A split of a data set of ours; where it has files of its own, they are checked against its constants."""
    reader, constants = _READERS[name], DATASETS.get(name)
    root = root or reader.root
    loaded = reader.load(split, seed, root)
    if constants is None or constants.procedural:
        return loaded  # made or counted here: there is nothing to compare it with
    if wrong := contradiction(constants, split, loaded, statistics=constants.in_memory):
        wrong += f" ({loaded.left_out} left out)" if loaded.left_out else ""
        raise UserError(f"{name}: the {split} split in {root} {wrong}", f"expected {name}'s own files", reader.remedy)
    return loaded


def _load_registered(own: _Registered, split: SplitName, root: str) -> Split:
    """A split of a user's own data set, checked against its constants; mean and std are the user's to choose."""
    label, correct = f"data set {own.info.name}: its {split} split", f"correct {Path(own.origin).name}"
    try:
        loaded = own.load(split, root)
        wrong = contradiction(own.info, split, loaded, statistics=False)
    except (UserError, RunStopped):
        raise
    except Exception as error:
        reason = raised(error)
        raise UserError(f"{label} fails to load", reason, correct) from error
    if wrong:
        raise UserError(f"{label} {wrong}", "allowed is what its DataInfo says", correct)
    return loaded
