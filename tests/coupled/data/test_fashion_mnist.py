"""Fashion-MNIST's reader: whole files are read, anything else is refused in one line."""

import gzip
import tracemalloc
from pathlib import Path

import pytest
import torch

from coupled import data
from coupled.data import fashion_mnist
from coupled.data.fashion_mnist import read_split
from coupled.errors import UserError

COUNT = 5
IMAGES = bytes(i % 251 for i in range(COUNT * 784))
LABELS = bytes([9, 0, 3, 3, 1])


def _idx(*header: int, body: bytes) -> bytes:
    return b"".join(word.to_bytes(4, "big") for word in header) + body


def _write(root: Path, images: bytes | None = None, labels: bytes | None = None, *, gz: bool = False) -> Path:
    files = {
        "train-images-idx3-ubyte": images if images is not None else _idx(0x803, COUNT, 28, 28, body=IMAGES),
        "train-labels-idx1-ubyte": labels if labels is not None else _idx(0x801, COUNT, body=LABELS),
    }
    for name, content in files.items():
        (root / f"{name}.gz" if gz else root / name).write_bytes(gzip.compress(content) if gz else content)
    return root


@pytest.mark.parametrize("gz", [False, True])
def test_whole_files_are_read(tmp_path, gz):
    split = read_split(_write(tmp_path, gz=gz), "train", COUNT)
    assert len(split) == COUNT
    assert split.labels("class").tolist() == list(LABELS)
    images = split.images(torch.tensor([4, 1]))
    assert images.shape == (2, 3, 28, 28) and images.dtype == torch.uint8
    assert bytes(images[1, 2].flatten().tolist()) == IMAGES[784:1568]


DAMAGED_IMAGES = {
    "nothing": b"",
    "half a header": _idx(0x803, COUNT, body=b"\0\0"),
    "wrong magic": _idx(0x801, COUNT, 28, 28, body=IMAGES),
    "wrong count": _idx(0x803, COUNT + 1, 28, 28, body=IMAGES),
    "wrong size": _idx(0x803, COUNT, 32, 32, body=IMAGES),
    "huge dimensions": _idx(0x803, 2**32 - 1, 2**32 - 1, 2**32 - 1, body=IMAGES),
    "truncated": _idx(0x803, COUNT, 28, 28, body=IMAGES[:-1]),
    "too long": _idx(0x803, COUNT, 28, 28, body=IMAGES + b"\0"),
}


@pytest.mark.parametrize("gz", [False, True])
@pytest.mark.parametrize("content", DAMAGED_IMAGES.values(), ids=list(DAMAGED_IMAGES))
def test_damaged_images_are_refused_in_one_line(tmp_path, content, gz):
    _write(tmp_path, images=content, gz=gz)
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte.* (begins with|holds) .*apt-get install") as error:
        read_split(tmp_path, "train", COUNT)
    assert "\n" not in str(error.value)


def test_a_label_out_of_range_is_refused(tmp_path):
    _write(tmp_path, labels=_idx(0x801, COUNT, body=bytes([0, 1, 10, 2, 3])))
    with pytest.raises(UserError, match="label 10, allowed are 0 to 9"):
        read_split(tmp_path, "train", COUNT)


@pytest.mark.parametrize("cut", [5, 40, -4])
def test_a_cut_gzip_file_is_refused(tmp_path, cut):
    path = _write(tmp_path, gz=True) / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(UserError, match=r"cannot be read .*apt-get install"):
        read_split(tmp_path, "train", COUNT)


def test_a_gzip_file_with_a_wrong_checksum_is_refused(tmp_path):
    path = _write(tmp_path, gz=True) / "train-labels-idx1-ubyte.gz"
    content = bytearray(path.read_bytes())
    content[-8] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="CRC"):
        read_split(tmp_path, "train", COUNT)


def test_a_gzip_bomb_is_not_unpacked(tmp_path):
    """Sixteen MiB of zeros in 16 KiB: less than one of them is ever held."""
    _write(tmp_path, images=_idx(0x803, COUNT, 28, 28, body=bytes(2**24)), gz=True)
    tracemalloc.start()
    with pytest.raises(UserError, match="holds more bytes"):
        read_split(tmp_path, "train", COUNT)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_missing_files_say_where_and_how(tmp_path):
    with pytest.raises(UserError, match=r"no file .*t10k-images-idx3-ubyte; .*apt-get install dataset-fashion-mnist"):
        fashion_mnist.load("test", str(tmp_path))


def test_an_unknown_labelling_is_refused(tmp_path):
    with pytest.raises(UserError, match="no labelling 'colour'; allowed is class"):
        read_split(_write(tmp_path), "train", COUNT).labels("colour")


def test_the_debian_files_are_read():
    split = data.load("fashion-mnist", "train", seed=0, root="")
    grey = split.images(torch.arange(len(split)))[:, 0].double() / 255
    assert len(split) == 60_000
    assert split.labels("class")[:4].tolist() == [9, 0, 0, 3]
    assert torch.bincount(split.labels("class")).tolist() == [6000] * 10
    assert abs(float(grey.mean()) - data.info("fashion-mnist").mean[0]) < 1e-4
    assert abs(float(grey.std()) - data.info("fashion-mnist").std[0]) < 1e-4


def test_an_unknown_data_set_names_the_nearest():
    with pytest.raises(UserError, match=r"unknown data set fashion_mnist; allowed: .*; did you mean fashion-mnist\?"):
        data.info("fashion_mnist")
    with pytest.raises(UserError, match="unknown data set x"):
        data.load("x", "train", seed=0, root="")


def test_names_and_sizes_agree_with_the_splits():
    for split, size in (("train", data.info("shapes").train_size), ("test", data.info("shapes").test_size)):
        assert len(data.load("shapes", split, seed=0, root="")) == size
