"""The registry: names, constants that fit each other, a user's own data set, splits made of arrays."""

import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from page_blocks import only_python
from PIL import Image

from coupled import data
from coupled.data import folders, registry
from coupled.data.contradictions import contradiction
from coupled.data.registry import check_info
from coupled.errors import RunStopped, UserError

DOCUMENT = Path(__file__).parents[3] / "docs" / "data.md"
INFO = data.DataInfo(
    name="mine",
    train_size=6,
    test_size=4,
    size=2,
    mean=(0.5, 0.5, 0.5),
    std=(0.2, 0.2, 0.2),
    classes={"kind": 2},
    default_labelling="kind",
)


def split(name, **wrong):
    count = INFO.size_of(name)
    fields = {"images": torch.zeros(count, 3, 2, 2, dtype=torch.uint8), "kind": torch.arange(count) % 2} | wrong
    return data.ArraySplit(fields["images"], {"kind": fields["kind"]})


@pytest.fixture(autouse=True)
def _nothing_registered(monkeypatch):
    monkeypatch.setattr(registry, "_registered", {})


def _register(info=INFO, load=lambda name, root: split(name)):
    data.register_data_set(info, load)


def test_every_built_in_data_set_is_known_with_constants_that_fit():
    assert set(data.DATASETS) == {
        *("shapes", "fashion-mnist", "cifar10", "cifar100", "svhn"),
        *("imagenet", "tiny-imagenet", "mini-imagenet"),
    }
    for name, info in data.DATASETS.items():
        check_info(info)
        assert (data.info(name), info.name) == (info, name)
    assert set(data.known()) == {*data.DATASETS, "image-folder", "hugging-face"}


def test_the_document_names_every_data_set_and_its_sizes():
    text = DOCUMENT.read_text(encoding="utf-8")
    for name in data.known():
        assert f"`{name}`" in text
    for name in ("shapes", "fashion-mnist", "cifar10", "cifar100", "svhn"):
        info = data.info(name)
        row = f"| `{name}` | {info.train_size:,} / {info.test_size:,} | {info.size}".replace(",", " ")
        assert row in text


@pytest.mark.parametrize("call", [data.info, lambda name: data.load(name, "train")])
def test_an_unknown_name_gets_the_nearest(call):
    with pytest.raises(UserError, match=r"unknown data set cifar-10; allowed: shapes, .*; did you mean cifar10\?"):
        call("cifar-10")


def test_image_folders_are_scanned_and_loaded_at_their_root(monkeypatch):
    monkeypatch.setattr(folders, "scan", lambda root: ("scanned", root))
    monkeypatch.setattr(folders, "load", lambda *given: given)
    monkeypatch.setattr(registry, "contradiction", lambda *_, **__: "")
    assert data.info("image-folder", "/here") == ("scanned", "/here")
    for name in ("image-folder", "imagenet", "tiny-imagenet", "mini-imagenet"):
        assert data.load(name, "test", root="/here") == (name, "test", "/here")


def test_a_registered_data_set_is_like_any_other():
    _register()
    assert data.info("mine") == INFO and "mine" in data.known() and "mine" not in data.DATASETS
    loaded = data.load("mine", "train", root="/here")
    assert (len(loaded), loaded.labels("kind").tolist()) == (6, [0, 1, 0, 1, 0, 1])
    assert data.load("mine", "train", classes=(1, 0), per_class=2).labels("kind").bincount().tolist() == [2, 2]
    with pytest.raises(UserError, match="a subset of mine; .*; give its DataInfo train_counts"):
        data.subset_info(INFO, per_class=2)


def test_the_loader_gets_the_split_and_the_root():
    asked = []
    _register(load=lambda *given: asked.append(given) or split(given[0]))
    data.load("mine", "test", root="/here")
    assert asked == [("test", "/here")]


def test_the_same_file_may_register_again_and_another_may_not(tmp_path):
    first, other = tmp_path / "first.py", tmp_path / "other.py"
    for path in (first, other):
        path.write_text("data.register_data_set(info, load)")
    given = {"data": data, "info": INFO}
    runpy.run_path(str(first), {**given, "load": lambda name, root: split(name)})
    runpy.run_path(str(first), {**given, "load": lambda name, root: "changed"})
    with pytest.raises(UserError, match="train split is a str, not an ImageSplit or a FileSplit; .*; correct first.py"):
        data.load("mine", "train")
    with pytest.raises(UserError, match=f"data set mine of {other}; {first} has registered it; register another"):
        runpy.run_path(str(other), {**given, "load": None})


def test_the_cells_of_a_notebook_are_one_place():
    for cell in ("one.py", "two.py"):
        code = compile("data.register_data_set(info, load)", cell, "exec")
        exec(code, {"__name__": "__main__", "data": data, "info": INFO, "load": lambda name, root: split(name)})
    assert len(data.load("mine", "test")) == 4


def test_a_part_of_image_folders_is_what_its_constants_say(tmp_path):
    for split_name, count in (("train", 4), ("test", 2)):
        for kind in ("cat", "dog", "eel"):
            folder = tmp_path / split_name / kind
            folder.mkdir(parents=True)
            for k in range(count):
                Image.new("RGB", (9 + k, 8)).save(folder / f"{k}.png")
    root, wanted = str(tmp_path), {"classes": (2, 0), "per_class": 3}
    known = data.subset_info(data.info("image-folder", root), **wanted)
    assert (known.train_size, known.test_size, known.classes) == (6, 4, {"class": 2})
    part = data.load("image-folder", "train", root=root, **wanted)
    assert isinstance(part, data.FileSplit) and part.labels("class").tolist() == [1, 1, 1, 0, 0, 0]
    assert part.plain(torch.tensor([5, 0]), 8).shape == (2, 3, 8, 8)


@pytest.mark.parametrize("name", ["train", "test"])
@pytest.mark.parametrize("known", ["shapes", "fashion-mnist"])
def test_splits_are_as_their_constants_say(known, name):
    split, statistics = data.load(known, name, seed=0), known == "fashion-mnist"  # those of shapes: test_shapes.py
    assert contradiction(data.info(known), name, split, statistics=statistics) == ""


@pytest.mark.parametrize("name", ["shapes", "cifar10", "image-folder"])
def test_a_built_in_name_cannot_be_taken(name):
    with pytest.raises(UserError, match=f"data set {name} comes with this package"):
        _register(replace(INFO, name=name))


WRONG_CONSTANTS = {
    "name": ({"name": "my set"}, "'my set': is no name; at most 64 letters"),
    "size": ({"train_size": 0}, "train_size = 0; an integer from 1"),
    "pixels": ({"size": 2.0}, "size = 2.0; an integer from 1"),
    "mean": ({"mean": (0.5,)}, "mean = .*; three finite numbers"),
    "std": ({"std": (0.5, 0.0, 0.5)}, "std = .*; three finite numbers, of R, G and B, above 0"),
    "labelling": ({"default_labelling": "knd"}, "default_labelling = 'knd'; one of classes: kind"),
    "no labels": ({"classes": {}}, 'default_labelling = .*; one of classes: "", as there are no labels'),
    "classes": ({"classes": {"kind": 0}}, r"classes\['kind'\] = 0; an integer from 1"),
    "counts": ({"train_counts": {"kind": (3, 4)}}, r"train_counts\['kind'\]; 2 numbers of images that sum to 6"),
    "inside": ({"inside": {"kind": "sort"}}, r"inside\['kind'\] = 'sort'; two of classes: kind"),
    "inside itself": ({"inside": {"kind": "kind"}}, r"inside\['kind'\] = 'kind'; two of classes: kind"),
    "counts of none": ({"test_counts": {"x": (4,)}}, r"test_counts\['x'\]; 0 numbers of images"),
    "procedural": ({"procedural": True}, "procedural = True; False"),
}


@pytest.mark.parametrize(("wrong", "message"), WRONG_CONSTANTS.values(), ids=list(WRONG_CONSTANTS))
def test_constants_that_contradict_each_other_are_one_line(wrong, message):
    with pytest.raises(UserError, match=message) as error:
        _register(replace(INFO, **wrong))
    assert "\n" not in str(error.value) and not registry._registered


def test_images_without_labels_may_be_registered():
    info = replace(INFO, classes={}, default_labelling="")
    _register(info, lambda name, root: data.ArraySplit(torch.zeros(info.size_of(name), 2, 2, dtype=torch.uint8), {}))
    assert len(data.load("mine", "test")) == 4
    with pytest.raises(UserError, match="the images have no labelling 'kind'; allowed: none"):
        data.load("mine", "test").labels("kind")


WRONG_SPLITS = {
    "too few": (
        {"images": torch.zeros(2, 2, 2, dtype=torch.uint8), "kind": torch.tensor([0, 1])},
        "has 2 images, not 6",
    ),
    "size": ({"images": torch.zeros(6, 3, 3, dtype=torch.uint8)}, r"has an image of torch.uint8 \(1, 3, 3, 3\), not "),
    "label": ({"kind": torch.tensor([0, 1, 2, 0, 1, 0])}, "has the label 2 under kind, allowed are 0 to 1"),
    "counts": ({"kind": torch.zeros(6, dtype=torch.int64)}, "has 6 images of class 0 under kind, not 3"),
}


@pytest.mark.parametrize(("wrong", "message"), WRONG_SPLITS.values(), ids=list(WRONG_SPLITS))
def test_a_split_that_contradicts_its_constants_is_one_line(wrong, message):
    _register(replace(INFO, train_counts={"kind": (3, 3)}), lambda name, root: split(name, **wrong))
    with pytest.raises(
        UserError, match=f"data set mine: its train split {message}.*; correct test_registry.py"
    ) as error:
        data.load("mine", "train")
    assert "\n" not in str(error.value)


def test_a_split_of_another_size_is_one_line_where_no_counts_are_known():
    few = {"images": torch.zeros(2, 2, 2, dtype=torch.uint8), "kind": torch.tensor([0, 1])}
    _register(load=lambda name, root: split(name, **few))
    with pytest.raises(UserError, match="its test split has 2 images, not 4; allowed is what its DataInfo says"):
        data.load("mine", "test")


def test_mean_and_std_of_a_registered_data_set_are_its_users_to_choose():
    _register(replace(INFO, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)))
    assert len(data.load("mine", "train")) == 6


def test_a_labelling_inside_another_is_checked():
    info = replace(INFO, classes={"kind": 2, "sort": 3}, inside={"kind": "sort"})
    images, kind = torch.zeros(6, 2, 2, dtype=torch.uint8), torch.arange(6) % 2
    for sort, wrong in (([2, 0, 2, 0, 2, 0], ""), ([2, 0, 1, 0, 2, 0], "kind class 0 in the sort classes 1 and 2")):
        split = data.ArraySplit(images, {"kind": kind, "sort": torch.tensor(sort)})
        fault = contradiction(info, "train", split, statistics=False)
        assert fault == (f"has images of {wrong}" if wrong else "")


class _OwnLabels(data.ImageSplit):
    def __len__(self):
        return 6

    def images(self, ids):
        return torch.zeros(len(ids), 3, 2, 2, dtype=torch.uint8)

    def labels(self, labelling):
        return torch.zeros(7) if labelling == "kind" else torch.full((6,), -1)


def test_labels_of_a_class_of_ones_own_are_checked():
    _register(load=lambda name, root: _OwnLabels())
    with pytest.raises(UserError, match=r"has labels of float32 \(7,\) under kind, not int64 \(6,\)"):
        data.load("mine", "train")
    _register(replace(INFO, classes={"other": 2}, default_labelling="other"), lambda name, root: _OwnLabels())
    with pytest.raises(UserError, match="has the label -1 under other, allowed are 0 to 1"):
        data.load("mine", "train")


@pytest.mark.parametrize("error", [OSError("no\nfile"), KeyError("x"), ValueError()])
def test_a_loader_that_fails_is_one_line(error):
    def fail(name, root):
        raise error

    _register(load=fail)
    with pytest.raises(UserError, match=f"its test split fails to load; {type(error).__name__}: .*; correct") as found:
        data.load("mine", "test")
    assert "\n" not in str(found.value) and found.value.__cause__ is error


@pytest.mark.parametrize("error", [UserError("a", "b"), RunStopped("c")])
def test_what_a_loader_says_itself_is_left_as_it_is(error):
    def fail(name, root):
        raise error

    _register(load=fail)
    with pytest.raises(type(error)) as found:
        data.load("mine", "test")
    assert found.value is error


def test_the_documents_own_data_set_loads(tmp_path):
    """The python block of docs/data.md, on a file of the layout that it describes."""
    (tmp_path / "digits.py").write_text(only_python("docs/data.md"), encoding="utf-8")
    arrays = {}
    for name, count in (("train", 120), ("test", 40)):
        labels = np.arange(count) % 10
        images = np.broadcast_to(labels[:, None, None] * 20, (count, 8, 8)).astype(np.uint8)
        arrays |= {f"{name}_images": images, f"{name}_labels": labels}
    np.savez(tmp_path / "digits.npz", **arrays)
    runpy.run_path(str(tmp_path / "digits.py"))
    loaded = data.load("digits", "test", root=str(tmp_path))
    assert torch.equal(loaded.labels("odd"), loaded.labels("digit") % 2)
    assert loaded.images(torch.tensor([13])).unique().tolist() == [60]
    assert data.subset_info(data.info("digits"), imbalance=4.0).train_counts["digit"][-1] == 3


@pytest.mark.parametrize("kind", [torch.as_tensor, np.asarray])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_an_array_split_gives_its_arrays(kind, dtype):
    images = (torch.arange(4 * 3 * 2 * 2) * 5).to(torch.uint8).view(4, 3, 2, 2)
    split = data.ArraySplit(kind(images), {"kind": kind(torch.tensor([2, 0, 1, 1], dtype=dtype))})
    ids = torch.tensor([3, 0, 3])
    assert torch.equal(split.images(ids), images[ids])
    assert split.labels("kind").tolist() == [2, 0, 1, 1] and split.labels("kind").dtype == torch.int64


def test_grey_images_are_repeated_when_asked_for():
    grey = torch.arange(8, dtype=torch.uint8).view(2, 2, 2)
    split = data.ArraySplit(grey, {})
    assert torch.equal(split.images(torch.tensor([1])), grey[1].expand(1, 3, 2, 2))
    assert split._images.data_ptr() == grey.data_ptr()


@pytest.mark.parametrize("step", [1, -1])
@pytest.mark.parametrize("writeable", [True, False])
def test_read_only_and_reversed_arrays_are_taken(step, writeable):
    """Torch takes neither: the one with a warning, which is an error here."""
    images = np.arange(8, dtype=np.uint8).reshape(2, 2, 2)
    images.flags.writeable = writeable
    split = data.ArraySplit(images[::step], {"kind": np.array([1, 0])[::step]})
    assert split.images(torch.tensor([0]))[0, 0].tolist() == images[::step][0].tolist()
    assert split.labels("kind").tolist() == [1, 0][::step]


WRONG_ARRAYS = {
    "floats": (torch.zeros(2, 3, 4, 4), [0, 1], "images of float32"),
    "channels last": (torch.zeros(2, 4, 4, 3, dtype=torch.uint8), [0, 1], r"images of uint8 \(2, 4, 4, 3\); uint8"),
    "oblong": (torch.zeros(2, 3, 4, 5, dtype=torch.uint8), [0, 1], "images of uint8"),
    "one image": (torch.zeros(4, 4, dtype=torch.uint8), [0, 1], "images of uint8"),
    "none": (torch.zeros(0, 4, 4, dtype=torch.uint8), [], "images of uint8"),
    "objects": (np.array([[["a"]]], dtype=object), [0], "an array of object"),
    "float labels": (torch.zeros(2, 4, 4, dtype=torch.uint8), [0.0, 1.0], r"labels 'kind' of float32 \(2,\)"),
    "bool labels": (torch.zeros(2, 4, 4, dtype=torch.uint8), [True, False], "labels 'kind' of bool"),
    "label shape": (torch.zeros(2, 4, 4, dtype=torch.uint8), [[0], [1]], r"of int64 \(2, 1\); integers \(2,\)"),
    "negative label": (torch.zeros(2, 4, 4, dtype=torch.uint8), [0, -1], "hold -1; 0 to classes − 1"),
}


@pytest.mark.parametrize(("images", "labels", "message"), WRONG_ARRAYS.values(), ids=list(WRONG_ARRAYS))
def test_arrays_that_do_not_fit_are_one_line(images, labels, message):
    with pytest.raises(UserError, match=message) as error:
        data.ArraySplit(images, {"kind": torch.tensor(labels)})
    assert "\n" not in str(error.value)
