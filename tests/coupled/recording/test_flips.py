"""The stream flips: counted by hand, 0 for a twin, and nothing of a run changes by it."""

import numpy as np
import pytest
import torch
from helpers import tiny
from safetensors.numpy import load_file

from coupled.arms.network import units_on_shapes
from coupled.driver.assembly import assemble
from coupled.driver.loop import lockstep
from coupled.driver.reporter import Silent
from coupled.driver.train import train
from coupled.models import evaluating
from coupled.verification import verify

pytestmark = pytest.mark.kernels

ARMS = {"cl": {"objective": "dcl"}, "nscl": {"objective": "nscl"}, "twin": {"kind": "twin"}}
ON = {"flips": {"every": 2, "last": True}}


def shards(path, arm):
    files = sorted((path / "records/flips" / arm).glob("*.safetensors"))
    return np.concatenate([load_file(file)["state.flipped"] for file in files])


def by_hand(arm, reference, images):
    """Which inputs of every ReLU differ in sign, by hooks on the modules, place by place."""
    seen = []
    for which in (arm, reference):
        places = which.network.activations()
        modules, inputs = dict(which.network.named_modules()), {place: [] for place in places}
        hooks = [
            modules[name].register_forward_pre_hook(
                lambda module, given, of_place=inputs[place]: of_place.append((given[0] > 0).clone())
            )
            for place, names in places.items()
            for name in names
        ]
        with evaluating(which.network):
            which.network(images)
        for hook in hooks:
            hook.remove()
        seen.append(inputs)
    return [sum(int((a != b).sum()) for a, b in zip(*(each[p] for each in seen), strict=True)) for p in seen[0]]


VIT = {"encoder": "vit", "width": 8, "depth": 2, "heads": 2}


@pytest.mark.parametrize("model", [{}, {"encoder": "resnet50", "width": 4}, VIT])
def test_flips_are_those_counted_by_hand(model, tmp_path):
    config = tiny(tmp_path, model=model, arms=ARMS, record=ON, train={"steps": 2})
    run = assemble(config)
    with run:
        images = run.recorder.observers["flips"]._images
        assert len(images) == 16
        lockstep(run, Silent())
        expected = by_hand(run.arms["nscl"], run.arms["cl"], images)
    recorded = shards(run.root, "nscl")
    assert recorded.shape == (2, len(units_on_shapes(config)))
    assert recorded[-1].tolist() == expected and sum(expected) > 0
    assert not recorded[0].any() and not shards(run.root, "twin").any()


def test_units_are_named_by_place_and_counted_once(tmp_path):
    config = tiny(tmp_path, arms=ARMS)
    units = units_on_shapes(config)
    assert list(units) == ["stem", "stage.0", "stage.1", "stage.2", "stage.3", "projector"]
    # 12 px, width 4: each basic block has two activations of its output's shape.
    assert list(units.values()) == [4 * 144, 2 * 4 * 144, 2 * 8 * 36, 2 * 16 * 9, 2 * 32 * 4, 16]


def test_nothing_else_of_a_run_changes(tmp_path):
    plain, watched = (train(tiny(tmp_path / name, arms=ARMS, record=record)) for name, record in (("a", {}), ("b", ON)))
    files = [file.relative_to(plain) for file in sorted(plain.rglob("*.safetensors"))]
    assert {file.parts[1] for file in files} >= {"scalars", "layers", "similarity", "panel", "motion", "surrogate"}
    assert any(file.parts[0] == "checkpoints" for file in files)
    for file in files:
        ours, theirs = load_file(plain / file), load_file(watched / file)
        assert ours.keys() == theirs.keys()
        assert all(ours[name].tobytes() == theirs[name].tobytes() for name in ours)


def test_how_many_ids_are_looked_at_is_a_field(tmp_path):
    few = train(tiny(tmp_path / "few", arms=ARMS, record=ON, panel={"size": 16, "flips_size": 3}))
    every = train(tiny(tmp_path / "all", arms=ARMS, record=ON, panel={"size": 16, "flips_size": 1000}))
    assert 0 < shards(few, "nscl")[-1].sum() < shards(every, "nscl")[-1].sum()


def test_such_a_run_verifies_and_one_that_is_off_has_no_such_field(tmp_path):
    config = tiny(tmp_path, arms=ARMS, record=ON)
    path = train(config)
    assert any("again" in sentence for sentence in verify(path, replay=2).proven)
    assert "flips" not in (train(tiny(tmp_path / "off", arms=ARMS)) / "run.json").read_text()


def test_a_smooth_network_counts_signs_too(tmp_path):
    path = train(tiny(tmp_path, arms=ARMS, record=ON, model={"activation": "gelu"}))
    assert shards(path, "nscl")[-1].sum() > 0
    assert torch.tensor(shards(path, "twin")).sum() == 0
