"""The sweeps that ship: what they are, and what their heads say."""

import re
from pathlib import Path

import pytest

from coupled.sweeps.reading import load

ROOT = Path(__file__).parents[3]
SWEEPS = {path.stem: path for path in sorted((ROOT / "configs/sweeps").glob("*.toml"))}
RUNS = {
    "batch_size": 27,
    "batch_size_papers_rates": 33,
    "classes": 9,
    "floor": 3,
    "granularity": 3,
    "imbalance": 9,
    "seeds": 5,
    "temperature": 3,
}
# The editions for a cluster, of the papers' data sets and networks.
PAPERS = {path.stem: path for path in sorted((ROOT / "configs/sweeps/papers").glob("*.toml"))}
RUNS_OF_PAPERS = {
    "batch_size": 55,
    "classes": 35,
    "classes_imagenet": 30,
    "classes_mini_imagenet": 35,
    "floor": 5,
    "granularity": 5,
    "imbalance": 15,
    "seeds": 5,
    "temperature": 5,
}


def test_the_sweeps_ship():
    assert set(SWEEPS) == set(RUNS) and set(PAPERS) == set(RUNS_OF_PAPERS)


@pytest.mark.parametrize("name", SWEEPS)
def test_a_shipped_sweep_has_its_runs_and_panels_at_headline_steps(name):
    sweep = load(SWEEPS[name])
    assert (sweep.name, len(sweep.points)) == (name, RUNS[name])
    for config in (point.config for point in sweep.points):
        wanted = {step for step in (10, 30, 100) if step <= config.train.steps}
        assert wanted <= set(config.record.panel.upto(config.train.steps)) and config.train.threads == 1


@pytest.mark.parametrize("name", SWEEPS)
def test_a_shipped_sweep_opens_with_command_minutes_and_what_was_seen(name):
    head = re.match(r"(#.*\n)+", SWEEPS[name].read_text())
    assert head is not None
    text = " ".join(head.group().replace("#", " ").split())
    assert f"coupled-run sweep configs/sweeps/{name}.toml" in text
    assert re.search(r"Takes about \d+ minutes on two quiet cores", text) and re.search(r"Seen at .* \.\d+", text)


@pytest.mark.parametrize("name", PAPERS)
def test_an_edition_for_a_cluster_is_planned_where_its_data_set_is_not(name, tmp_path):
    text = PAPERS[name].read_text()
    assert f"coupled-run sweep configs/sweeps/papers/{name}.toml" in text and "Needs a CUDA device" in text
    overrides = []
    if name == "classes_imagenet":  # which counts its images: a folder of as many classes stands for it
        for split in ("train", "test"):
            for label in range(1000):
                folder = tmp_path / split / f"class{label:04}"
                folder.mkdir(parents=True)
                for image in range(4 if split == "train" else 2):
                    (folder / f"{image}.jpeg").touch()
        sizes = ["panel.size=10", "panel.surrogate_size=10", "batches.size=10"]
        overrides = [f"paths.data={tmp_path}", *sizes]
    sweep = load(PAPERS[name], overrides)
    assert len(sweep.points) == RUNS_OF_PAPERS[name]
    assert overrides or sweep.name == f"papers_{name}"  # not in the folder of the small edition
    assert {point.config.model.encoder for point in sweep.points} == {"resnet50"}


def test_papers_rates_are_those_that_are_published():
    points = load(PAPERS["batch_size"]).points
    rates = {}
    for point in points:
        optimiser, size = point.config.optimiser, point.config.batches.size
        power = {"constant": 0, "linear": 1, "sqrt": 1 / 2, "fourth-root": 1 / 4}[optimiser.scaling]
        for rule in point.values["lr_rule"]:
            rates[rule, size] = optimiser.learning_rate * (size / (optimiser.reference_batch or size)) ** power
    for rule, power in (("linear", 1), ("published-sqrt", 1 / 2), ("published-fourth-root", 1 / 4), ("constant", None)):
        for size in (256, 512, 1024):
            wanted = 0.3 if power is None else 0.3 * size**power / 256
            assert rates[rule, size] == pytest.approx(wanted, rel=1e-12)
