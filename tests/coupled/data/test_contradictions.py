"""Files that are read without complaint and are not the data set's own: every reader refuses them, in one line."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.io import savemat

from coupled import data
from coupled.data import cifar, fashion_mnist, svhn
from coupled.data.contradictions import mean_std
from coupled.errors import UserError

COARSE = (np.arange(100) * 7 % 20).astype(np.uint8)


def _idx(path, magic, array):
    path.write_bytes(np.array([magic, *array.shape], ">u4").tobytes() + array.tobytes())


def _write_fashion(root, split, images, labels):
    prefix = {"train": "train", "test": "t10k"}[split]
    _idx(root / f"{prefix}-images-idx3-ubyte", 0x803, images[:, 0].copy())
    _idx(root / f"{prefix}-labels-idx1-ubyte", 0x801, labels)


def _write_cifar(root, split, images, *heads):
    records = np.hstack([*(head[:, None] for head in heads), images.reshape(len(images), -1)])
    files = {"train": [f"data_batch_{k}.bin" for k in range(1, 6)], "test": ["test_batch.bin"]}
    names = files[split] if len(heads) == 1 else [f"{split}.bin"]
    for name, part in zip(names, np.split(records, len(names)), strict=True):
        (root / name).write_bytes(part.tobytes())


def _write_svhn(root, split, images, labels):
    savemat(
        root / f"{split}_32x32.mat", {"X": images.transpose(2, 3, 1, 0), "y": np.where(labels, labels, 10)[:, None]}
    )


WRITERS = {
    "fashion-mnist": _write_fashion,
    "cifar10": _write_cifar,
    "cifar100": lambda root, split, images, fine: _write_cifar(root, split, images, COARSE[fine], fine),
    "svhn": _write_svhn,
}


def _made(name, split):
    """Images uint8 (N, 3, S, S) and labels (N,) of a small data set of the format of `name`, two of each class."""
    info, rng = data.info(name), np.random.default_rng({"train": 0, "test": 1}[split])
    labels = np.repeat(np.arange(info.classes[info.default_labelling], dtype=np.uint8), 2)
    images = rng.integers(0, 256, (len(labels), 3, info.size, info.size), dtype=np.uint8)
    return (images[:, :1].repeat(3, 1) if name == "fashion-mnist" else images), labels


def _small(name):
    """The constants of those images; mean and std by their definition."""
    images, labels = _made(name, "train")
    classes = data.info(name).classes
    counts = {labelling: (len(labels) // number,) * number for labelling, number in classes.items()}
    pixels = images.astype(np.float64) / 255
    return replace(
        data.info(name),
        train_size=len(labels),
        test_size=len(labels),
        mean=tuple(pixels.mean((0, 2, 3)).tolist()),
        std=tuple(pixels.std((0, 2, 3)).tolist()),
        train_counts=counts,
        test_counts=counts,
    )


@pytest.fixture(params=WRITERS)
def name(request, monkeypatch, tmp_path):
    """A built-in data set, made small, with whole files in `tmp_path`."""
    name, small = request.param, _small(request.param)
    monkeypatch.setitem(data.DATASETS, name, small)
    monkeypatch.setitem(cifar.INFOS, name, small)
    for module in (fashion_mnist, svhn):
        if module.info.name == name:
            monkeypatch.setattr(module, "info", small)
    for split in ("train", "test"):
        WRITERS[name](tmp_path, split, *_made(name, split))
    return name


def _refused(name, root, split, message):
    with pytest.raises(UserError, match=rf"{name}: the {split} split in {root} {message}; expected .*own files; ") as e:
        data.load(name, split, root=str(root))
    assert "\n" not in str(e.value)


def test_whole_files_are_read(name, tmp_path):
    for split in ("train", "test"):
        images, labels = _made(name, split)
        read = data.load(name, split, root=str(tmp_path))
        assert torch.equal(read.images(torch.arange(len(read))), torch.from_numpy(images))
        assert read.labels(data.info(name).default_labelling).tolist() == labels.tolist()


@pytest.mark.parametrize("split", ["train", "test"])
def test_other_labels_are_refused(name, tmp_path, split):
    images, labels = _made(name, split)
    for wrong, counts in ((labels * 0, (len(labels), 0)), (np.r_[labels[1:], labels[:1] + 1], (1, 3))):
        WRITERS[name](tmp_path, split, images, wrong)
        _refused(name, tmp_path, split, rf"has {counts[0]} images of class 0 under (class|fine), not 2")


def test_other_pixels_are_refused(name, tmp_path):
    """Labels and counts are right, as those of a data set with equal classes are: KMNIST's for Fashion-MNIST's."""
    images, labels = _made(name, "train")
    for wrong, what in ((images // 2 * 2, "mean"), (np.where(images < 128, 45, 210).astype(np.uint8), "std|mean")):
        WRITERS[name](tmp_path, "train", wrong, labels)
        _refused(name, tmp_path, "train", rf"has other pixels: their ({what}) is \(.*\), not within 0.001 of \(.*\)")


def test_test_images_of_another_data_set_are_refused(name, tmp_path):
    images, labels = _made(name, "test")
    WRITERS[name](tmp_path, "test", images // 2, labels)
    _refused(name, tmp_path, "test", r"has other pixels: their mean is \(.*\), not within 0.05 of \(.*\)")


def test_a_fine_class_in_two_coarse_classes_is_refused(tmp_path, monkeypatch):
    """Two labels swapped: every count stays as published."""
    monkeypatch.setitem(data.DATASETS, "cifar100", _small("cifar100"))
    monkeypatch.setitem(cifar.INFOS, "cifar100", _small("cifar100"))
    images, fine = _made("cifar100", "train")
    swapped = fine.copy()
    swapped[[0, 2]] = swapped[[2, 0]]  # of fine classes 0 and 1, in coarse classes 0 and 7
    _write_cifar(tmp_path, "train", images, COARSE[fine], swapped)
    _refused("cifar100", tmp_path, "train", r"has images of fine class 0 in the coarse classes 0 and 7")


@pytest.mark.parametrize(
    ("balanced", "message"),
    [
        (False, "has 60000 images of class 0 under class, not 6000"),
        (True, r"has other pixels: their mean is \(0.0000, 0.0000, 0.0000\), not within 0.001 of \(0.2860, .*\)"),
    ],
)
def test_files_of_fashion_mnists_own_size_and_other_content_are_refused(tmp_path, balanced, message):
    for kind, magic, shape in (("images-idx3", 0x803, (60_000, 28, 28)), ("labels-idx1", 0x801, (60_000,))):
        with (tmp_path / f"train-{kind}-ubyte").open("wb") as file:
            file.write(np.array([magic, *shape], ">u4").tobytes())
            file.write(bytes(range(10)) * (6000 * balanced) if len(shape) == 1 else b"")
            file.truncate(4 * (1 + len(shape)) + np.prod(shape))  # zeros, of which none is on disk
    _refused("fashion-mnist", tmp_path, "train", message)


def test_mean_and_std_are_exact():
    """Against rational arithmetic, with values whose float32 sums would lose digits."""
    images = np.full((300, 3, 4, 4), 255, np.uint8)
    images[:, 1] = 0
    images[0, 2] = np.arange(16).reshape(4, 4)
    mean, std = mean_std(data.ArraySplit(images, {}))
    assert (mean[:2], std[:2]) == ([1.0, 0.0], [0.0, 0.0])
    values = images[:, 2].astype(np.float64) / 255
    assert mean[2] == pytest.approx(values.mean(), rel=1e-12) and std[2] == pytest.approx(values.std(), rel=1e-9)
