"""What a function of one's own is given, and that looking asks a GPU for nothing."""

import pytest
import torch
from fake_gpu import GPU, fake_gpu
from helpers import tables, tiny

from coupled import register_stream
from coupled.arms.arm import Arm
from coupled.arms.network import forward_on_shapes
from coupled.config import from_tables
from coupled.driver.assembly import build
from coupled.inputs.source import Batch
from coupled.objectives.masks import pair_masks
from coupled.recording import own
from coupled.recording.own import Function, at_step, on_panel
from coupled.recording.transfer import Transfer
from coupled.streams import forget

B = 8


@pytest.fixture
def functions():
    register_stream("directions")(lambda seen: 1 / (seen.sigma.double() / len(seen.sigma)).square().sum())
    register_stream("largest", shape=("layers",), dtype="float32")(
        lambda seen: torch.stack([gradient.abs().max() for gradient in seen.gradients.values()])
    )
    yield ("directions", "largest")
    forget("directions")
    forget("largest")


def test_looking_on_a_gpu_brings_nothing_to_the_host(functions, monkeypatch):
    record = {"own": {name: {} for name in functions}}
    config = from_tables(tables(arms={"cl": {"objective": "dcl"}}, train={"device": "cuda"}, record=record))
    calls = [Function(config, name) for name in functions]
    forward_on_shapes(config)  # once in a process, and not on such tensors
    monkeypatch.setattr(own, "_surroundings", lambda device: {})  # of a GPU that is not there
    with fake_gpu() as counted:
        arm, ids = Arm("cl", config.arms["cl"], config, GPU), torch.arange(B)
        labels = torch.empty(B, device=GPU, dtype=torch.int64)
        pixels = torch.empty(2 * B, 3, 12, 12, device=GPU)
        batch = Batch(0, ids, ids, ids, pixels, {"size": ids}, {"size": pair_masks(labels)})
        arm.forward(batch)
        counted.to_host.clear()
        counted.launches.clear()
        seen = at_step(arm, batch, 0.1)
        assert not counted.launches and all(tensor.is_cuda for name, tensor in seen.given().items() if name != "ids")
        transfer = Transfer({"cl": {call.where: call(seen) for call in calls}})
        assert counted.launches and not counted.to_host and len(transfer.remote()) == 2


def test_an_arm_at_a_step_is_what_the_arm_has(tmp_path):
    arms = {"cl": {"objective": "dcl"}, "ce": {"objective": "ce"}}
    parts = build(tiny(tmp_path, arms=arms))
    batch = parts.source.at(0)
    for arm in parts.arms.values():
        arm.forward_backward(batch)
    seen, classified = (at_step(parts.arms[name], batch, 0.25) for name in arms)
    state = parts.arms["cl"].state
    parameters = dict(parts.arms["cl"].network.named_parameters())
    assert list(seen.weights) == list(seen.gradients) == list(parameters) == [*classified.weights]
    for name, parameter in parameters.items():
        assert torch.equal(seen.weights[name], parameter) and torch.equal(seen.gradients[name], parameter.grad)
        assert not seen.weights[name].requires_grad
    assert torch.equal(seen.sigma, seen.z @ seen.z.T) and torch.equal(seen.labels["size"], batch.labels["size"])
    assert (seen.step, seen.arm, seen.learning_rate, seen.temperature) == (0, "cl", 0.25, 0.5)
    assert (list(classified.head), list(seen.head)) == (["head.weight", "head.bias"], [])
    assert seen.weights.flat.data_ptr() == state.weights.data_ptr()  # no copy


def test_an_arm_on_the_panel_is_what_the_panel_records(tmp_path):
    parts = build(tiny(tmp_path, arms={"cl": {"objective": "dcl"}}))
    arm, panels = parts.arms["cl"], parts.panels
    seen = on_panel(arm, 3, panels, panels.of(arm))
    h, z = arm.embed(panels.images["panel"])
    assert torch.equal(seen.h, h) and torch.equal(seen.z, z) and seen.step == 3
    assert seen.ids.tolist() == panels.fixed("panel")["fixed.ids"].tolist()
    assert seen.labels["size"].tolist() == panels.fixed("panel")["fixed.labels.size"].tolist()


def test_an_arm_with_inputs_of_its_own_sees_those(tmp_path):
    parts = build(tiny(tmp_path, arms={"cl": {"objective": "dcl"}, "other": {"kind": "other-inputs"}}))
    batch, arm = parts.source.at(0), parts.arms["other"]
    arm.forward_backward(batch)
    seen = at_step(arm, batch, 0.1)
    assert seen.ids.tolist() == batch.of(arm.traits.inputs).ids.tolist() != batch.ids.tolist()
