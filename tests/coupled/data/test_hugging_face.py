"""Image sets of Hugging Face: the forms they have on disk, and what is refused in one line."""

import io
import json
import shutil
import sys

import numpy as np
import pyarrow as pa
import pytest
import torch
from helpers import tables
from image_tables import FEATURES, picture, save, save_parquet, table
from PIL import Image

from coupled import data
from coupled.config import from_tables
from coupled.data import hugging_face
from coupled.driver.resuming import ResumeTerms
from coupled.driver.train import resume, train
from coupled.errors import RunStopped, UserError


def saved(root):
    save(root / "train", table(40))
    save(root / "test", table(24, 100))
    return str(root)


def in_data(root):
    for part, (first, count) in enumerate([(0, 25), (25, 15)]):
        save_parquet(root / f"data/train-0000{part}-of-00002.parquet", table(40).slice(first, count))
    save_parquet(root / "data/validation-00000-of-00001.parquet", table(24, 100))
    return str(root)


def in_folders(root):
    save_parquet(root / "train/0000.parquet", table(40))
    save_parquet(root / "test/0000.parquet", table(24, 100))
    return str(root)


def in_root(root):
    save_parquet(root / "train.parquet", table(40))
    save_parquet(root / "test-00000-of-00001.parquet", table(24, 100))
    return str(root)


def load(root, split="train"):
    return data.load("hugging-face", split, root=str(root))


@pytest.mark.parametrize("make", [saved, in_data, in_folders, in_root])
def test_every_form_gives_the_same_images_labels_and_identity(tmp_path, make):
    root, info = make(tmp_path / "a"), data.info("hugging-face", saved(tmp_path / "b"))
    assert data.info("hugging-face", root) == info
    assert (info.train_size, info.test_size, info.classes) == (40, 24, {"fine": 4, "coarse": 2})
    assert info.default_labelling == "fine" and info.train_counts == {"fine": (10,) * 4, "coarse": (20,) * 2}
    for split, first in (("train", 0), ("test", 100)):
        read = load(root, split)
        assert read.labels("coarse").tolist() == [k % 4 // 2 for k in range(len(read))]
        for k in (0, 1, 17, 22, len(read) - 1):
            assert torch.equal(read._picture(k).permute(1, 2, 0), torch.from_numpy(picture(first + k)[1]))
    assert load(root).class_name("fine", 2) == "cat"
    with pytest.raises(UserError, match="no labelling 'class'; allowed: fine, coarse"):
        load(root).labels("class")


def test_views_are_those_of_a_folder_of_the_same_files(tmp_path):
    for split, first, count in (("train", 0, 40), ("test", 100, 24)):
        for k in range(count):
            path = tmp_path / "folder" / split / "abcd"[k % 4] / f"{k:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture(first + k)[0])
    folder, ours = data.load("image-folder", "train", root=str(tmp_path / "folder")), load(saved(tmp_path / "saved"))
    order = torch.arange(40).view(10, 4).T.flatten()  # folders go class by class
    assert torch.equal(folder.labels("class"), ours.labels("fine")[order])
    assert torch.equal(folder.plain(torch.arange(40), 16), ours.plain(order, 16))


def test_a_run_is_the_same_on_either_form_with_and_without_workers(tmp_path):
    written = []
    for make, workers in ((saved, 0), (in_data, 2)):
        paths = {"runs": str(tmp_path / f"runs-{make.__name__}"), "data": make(tmp_path / make.__name__)}
        given = {"name": "hugging-face", "labelling": "fine", "workers": workers}
        config = from_tables(tables(data=given, train={"steps": 2}, arms={"cl": {"objective": "dcl"}}, paths=paths))
        path = train(config)
        written.append([(path / file).read_bytes() for file in ("run.json", "manifest.jsonl")])
        assert config.data.listing == data.info("hugging-face", paths["data"]).listing
    assert written[0] == written[1]


def test_other_labels_or_class_names_are_another_run(tmp_path):
    first = data.info("hugging-face", saved(tmp_path / "a")).listing
    other = table(40, coarse=pa.array([1] + [k % 4 // 2 for k in range(1, 40)], pa.int64()))
    save(tmp_path / "b/train", other)
    save(tmp_path / "b/test", table(24, 100))
    renamed = {**FEATURES, "coarse": {"names": ["insect", "pet"], "_type": "ClassLabel"}}
    save(tmp_path / "c/train", table(40), renamed)
    save(tmp_path / "c/test", table(24, 100), renamed)
    assert len({first, *(data.info("hugging-face", str(tmp_path / each)).listing for each in "bc")}) == 3


def one_pixel_apart(root):
    """A saved set, and the same with another pixel: sizes and labels are equal, for its picture is not packed."""
    folders = []
    for value in (0, 1):
        pixels = np.zeros((20, 30, 3), np.uint8)
        pixels[3, 4, 1] = value
        Image.fromarray(pixels).save(file := io.BytesIO(), "PNG", compress_level=0)
        images = [{"bytes": file.getvalue() if k == 7 else picture(k)[0], "path": None} for k in range(40)]
        folders.append(root / str(value))
        save(folders[-1] / "train", table(40, img=pa.array(images, table(1)["img"].type)))
        save(folders[-1] / "test", table(24, 100))
    return map(str, folders)


def test_another_pixel_is_refused_when_a_run_goes_on(tmp_path, monkeypatch):
    first, other = one_pixel_apart(tmp_path)
    assert load(first)._table.images.nbytes == load(other)._table.images.nbytes
    assert load(first).fingerprint() == data.load("hugging-face", "train", root=first, classes=(0, 1)).fingerprint()
    given = {"name": "hugging-face", "labelling": "fine"}
    paths = {"runs": str(tmp_path / "runs"), "data": first}
    config = from_tables(tables(data=given, train={"steps": 2}, arms={"cl": {"objective": "dcl"}}, paths=paths))
    run = train(config)
    assert data.info("hugging-face", other).listing == config.data.listing
    with pytest.raises(UserError, match=r"made under other conditions: data.train was [0-9a-f]{64}, is [0-9a-f]{64}; "):
        resume(run, terms=ResumeTerms(from_step=0), overrides=[f"paths.data={other}"])
    monkeypatch.setattr(hugging_face, "_HASHED", 1000)
    assert load(first).fingerprint() is None


def test_parts_of_it_are_taken_as_of_any_other(tmp_path):
    part = data.load("hugging-face", "train", root=saved(tmp_path), classes=(2, 0), per_class=3)
    assert part.labels("fine").tolist().count(0) == 3 and len(part) == 6


def test_jpegs_are_read_and_others_are_not(tmp_path):
    images = [{"bytes": picture(k, "JPEG" if k else "BMP")[0], "path": None} for k in range(4)]
    save_parquet(tmp_path / "train.parquet", table(4, img=pa.array(images, table(1)["img"].type)))
    read = load(tmp_path)
    assert read.plain(torch.tensor([1, 2]), 16).shape == (2, 3, 16, 16)
    with pytest.raises(RunStopped, match=f"hugging-face: image 0 of {tmp_path} is neither JPEG nor PNG but BMP"):
        read.plain(torch.tensor([0]), 16)


def test_a_picture_that_claims_to_be_huge_is_refused(tmp_path):
    Image.new("L", (9000, 9000)).save(tmp_path / "x.png")
    images = [{"bytes": (tmp_path / "x.png").read_bytes(), "path": None}] * 4
    save_parquet(tmp_path / "train.parquet", table(4, img=pa.array(images, table(1)["img"].type)))
    with pytest.raises(RunStopped, match="image 1 of .* 9000"):
        load(tmp_path).plain(torch.tensor([1]), 16)


def _features(**changes):
    return {name: feature for name, feature in {**FEATURES, **changes}.items() if feature}


IMAGES = table(1)["img"].type
WRONG = {
    "no column of images": (table(4), _features(img=None), r"describes 0 columns of images; "),
    "two columns of images": (table(4), _features(note={"_type": "Image"}), r"describes 2 columns .*\(img, note\)"),
    "a column that is not there": (table(4).drop(["fine"]), FEATURES, "cannot be read .*fine"),
    "no class names": (table(4), _features(fine={"_type": "ClassLabel"}), "no names of the classes of 'fine'"),
    "a label out of range": (
        table(4, fine=pa.array([0, 1, 2, 4], pa.int64())),
        FEATURES,
        "label 4 in 'fine', allowed are 0 to 3",
    ),
    "no label": (table(4, fine=pa.array([0, 1, 2, -1], pa.int64())), FEATURES, "holds the label -1 in 'fine'"),
    "labels missing": (table(4, fine=pa.array([0, 1, 2, None], pa.int64())), FEATURES, "without a class number"),
    "labels in words": (table(4, fine=pa.array(list("abcd"))), FEATURES, "without a class number in 'fine'"),
    "paths alone": (
        table(4, img=pa.array([{"bytes": None, "path": "/etc/passwd"}] * 4, IMAGES)),
        FEATURES,
        "paths of images and not their bytes",
    ),
    "images as text": (table(4, img=pa.array(["x"] * 4)), FEATURES, "images of the type 'string'"),
    "no rows": (table(0), FEATURES, "holds no images"),
    "no description": (table(4), {"x": 1}, "describes 0 columns of images"),
}


@pytest.mark.parametrize("form", ["saved", "parquet"])
@pytest.mark.parametrize(("content", "features", "message"), WRONG.values(), ids=list(WRONG))
def test_what_is_no_image_set_is_refused_in_one_line(tmp_path, form, content, features, message):
    if form == "saved":
        save(tmp_path / "train", content, features)
    else:
        save_parquet(tmp_path / "train.parquet", content, features)
    with pytest.raises(UserError, match=f"hugging-face: {tmp_path}.*{message}") as error:
        load(tmp_path)
    assert len(str(error.value).splitlines()) == 1


def test_missing_splits_say_where_and_how(tmp_path):
    with pytest.raises(UserError, match="paths.data is not set"):
        data.load("hugging-face", "train")
    with pytest.raises(UserError, match=f"no train split in {tmp_path}; .*save_to_disk"):
        load(tmp_path)
    save(tmp_path / "train", table(4))
    with pytest.raises(UserError, match="no test or validation or val split"):
        data.info("hugging-face", str(tmp_path))


def test_a_state_that_names_files_elsewhere_is_refused(tmp_path):
    save(tmp_path / "train", table(4))
    for name in ("../x.arrow", "/etc/x.arrow", "x.parquet", 3, None):
        (tmp_path / "train/state.json").write_text(json.dumps({"_data_files": [{"filename": name}]}))
        with pytest.raises(UserError, match=r"state.json names no files of its folder"):
            load(tmp_path)
    (tmp_path / "train/state.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match=r"state.json cannot be read \(no JSON\)"):
        load(tmp_path)


@pytest.mark.parametrize("make", [saved, in_root])
def test_cut_and_overwritten_tables_are_refused_in_one_line(tmp_path, make):
    root = make(tmp_path)
    path = next(
        each for each in sorted(tmp_path.rglob("*")) if each.suffix in (".arrow", ".parquet") and "train" in str(each)
    )
    whole = path.read_bytes()
    for content in (b"", b"<html>", whole[:100], whole[: len(whole) // 2], bytes(len(whole)), whole[:-9]):
        path.write_bytes(content)
        if content == whole[:-9] and make is saved:
            continue  # a stream may lack its mark of the end
        with pytest.raises(UserError, match="hugging-face: .* cannot be read") as error:
            load(root)
        assert len(str(error.value).splitlines()) == 1


def test_a_table_that_unpacks_to_far_more_than_its_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(hugging_face, "_LARGER_BY", 0)
    images = [{"bytes": bytes(100_000), "path": None}] * 500
    save_parquet(tmp_path / "train.parquet", table(500, img=pa.array(images, IMAGES)))
    with pytest.raises(UserError, match="train.parquet unpacks to more than"):
        load(tmp_path)


def test_splits_of_other_classes_are_refused(tmp_path):
    saved(tmp_path)
    shutil.rmtree(tmp_path / "test")
    save(tmp_path / "test", table(24), _features(coarse=None))
    with pytest.raises(UserError, match="have other classes"):
        data.info("hugging-face", str(tmp_path))


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    saved(tmp_path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"needs pyarrow; it is not installed here; pip install 'coupled\[hf\]'"):
        load(tmp_path)


@pytest.mark.parametrize("kept", [(0,), (1,), (0, 2)])
def test_a_set_of_which_a_file_is_missing_is_refused(tmp_path, kept):
    save_parquet(tmp_path / "test.parquet", table(24, 100))
    for part in kept:
        save_parquet(tmp_path / f"data/train-0000{part}-of-00003.parquet", table(8))
    with pytest.raises(UserError, match="which are not all of one set"):
        load(tmp_path)


def test_files_that_name_classes_otherwise_are_refused(tmp_path):
    save_parquet(tmp_path / "data/train-00000-of-00002.parquet", table(8))
    others = json.loads(json.dumps(FEATURES))
    others["fine"]["names"] = others["fine"]["names"][::-1]
    save_parquet(tmp_path / "data/train-00001-of-00002.parquet", table(8), others)
    with pytest.raises(UserError, match="has other columns or class names than train-00000-of-00002.parquet"):
        load(tmp_path)


def test_other_columns_of_a_packed_file_are_not_unpacked(tmp_path):
    saved(tmp_path)
    file = tmp_path / "train/data-00000-of-00002.arrow"
    with pa.memory_map(str(file)) as source:
        whole = pa.ipc.open_stream(source).read_all()
    whole = whole.append_column("junk", pa.array([bytes(10**7)] * len(whole)))
    with pa.OSFile(str(tmp_path / "packed"), "wb") as sink:
        packing = pa.ipc.IpcWriteOptions(compression="zstd")
        with pa.ipc.new_stream(sink, whole.schema, options=packing) as stream:
            stream.write_table(whole)
    (tmp_path / "packed").rename(file)
    usual = pa.default_memory_pool()
    own = pa.proxy_memory_pool(usual)  # with a highest mark of its own
    pa.set_memory_pool(own)
    try:
        assert len(load(tmp_path)) == 40
    finally:
        pa.set_memory_pool(usual)
    assert own.max_memory() < 10**8  # the column has 2 · 10⁸ bytes
