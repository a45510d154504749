"""The study of replayed masks: they are those of the reference, and nothing else of an arm changes."""

import importlib.util
from pathlib import Path

import pytest
import torch
from helpers import tiny

from coupled.driver.assembly import assemble, build
from coupled.driver.loop import forward_backward
from coupled.models.activation import signs_of

pytestmark = pytest.mark.kernels

PATH = Path(__file__).parent / "benchmarks/masks_replayed.py"
spec = importlib.util.spec_from_file_location("masks_replayed", PATH)
assert spec is not None and spec.loader is not None
study = importlib.util.module_from_spec(spec)
spec.loader.exec_module(study)

TINY = {"panel": {"size": 4, "surrogate_size": 2}, "train": {"steps": 8, "precision": "float64"}}
SCALES = (1e-3, 1e-5, 1e-7, 1e-9)
NUDGED = {f"by-{scale:.0e}": {"kind": "nudged", "scale": scale} for scale in SCALES}


def config_of(folder, arms, **sections):
    return tiny(folder, arms={"cl": {"objective": "dcl"}, **arms}, **{**TINY, **sections})


@pytest.mark.parametrize("views_forward", ["joint", "separate"])
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_an_arms_own_masks_change_no_bit(precision, views_forward, tmp_path):
    train = {"steps": 8, "precision": precision, "views_forward": views_forward}
    parts = build(config_of(tmp_path, {}, train=train))
    arm, batch = parts.arms["cl"], parts.source.at(0)
    with signs_of(arm.network) as masks:
        arm.forward_backward(batch)
    plain = arm.loss.clone(), arm.z.clone(), arm.state.gradient.clone()
    with study.replaying(arm.network, masks):
        arm.forward_backward(batch)
    again = arm.loss, arm.z, arm.state.gradient
    assert all(a.numpy().tobytes() == b.numpy().tobytes() for a, b in zip(plain, again, strict=True))


def test_a_twin_that_takes_the_masks_of_the_first_stays_at_0_and_another_loss_does_not(tmp_path):
    arms = {"nscl": {"objective": "nscl"}, "twin": {"kind": "twin"}}
    gaps = study.gaps(config_of(tmp_path, arms), (4, 8), replay=True)
    assert gaps["twin"] == [0, 0] and min(gaps["nscl"]) > 0


def test_with_masks_replayed_a_gap_is_in_proportion_to_the_nudge_and_without_it_is_not(tmp_path):
    replayed, own = (
        study.gaps(config_of(tmp_path / name, NUDGED), (8,), replay=name == "replayed") for name in ("replayed", "own")
    )
    for arm, other, ratio in (("by-1e-05", "by-1e-07", 100), ("by-1e-07", "by-1e-09", 100)):
        assert replayed[arm][0] / replayed[other][0] == pytest.approx(ratio, rel=0.01)
    assert own["by-1e-05"][0] > 10 * replayed["by-1e-05"][0]


def test_units_are_on_where_they_are_in_the_reference(tmp_path):
    """Far apart, with the masks of the reference, an arm lets through what the reference does."""
    parts = build(config_of(tmp_path, {"other": {"kind": "independent"}}))
    reference, arm, batch = parts.arms["cl"], parts.arms["other"], parts.source.at(0)
    with signs_of(reference.network) as masks:
        reference.forward_backward(batch)
    passed = {name: [] for name in masks}
    handles = [
        arm.network.get_submodule(name).register_forward_hook(
            lambda module, given, output, of=seen: of.append(output.detach() != 0)
        )
        for name, seen in passed.items()
    ]
    with study.replaying(arm.network, masks):
        arm.forward_backward(batch)
    for handle in handles:
        handle.remove()
    assert all(torch.equal(a, b) for name in masks for a, b in zip(passed[name], masks[name], strict=True))
    assert not any("forward" in vars(module) for module in arm.network.modules()), "it has its ReLUs again"


def test_without_replaying_a_step_is_the_drivers(tmp_path):
    arms = {"nscl": {"objective": "nscl"}, "nudged": {"kind": "nudged"}}
    ours, theirs = (assemble(config_of(tmp_path / name, arms)) for name in "ab")
    with ours, theirs:
        study.advance(ours, 0, replay=False)
        assert forward_backward(theirs, theirs.stream.at(0)) is None
        for name, arm in theirs.arms.items():
            arm.update(0.3)
            assert torch.equal(arm.state.weights, ours.arms[name].state.weights)
