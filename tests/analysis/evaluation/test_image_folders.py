"""Features of images that lie in files: decoded by any number of processes, the same."""

import numpy as np
import pytest
import torch
from helpers import tables
from PIL import Image

import analysis
from analysis.evaluation import extraction
from analysis.evaluation.features import Evaluation, Place
from coupled.config import from_tables
from coupled.driver.train import train
from coupled.errors import RunStopped, UserError

pytestmark = pytest.mark.kernels


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder, draw = tmp_path_factory.mktemp("images"), np.random.default_rng(3)
    for split, count in (("train", 12), ("test", 8)):
        for index in range(count):
            place = folder / split / f"class{index % 2}"
            place.mkdir(parents=True, exist_ok=True)
            pixels = draw.integers(0, 256, (20 + index, 30 - index, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(place / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def trained(images, tmp_path_factory):
    given = tables(
        data={"name": "image-folder", "labelling": "class"},
        panel={"size": 8, "surrogate_size": 4},
        train={"steps": 2},
        checkpoints={"keep": {"steps": [0], "last": True}},
        paths={"data": str(images), "runs": str(tmp_path_factory.mktemp("runs"))},
    )
    return train(from_tables(given))


@pytest.mark.slow
def test_equal_bytes_for_any_number_of_workers(trained, tmp_path):
    hashes = []
    for workers in (0, 1, 2):
        evaluation = Evaluation(analysis.open_run(trained), workers=workers, output=tmp_path / str(workers))
        evaluation.prepare(kinds=("plain", "views"))
        hashes.append(sorted(path.name for path in (tmp_path / str(workers)).rglob("*.safetensors")))
    assert hashes[0] == hashes[1] == hashes[2] and len(hashes[0]) == 5 * 2 * 4
    assert len(evaluation.sample("train")) == 12


def test_one_process_a_core_decodes_unless_the_user_says_otherwise(trained, tmp_path, monkeypatch):
    workers = []
    ahead = extraction.Ahead
    monkeypatch.setattr(extraction, "Ahead", lambda read, n, steps: workers.append(n) or ahead(read, 0, steps))
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        Evaluation(analysis.open_run(trained), output=tmp_path).features(Place("cl", 2, "test"), "h")
    finally:
        torch.set_num_threads(threads)
    assert workers == [2]


def test_a_data_set_that_has_gone_or_changed_is_one_line(trained, images, tmp_path):
    run = analysis.open_run(trained)
    with pytest.raises(UserError, match="image-folder"):
        Evaluation(run, data=str(tmp_path), output=tmp_path / "features").prepare()
    images.joinpath("test/class0/0.png").rename(images / "test/class0/00.png")
    try:
        with pytest.raises(UserError, match="listing"):
            Evaluation(run, output=tmp_path / "features").prepare()
    finally:
        images.joinpath("test/class0/00.png").rename(images / "test/class0/0.png")


def test_a_damaged_image_is_named(trained, images, tmp_path):
    path = images / "test/class1/1.png"
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    try:
        with pytest.raises(RunStopped, match=r"class1/1\.png"):
            Evaluation(analysis.open_run(trained), output=tmp_path / "features").features(Place("cl", 2, "test"), "h")
    finally:
        path.write_bytes(whole)
