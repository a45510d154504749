"""Image folders: what the listing says, what is refused in one line, and the pixels."""

import os

import numpy as np
import pytest
import torch
from drawn_pictures import save
from page_blocks import only_python
from PIL import Image

from coupled import data, views
from coupled.address import Purpose
from coupled.cli import main
from coupled.data import folders
from coupled.data.splits import DataInfo
from coupled.errors import RunStopped, UserError


@pytest.fixture
def root(tmp_path):
    """Two classes of three and two training images, one test image each, in nested folders and both formats."""
    names = ["train/b/1.jpg", "train/b/2.PNG", "train/b/deep/er/0.jpeg", "train/a-b/x.JPEG", "train/a-b/X.jpg"]
    for seed, name in enumerate([*names, "test/b/1.jpg", "test/a-b/2.png"]):
        save(tmp_path / name, seed)
    (tmp_path / "train/b/readme.txt").write_text("no image")
    (tmp_path / "train/.cache").mkdir()
    (tmp_path / "train/b/._1.jpg").write_text("a file manager's")
    return tmp_path


def _words(n, seed=1):
    ids = torch.arange(n)
    return torch.stack([views.view_words(seed, Purpose.VIEW, ids, torch.zeros_like(ids), view) for view in (0, 1)])


# The listing.


def test_classes_and_files_are_in_the_order_of_their_bytes(root):
    split = folders.load("image-folder", "train", str(root))
    names = [str(split.path(index).relative_to(root / "train")) for index in range(len(split))]
    assert names == ["a-b/X.jpg", "a-b/x.JPEG", "b/1.jpg", "b/2.PNG", "b/deep/er/0.jpeg"]
    assert split.labels("class").tolist() == [0, 0, 1, 1, 1]


def test_names_that_are_no_text_are_listed(tmp_path):
    for folder in ("train", "test"):
        for name in (b"\xff", b"z", "𝔵".encode()):
            save(tmp_path / folder / os.fsdecode(name) / os.fsdecode(b"\xfe.png"))
    split = folders.load("image-folder", "train", str(tmp_path))
    assert [os.fsencode(split.path(index).parent.name) for index in range(3)] == [b"z", "𝔵".encode(), b"\xff"]
    assert split.plain(torch.arange(3), 8).shape == (3, 3, 8, 8)


def test_a_scan_counts_without_opening_a_file(root):
    (root / "train/b/1.jpg").write_bytes(b"not an image at all")
    info = folders.scan(str(root))
    assert (info.name, info.train_size, info.test_size, info.size) == ("image-folder", 5, 2, 224)
    assert info.classes == {"class": 2} and info.default_labelling == "class"
    assert info.train_counts == {"class": (2, 3)} and info.test_counts == {"class": (1, 1)}


def test_class_folders_may_be_links(root, tmp_path):
    (root / "train/b").rename(root / "elsewhere")
    (root / "train/b").symlink_to(root / "elsewhere")
    assert len(folders.load("image-folder", "train", str(root))) == 5


def test_a_circle_of_links_is_not_followed(root):
    (root / "train/b/again").symlink_to(root / "train/b")
    assert len(folders.load("image-folder", "train", str(root))) == 5


MACHINES = (
    *("@eaDir", "#recycle", "#snapshot", "@Recycle", "@Recently-Snapshot", "$RECYCLE.BIN", "RECYCLER"),
    *("System Volume Information", "__MACOSX", "lost+found", ".AppleDouble", ".Trash-1000", ".@__thumb"),
)


@pytest.mark.parametrize("place", ["train", "train/b", "train/b/deep", "test"])
@pytest.mark.parametrize("name", MACHINES)
def test_what_machines_put_into_folders_is_no_picture_and_no_class(root, name, place):
    before = folders.scan(str(root))
    save(root / place / name / "1.jpg/SYNOPHOTO_THUMB_M.jpg")
    save(root / place / name / "1.webp")
    save(root / place / "._2.jpg")
    (root / place / "Thumbs.db").write_bytes(b"?")
    assert folders.scan(str(root)) == before and before.left_out == ""


def test_classes_whose_names_only_begin_like_those_of_machines_stay(root):
    for split in ("train", "test"):
        for name in ("@eaDir2", "lost", "#", "b~", "#1#"):
            save(root / split / name / "1~.jpg")
    assert folders.scan(str(root)).classes == {"class": 7}


def test_pictures_that_are_not_read_are_counted(root):
    before = folders.scan(str(root))
    for name in ("train/b/1.webp", "train/b/deep/2.WEBP", "test/b/3.webp", "train/a-b/x.jfif", "test/b/1.Tiff"):
        (root / name).write_bytes(b"?")
    save(root / "train/7.jpg")
    save(root / "elsewhere/8.jpg")
    (root / "train/b/more").symlink_to(root / "elsewhere")
    (root / "train/b/list.csv").write_text("no picture")
    after = folders.scan(str(root))
    assert sorted(after.left_out.partition(";")[0].split(", ")) == [
        *("1 × .jfif", "1 × .tiff", "1 × image outside class folders", "1 × link to a folder", "3 × .webp"),
    ]
    assert after.left_out.endswith("; only .jpg, .jpeg, .png in class folders are read")
    assert after.listing == before.listing and after.train_counts == before.train_counts


def test_plan_and_train_say_what_is_left_out(root, capsys):
    (root / "train/b/1.webp").write_bytes(b"?")
    for seed in (5, 6):
        save(root / f"test/b/{seed}.png", seed)
    (root / "c.toml").write_text(
        f'[data]\nname = "image-folder"\n[paths]\nruns = "{root}/runs"\ndata = "{root}"\n'
        "[batches]\nsize = 4\n[model]\nwidth = 4\nprojection_dim = 4\n[views]\nsize = 16\n"
        '[panel]\nsize = 4\nsurrogate_size = 2\n[train]\nsteps = 1\n[arms.cl]\nobjective = "dcl"\n'
    )
    left_out = "1 × .webp; only .jpg, .jpeg, .png in class folders are read"
    assert main(["plan", str(root / "c.toml")]) == 0
    assert f"left out        {left_out}" in capsys.readouterr().out.splitlines()
    assert main(["train", str(root / "c.toml"), "--ranks", "1"]) == 0
    assert f"left out of image-folder: {left_out}" in capsys.readouterr().err.splitlines()


def test_published_counts():
    sizes = {name: (info.train_size, info.test_size, info.size) for name, info in folders.INFOS.items()}
    assert sizes == {
        "imagenet": (1_281_167, 50_000, 224),
        "tiny-imagenet": (100_000, 10_000, 64),
        "mini-imagenet": (50_000, 10_000, 224),
    }
    for info in folders.INFOS.values():
        for split in ("train", "test"):
            assert all(sum(counts) == info.size_of(split) for counts in info.counts_of(split).values())


# Layouts whose counts are published, made small.


def _small(monkeypatch, name, classes, train, test):
    info = folders.INFOS[name]
    counts = {"train_counts": {"class": (train,) * classes}} if info.train_counts else {}
    sizes = {"train_size": train * classes, "test_size": test * classes, "classes": {"class": classes}}
    kept = {key: getattr(info, key) for key in ("name", "size", "mean", "std", "default_labelling")}
    small = DataInfo(**kept, **sizes, **counts, test_counts={"class": (test,) * classes})
    monkeypatch.setitem(folders.INFOS, name, small)
    monkeypatch.setitem(data.DATASETS, name, small)


def _imagenet(root, train=2, test=1, classes=("n01", "n02")):
    for split, count in (("train", train), ("val", test)):
        for wnid in classes:
            for index in range(count):
                save(root / split / wnid / f"{wnid}_{index}.JPEG", index, format="JPEG")
    return str(root)


def _tiny(root):
    for seed, wnid in enumerate(("n02", "n01")):
        for index in range(2):
            save(root / "train" / wnid / "images" / f"{wnid}_{index}.JPEG", seed, (64, 64))
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text("x")
    for index in range(4):
        save(root / "val/images" / f"val_{index}.JPEG", index, (64, 64))
    labels = ("n02", "n01", "n01", "n02")
    lines = [f"val_{index}.JPEG\t{label}\t0\t32\t44\t62\n" for index, label in enumerate(labels)]
    (root / "val/val_annotations.txt").write_text("".join(lines))
    return str(root)


def test_the_layout_of_imagenet(tmp_path, monkeypatch):
    _small(monkeypatch, "imagenet", 2, 2, 1)
    root = _imagenet(tmp_path)
    (tmp_path / "test").mkdir()  # ILSVRC's own test images have no labels
    assert folders.load("imagenet", "train", root).labels("class").tolist() == [0, 0, 1, 1]
    test = folders.load("imagenet", "test", root)
    assert [test.path(index).name for index in range(2)] == ["n01_0.JPEG", "n02_0.JPEG"]


def test_the_layout_of_tiny_imagenet(tmp_path, monkeypatch):
    _small(monkeypatch, "tiny-imagenet", 2, 2, 2)
    root = _tiny(tmp_path)
    assert folders.load("tiny-imagenet", "train", root).labels("class").tolist() == [0, 0, 1, 1]
    test = folders.load("tiny-imagenet", "test", root)
    assert test.labels("class").tolist() == [0, 0, 1, 1]
    assert [test.path(index).name for index in range(4)] == [f"val_{index}.JPEG" for index in (1, 2, 0, 3)]


def test_the_layout_of_mini_imagenet(tmp_path, monkeypatch):
    _small(monkeypatch, "mini-imagenet", 2, 2, 1)
    root = _imagenet(tmp_path)
    assert len(folders.load("mini-imagenet", "test", root)) == 2
    (tmp_path / "val").rename(tmp_path / "test")
    assert len(folders.load("mini-imagenet", "test", root)) == 2


# What is refused at the start.


def _drop(root, name):
    for path in sorted((root / name).rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (root / name).rmdir()


REFUSED = {
    "no train": (lambda root: _drop(root, "train"), "cannot list the folder .*train .No such file.*; set paths.data"),
    "no test": (lambda root: _drop(root, "test"), "no folder .*/test or .*/val; the test split lies beside train"),
    "a file": (lambda root: (_drop(root, "test"), (root / "test").touch()), "no folder .*/test or"),
    "flat": (
        lambda root: (_drop(root, "test"), save(root / "test/1.jpg")),
        "test holds images but no class folders",
    ),
    "no classes": (lambda root: (_drop(root, "test"), (root / "test").mkdir()), "test holds no class folders"),
    "empty class": (
        lambda root: (root / "train/b/1.jpg").parent.joinpath("../c").mkdir(),
        "c holds no images; at least",
    ),
    "other pictures": (
        lambda root: (
            _drop(root, "test/b"),
            *(save(root / f"test/b/{k}.webp") for k in range(2)),
            save(root / "test/b/x.bmp"),
        ),
        "test/b holds no images but 2 × .webp, 1 × .bmp; at least one .jpg, .jpeg, .png; save them anew",
    ),
    "another class": (lambda root: save(root / "test/c/1.jpg"), "class c is in .*/test and not in train; both"),
    "a class less": (lambda root: _drop(root, "test/b"), "class b is in train and not in .*/test; both"),
    "dead link": (lambda root: (root / "test/b/0.jpg").symlink_to("nowhere"), "test/b/0.jpg is no file; a dead link"),
    "pipe": (lambda root: os.mkfifo(root / "test/b/0.jpg"), "test/b/0.jpg is no file; a dead link or a device"),
    "odd name": (lambda root: (root / "train/\x1b[2J\n").mkdir(), r"class folder .*\\x1b\[2J\\n holds no images"),
}


@pytest.mark.parametrize(("spoil", "message"), REFUSED.values(), ids=list(REFUSED))
def test_a_spoilt_folder_is_refused_in_one_line(root, spoil, message):
    spoil(root)
    with pytest.raises(UserError, match=message) as error:
        folders.scan(str(root))
    assert "\n" not in str(error.value) and str(error.value).startswith("image-folder: ")


@pytest.mark.parametrize("root", ["", "/nowhere/at/all", "nul\0byte"])
def test_a_root_that_is_none_is_refused_in_one_line(root):
    with pytest.raises(UserError, match=r"paths\.data") as error:
        folders.load("imagenet", "train", root)
    assert str(error.value).isprintable()


def test_wrong_counts_are_refused(tmp_path, monkeypatch):
    root = _imagenet(tmp_path)
    for name, numbers, message in (
        ("imagenet", (3, 2, 1), r"imagenet: 2 class folders in train; expected 3; get ILSVRC"),
        ("imagenet", (2, 3, 1), rf"imagenet: the train split in {root} has 4 images, not 6; expected .*; get ILSVRC"),
        ("mini-imagenet", (2, 3, 1), r"mini-imagenet: the train split in .* has 2 images of class n01 under .*, not 3"),
    ):
        _small(monkeypatch, name, *numbers)
        with pytest.raises(UserError, match=message):
            data.load(name, "train", root=root)
    (tmp_path / "train/n01/n01_2.tif").write_bytes(b"?")
    _small(monkeypatch, "imagenet", 2, 3, 1)
    with pytest.raises(UserError, match=r"has 4 images, not 6 \(1 × \.tif left out\); expected imagenet's own files"):
        data.load("imagenet", "train", root=root)


def test_validation_images_without_class_folders_say_what_to_do(tmp_path):
    root = _imagenet(tmp_path, test=0)
    save(tmp_path / "val/ILSVRC2012_val_00000001.JPEG")
    with pytest.raises(UserError, match="images but no class folders; expected .*; move each image into a folder"):
        folders.load("imagenet", "test", root)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("val_1.JPEG\tn01", "val_1.JPEG\tn03", "gives val_1.JPEG the class n03; expected one that has a folder"),
        ("val_1.JPEG\tn01", "../x.JPEG\tn01", "gives val_1.JPEG no class"),
        ("val_1.JPEG\tn01\t0", "val_1.JPEG", "gives val_1.JPEG the class 32"),
        ("\t", " ", "gives val_0.JPEG no class"),
    ],
)
def test_damaged_annotations_are_refused(tmp_path, old, new, message):
    path = tmp_path / "val/val_annotations.txt"
    root = _tiny(tmp_path)
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(UserError, match=message):
        folders.load("tiny-imagenet", "test", root)
    path.unlink()
    with pytest.raises(UserError, match=r"cannot read .*val_annotations\.txt"):
        folders.load("tiny-imagenet", "test", root)


def test_an_unknown_labelling_is_refused(root):
    with pytest.raises(UserError, match="image-folder has no labelling 'fine'; allowed is class"):
        folders.load("image-folder", "train", str(root)).labels("fine")


# Pixels.


def test_crops_are_those_of_the_views_of_each_image_alone(root):
    split, words = folders.load("image-folder", "train", str(root)), _words(3)
    recipe, ids = views.recipe("simclr-cifar", 24), torch.tensor([4, 0, 2])
    crops = split.crops(ids, words, recipe, 24)
    assert crops.shape == (6, 3, 24, 24) and crops.dtype == torch.float32
    for row, index in enumerate(ids.tolist()):
        image = torch.from_numpy(np.array(Image.open(split.path(index)).convert("RGB"))).permute(2, 0, 1)
        for view in (0, 1):
            box = views.draw(recipe, words[view, row : row + 1], *image.shape[1:])
            alone = views.apply(image[None], box, size=24, mean=(0, 0, 0), std=(1, 1, 1))
            colours = words[:, row : row + 1]
            both = views.finish(crops[[row, 3 + row]], colours, recipe, mean=(0, 0, 0), std=(1, 1, 1))
            assert both[view].numpy().tobytes() == alone[0].numpy().tobytes()


def test_a_damaged_image_stops_the_run_and_is_named(root):
    (root / "train/b/1.jpg").write_bytes(b"<html>not found</html>")
    split = folders.load("image-folder", "train", str(root))
    split.plain(torch.tensor([0, 1, 3, 4]), 8)
    with pytest.raises(RunStopped, match=r"image-folder: image file .*/train/b/1\.jpg is neither JPEG nor PNG"):
        split.crops(torch.tensor([4, 2]), _words(2), views.recipe("simclr-cifar", 16), 16)


@pytest.mark.parametrize("spoil", [os.unlink, lambda path: os.truncate(path, 0)])
def test_an_image_lost_since_the_listing_stops_the_run(root, spoil):
    split = folders.load("image-folder", "train", str(root))
    spoil(split.path(2))
    with pytest.raises(RunStopped, match=r"train/b/1\.jpg (cannot be read .No such file|is empty)"):
        split.plain(torch.arange(5), 8)


def test_the_documented_script_splits_mini_imagenet(tmp_path, monkeypatch):
    script = only_python("docs/folders.md")
    monkeypatch.chdir(tmp_path)
    for part, wnid in (("train", "n01"), ("val", "n02"), ("test", "n03")):
        for index in range(5):
            save(tmp_path / "mini-imagenet" / part / wnid / f"{index}.jpg", index)
    exec(script.replace("500 else", "3 else"), {})
    info = folders.scan("mini-imagenet-500-100")
    assert info.train_counts == {"class": (3, 3, 3)} and info.test_counts == {"class": (2, 2, 2)}
