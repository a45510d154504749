"""CIFAR's reader: small files of the true format are read, anything else is refused in one line."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from coupled import data
from coupled.data import cifar
from coupled.data.cifar import INFOS, read_split
from coupled.errors import UserError

FILES = {
    "cifar10": {"train": [f"data_batch_{k}.bin" for k in range(1, 6)], "test": ["test_batch.bin"]},
    "cifar100": {"train": ["train.bin"], "test": ["test.bin"]},
}
FOLDERS = {"cifar10": "cifar-10-batches-bin", "cifar100": "cifar-100-binary"}
HEADS = {"cifar10": 1, "cifar100": 2}
# Two images of each class to train on, one to test with.
SMALL = {
    "cifar10": replace(
        INFOS["cifar10"],
        train_size=20,
        test_size=10,
        train_counts={"class": (2,) * 10},
        test_counts={"class": (1,) * 10},
    ),
    "cifar100": replace(
        INFOS["cifar100"],
        train_size=200,
        test_size=100,
        train_counts={"fine": (2,) * 100, "coarse": (10,) * 20},
        test_counts={"fine": (1,) * 100, "coarse": (5,) * 20},
    ),
}


def _record(name: str, number: int, classes: int) -> bytes:
    """Record `number` of a split: label bytes, then pixels that tell records, channels, rows and columns apart."""
    label = number * 7 % classes
    heads = [label] if name == "cifar10" else [label % 20, label]
    return bytes(heads) + bytes((number * 31 + position * 3 + position // 32) % 256 for position in range(3072))


def _write(root: Path, name: str, split: str = "train") -> list[Path]:
    info, files = SMALL[name], FILES[name][split]
    classes, count = info.classes[info.default_labelling], info.size_of(split)
    records = [_record(name, number, classes) for number in range(count)]
    share = count // len(files)
    for k, file in enumerate(files):
        (root / file).write_bytes(b"".join(records[k * share : (k + 1) * share]))
    return [root / file for file in files]


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_a_record_is_its_labels_and_planes(tmp_path, name, split):
    _write(tmp_path, name, split)
    info = SMALL[name]
    read, classes = read_split(info, split, tmp_path), info.classes[info.default_labelling]
    ids = torch.tensor([info.size_of(split) - 1, 3])
    for image, number in zip(read.images(ids), ids.tolist(), strict=True):
        planes = _record(name, number, classes)[HEADS[name] :]
        assert image.shape == (3, 32, 32) and image.dtype == torch.uint8
        assert all(image[c, y, x] == planes[c * 1024 + y * 32 + x] for c, y, x in [(0, 0, 0), (0, 1, 5), (2, 31, 30)])
        assert bytes(image.flatten().tolist()) == planes
        assert read.labels(info.default_labelling)[number] == number * 7 % classes


def test_cifar100_has_coarse_labels_before_fine_ones(tmp_path):
    _write(tmp_path, "cifar100")
    read = read_split(SMALL["cifar100"], "train", tmp_path)
    assert torch.equal(read.labels("coarse"), read.labels("fine") % 20)
    assert read.labels("coarse").dtype == torch.int64
    with pytest.raises(UserError, match="no labelling 'class'; allowed: coarse, fine"):
        read.labels("class")


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_paths_data_may_be_the_folder_or_its_parent(tmp_path, name):
    folder = tmp_path / FOLDERS[name]
    folder.mkdir()
    _write(folder, name)
    inside, above = (read_split(SMALL[name], "train", root) for root in (folder, tmp_path))
    assert torch.equal(inside.images(torch.arange(20)), above.images(torch.arange(20)))


def test_pixels_are_held_once(tmp_path):
    _write(tmp_path, "cifar100")
    held = read_split(SMALL["cifar100"], "train", tmp_path)._images
    assert held.untyped_storage().nbytes() == 200 * 3074


DAMAGE = {
    "truncated": (lambda content, heads: content[:-1], r"holds \d+ bytes, not \d+ \(\d+ records"),
    "a byte too long": (lambda content, heads: content + b"\0", r"holds \d+ bytes, not \d+ \(\d+ records"),
    "a record too long": (lambda content, heads: content * 2, r"holds \d+ bytes, not \d+ \(\d+ records"),
    "empty": (lambda content, heads: b"", r"holds 0 bytes"),
    "label out of range": (
        lambda content, heads: content[: heads - 1] + b"\x64" + content[heads:],
        "label 100, allowed",
    ),
}


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
@pytest.mark.parametrize(("damage", "message"), DAMAGE.values(), ids=list(DAMAGE))
def test_damaged_files_are_refused_in_one_line(tmp_path, name, damage, message):
    path = _write(tmp_path, name)[0]
    path.write_bytes(damage(path.read_bytes(), HEADS[name]))
    with pytest.raises(UserError, match=f"{name}: {tmp_path}.* {message}.*expected.*{cifar.PAGE}") as error:
        read_split(SMALL[name], "train", tmp_path)
    assert "\n" not in str(error.value)


def test_a_coarse_label_out_of_range_is_refused(tmp_path):
    path = _write(tmp_path, "cifar100")[0]
    path.write_bytes(b"\x14" + path.read_bytes()[1:])
    with pytest.raises(UserError, match="train.bin holds the coarse label 20, allowed are 0 to 19"):
        read_split(SMALL["cifar100"], "train", tmp_path)


def test_a_missing_batch_is_named(tmp_path):
    _write(tmp_path, "cifar10")[3].unlink()
    with pytest.raises(UserError, match=r"data_batch_4.bin cannot be read \(No such file"):
        read_split(SMALL["cifar10"], "train", tmp_path)


def test_a_folder_in_place_of_a_file_is_refused(tmp_path):
    path = _write(tmp_path, "cifar10")[0]
    path.unlink()
    path.mkdir()
    with pytest.raises(UserError, match=r"data_batch_1.bin is not a file"):
        read_split(SMALL["cifar10"], "train", tmp_path)


def test_a_file_that_may_not_be_read_is_one_line(tmp_path, monkeypatch):
    _write(tmp_path, "cifar100")

    def refuse(*_):
        raise PermissionError(13, "Permission denied")  # who runs the tests as root may read everything

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UserError, match=r"train.bin cannot be read \(Permission denied\)"):
        read_split(SMALL["cifar100"], "train", tmp_path)


def test_a_file_that_shrinks_while_it_is_read_is_refused(tmp_path, monkeypatch):
    path = _write(tmp_path, "cifar100")[0]
    whole = path.stat()
    path.write_bytes(path.read_bytes()[:-5])
    monkeypatch.setattr(Path, "stat", lambda *_, **__: whole)
    with pytest.raises(UserError, match=r"train.bin ended after \d+ bytes"):
        read_split(SMALL["cifar100"], "train", tmp_path)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_missing_files_say_where_and_how(tmp_path, name):
    looked = rf"looked in {tmp_path}, {FOLDERS[name]} and cifar-100?-\S*py\S* in it"
    with pytest.raises(UserError, match=rf"no file \w+.bin or \w+; {looked}; get .*kriz"):
        data.load(name, "test", root=str(tmp_path))
    with pytest.raises(UserError, match=rf"{name} needs its files; paths.data is empty; get .*binary"):
        data.load(name, "test")


@pytest.mark.parametrize("archive", ["cifar-10-binary.tar.gz", "cifar-10-python.tar.gz"])
def test_an_archive_that_is_not_unpacked_is_recognised(tmp_path, archive):
    (tmp_path / archive).write_bytes(b"\x1f\x8b")
    with pytest.raises(UserError, match=f"looked in .*; {archive} is there, but not unpacked; get"):
        data.load("cifar10", "train", root=str(tmp_path))
