"""SVHN's reader: small MATLAB files of the true layout are read, anything else is refused in one line."""

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat

from coupled import data
from coupled.data import svhn
from coupled.data.svhn import info, read_split
from coupled.errors import UserError

DIGITS = np.array([[1], [10], [3], [2], [9], [8], [7], [6], [5], [4], [10], [1]], dtype=np.uint8)
COUNT = len(DIGITS)
IMAGES = (np.arange(32 * 32 * 3 * COUNT) % 251).astype(np.uint8).reshape(32, 32, 3, COUNT)
SMALL = replace(info, train_size=COUNT, train_counts={"class": (2, 2, 1, 1, 1, 1, 1, 1, 1, 1)})


def _write(root: Path, content=None, **options) -> Path:
    path = root / "train_32x32.mat"
    savemat(path, {"X": IMAGES, "y": DIGITS} if content is None else content, **options)
    return path


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("kind", [np.uint8, np.float64])
def test_an_image_is_a_slice_of_x_and_ten_is_the_digit_0(tmp_path, kind, compressed):
    _write(tmp_path, {"X": IMAGES, "y": DIGITS.astype(kind)}, do_compression=compressed)
    read = read_split(SMALL, "train", tmp_path)
    images = read.images(torch.tensor([5, 1]))
    assert images.shape == (2, 3, 32, 32) and images.dtype == torch.uint8 and images.is_contiguous()
    for c, y, x in [(0, 0, 0), (0, 1, 5), (2, 31, 30)]:
        assert images[:, c, y, x].tolist() == IMAGES[y, x, c, [5, 1]].tolist()
    assert read.labels("class").tolist() == [1, 0, 3, 2, 9, 8, 7, 6, 5, 4, 0, 1]


WRONG = {
    "nothing": ({}, "holds X not at all, not "),
    "no labels": ({"X": IMAGES}, "holds y not at all, not "),
    "an image too few": ({"X": IMAGES[..., 1:], "y": DIGITS}, r"holds X \(32, 32, 3, 11\) uint8 in \d+ bytes .*, not "),
    "a label too many": (
        {"X": IMAGES, "y": np.vstack([DIGITS, DIGITS[:1]])},
        r"holds y \(13, 1\) uint8 in 13 bytes of type 2, not ",
    ),
    "floats": ({"X": IMAGES.astype(float), "y": DIGITS}, r"holds X .* double in .*, not .* uint8"),
    "a cell": ({"X": IMAGES, "y": np.array([[1, "a"]] * 6, dtype=object)}, r"holds y \(6, 2\) class 0x1"),
    "a struct": ({"X": {"a": 1}, "y": DIGITS}, r"holds X \(1, 1\) class 0x2"),
    "a digit 0": ({"X": IMAGES, "y": DIGITS % 10}, "holds labels other than 1 to 10"),
    "a digit 11": ({"X": IMAGES, "y": DIGITS + 1}, "holds labels other than 1 to 10"),
    "a half digit": ({"X": IMAGES, "y": DIGITS - 0.5}, "holds labels other than 1 to 10"),
    "nan": ({"X": IMAGES, "y": np.where(DIGITS == 3, np.nan, DIGITS)}, "holds labels other than 1 to 10"),
    "complex": ({"X": IMAGES, "y": DIGITS + 1j}, r"holds y \(12, 1\) class 0x806"),
}


@pytest.mark.parametrize(("content", "message"), WRONG.values(), ids=list(WRONG))
def test_another_content_is_refused_in_one_line(tmp_path, content, message):
    _write(tmp_path, content)
    with pytest.raises(UserError, match=f"train_32x32.mat {message}.*; get .*{svhn.PAGE}") as error:
        read_split(SMALL, "train", tmp_path)
    assert "\n" not in str(error.value)


def test_an_array_larger_than_expected_is_not_read(tmp_path, monkeypatch):
    _write(tmp_path, {"X": np.zeros((32, 32, 3, 500), np.uint8), "y": DIGITS}, do_compression=True)
    monkeypatch.setattr("scipy.io.loadmat", lambda *_, **__: pytest.fail("the array was read"))
    with pytest.raises(UserError, match=r"holds X \(32, 32, 3, 500\)"):
        read_split(SMALL, "train", tmp_path)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("cut", [0, 3, 100, 128, 150, 1000, -1, -30])
def test_a_truncated_file_is_refused_in_one_line(tmp_path, cut, compressed):
    path = _write(tmp_path, do_compression=compressed)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(UserError, match="train_32x32.mat (cannot be read|holds)") as error:
        read_split(SMALL, "train", tmp_path)
    assert "\n" not in str(error.value)


def test_no_damaged_byte_of_a_header_gives_anything_but_one_line_or_the_digits(tmp_path):
    """Every byte of the file's own header and of the first array's, turned over one at a time."""
    path = _write(tmp_path)
    whole = bytearray(path.read_bytes())
    for position in range(120, 200):
        whole[position] ^= 0xFF
        path.write_bytes(whole)
        whole[position] ^= 0xFF
        try:
            read = read_split(SMALL, "train", tmp_path)
        except UserError as error:
            assert "\n" not in str(error)
        else:
            assert read.labels("class").tolist() == (DIGITS[:, 0] % 10).tolist()


def test_elements_of_a_type_that_does_not_exist_are_refused_before_scipy_meets_them(tmp_path):
    """Its reader takes the type for an index without looking, and ends the process."""
    path = _write(tmp_path)
    tag, wrong = struct.pack("<2I", 2, IMAGES.size), struct.pack("<2I", 1000, IMAGES.size)
    path.write_bytes(path.read_bytes().replace(tag, wrong))
    with pytest.raises(UserError, match="holds X .* bytes of type 1000, not .* of type 2"):
        read_split(SMALL, "train", tmp_path)


def test_a_variable_that_comes_twice_is_refused(tmp_path):
    path = _write(tmp_path)
    first = path.read_bytes()
    path.write_bytes(first + first[128:])  # 128 bytes of header, then the variables
    with pytest.raises(UserError, match=r"holds X .* type 2 and .* type 2, not"):
        read_split(SMALL, "train", tmp_path)


def test_a_matlab_7_3_file_is_refused(tmp_path):
    (tmp_path / "train_32x32.mat").write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + b"\x89HDF\r\n")
    with pytest.raises(UserError, match=r"cannot be read \(it is not of MATLAB's format 5 to 7"):
        read_split(SMALL, "train", tmp_path)


def test_a_folder_in_place_of_the_file_is_refused(tmp_path):
    (tmp_path / "train_32x32.mat").mkdir()
    with pytest.raises(UserError, match="train_32x32.mat is not a file"):
        read_split(SMALL, "train", tmp_path)


def test_a_folder_that_may_not_be_looked_into_is_one_line(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "exists", refuse)
    with pytest.raises(UserError, match=r"cannot be read \(.*Permission denied"):
        read_split(SMALL, "train", tmp_path)


def test_a_missing_file_says_where_and_how(tmp_path):
    with pytest.raises(UserError, match=rf"no file {tmp_path}/test_32x32.mat; .*; get train_32x32.mat"):
        data.load("svhn", "test", root=str(tmp_path))
    with pytest.raises(UserError, match="svhn needs its files; paths.data is empty; get"):
        data.load("svhn", "test")


def test_the_published_counts_sum_to_the_published_sizes():
    assert sum(info.train_counts["class"]) == info.train_size == 73_257
    assert sum(info.test_counts["class"]) == info.test_size == 26_032
