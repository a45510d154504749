"""How many ranks a run gets when nobody says."""

import pytest
import torch
from helpers import tables
from torch import nn

from coupled.arms.network import meta_network
from coupled.cli import main
from coupled.config import from_tables
from coupled.driver.assembly import build
from coupled.models.norm.passes import by_operations
from coupled.models.shapes import forward_of
from coupled.planning import ranks as planned
from coupled.planning.plan import plan
from coupled.planning.ranks import START_S, default_world, seconds
from coupled.ranks import placement as placements


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch):
    monkeypatch.setattr(placements, "cores", lambda: 8)


def of(steps, ranks=None, arms=4, threads=1):
    some = {f"a{k}": {"objective": "dcl"} for k in range(arms)}
    return from_tables(tables(arms=some, ranks=ranks or {}, train={"steps": steps, "threads": threads}))


def steps_that_save(saved):
    """So many steps that four ranks save `saved` seconds: three quarters of what four arms take."""
    return round(saved / (0.75 * seconds(of(1), 4)))


def test_ranks_are_started_where_they_save_twice_their_start():
    assert default_world(of(steps_that_save(1.9 * START_S))).ranks == 1
    assert default_world(of(steps_that_save(2.1 * START_S))).ranks == 4


def test_seconds_grow_with_steps_and_arms_and_fall_with_threads():
    assert seconds(of(20), 3) == pytest.approx(60 * seconds(of(1), 1))
    assert seconds(of(20, threads=4), 1) == pytest.approx(seconds(of(20), 1) / 4)


def test_what_the_config_asks_for_is_not_estimated(monkeypatch):
    monkeypatch.setattr(planned, "seconds", None)
    assert default_world(of(1, {"arms": 2, "data": 2})).ranks == 4
    assert default_world(of(10**6, arms=1)).why == "one arm"
    assert default_world(of(10**6, threads=8)).why == "too few cores for two ranks of 8 threads"


@pytest.mark.parametrize("encoder", ["resnet-small", "resnet50", "vit"])
def test_multiply_adds_are_those_of_a_literal_count(encoder):
    """Of every output value of a convolution or linear map: the length of the sum that it is. Attention's joint
    projection, which is no such module, is left out.
    """
    options = {"encoder": encoder, "width": 12} | ({"heads": 3, "depth": 2} if encoder == "vit" else {})
    network = meta_network(from_tables(tables(model=options)))
    total = 0

    def count(module, inputs, output):
        nonlocal total
        length = module.in_features if isinstance(module, nn.Linear) else module.weight[0].numel()
        total += output.numel() * length

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    network(torch.empty(6, 3, 12, 12, device="meta"))
    expected = total
    assert 6 * forward_of(network, 12).multiply_adds == expected


def test_counting_is_the_same_where_gradients_are_off():
    network = meta_network(of(1))
    with torch.no_grad():
        assert forward_of(network, 12) == forward_of(meta_network(of(1)), 12)
    assert forward_of(network, 12).kept_of_view


def test_elements_kept_are_those_that_a_forward_of_so_many_views_keeps():
    network, kept = meta_network(of(1)), {}
    forward = forward_of(network, 12)
    own = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}

    def pack(tensor):
        if (place := tensor.untyped_storage().data_ptr()) not in own:
            kept[place] = tensor
        return tensor

    with by_operations(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        network(torch.zeros(5, 3, 12, 12))
    assert forward.kept(5) == sum(tensor.untyped_storage().nbytes() // 4 for tensor in kept.values())


@pytest.mark.parametrize("enabled", [True, False])
def test_counting_draws_nothing_and_leaves_no_hook_and_no_switch(enabled):
    before = torch.get_rng_state()
    network = meta_network(of(1))
    was = torch.backends.mkldnn.set_flags(enabled)[0]
    try:
        forward_of(network, 12)
    finally:
        left = torch.backends.mkldnn.set_flags(was)[0]
    assert left == enabled and torch.equal(torch.get_rng_state(), before)
    assert not any(module._forward_hooks for module in network.modules())


def test_plan_says_how_many_and_why(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.toml").write_text('[train]\nsteps = 3\n[arms.a]\nobjective = "dcl"\n[arms.b]\nkind = "twin"\n')
    assert main(["plan", "small.toml"]) == 0
    lines = capsys.readouterr().out.splitlines()
    line = next(line for line in lines if line.startswith("ranks"))
    assert line.startswith("ranks           one process; 2 ranks save about ") and line.endswith("10 s to start")
    assert main(["plan", "small.toml", "--ranks", "2"]) == 0
    assert "save about" not in capsys.readouterr().out


@pytest.mark.parametrize("precision", ["float32", "float64", "bf16"])
def test_bytes_of_a_step_are_those_that_an_arm_keeps_for_its_backward(precision):
    config = from_tables(
        tables(
            arms={"cl": {"objective": "dcl"}},
            train={"precision": precision, "threads": 1},
            model={"width": 16, "projection_hidden": 64},
            views={"size": 24},
            batches={"size": 16},
        )
    )
    parts, kept = build(config), {}
    arm, batch = parts.arms["cl"], parts.source.at(0)
    weights = arm.state.weights.untyped_storage().data_ptr()

    def pack(tensor):
        if (place := tensor.untyped_storage().data_ptr()) != weights:
            kept[place] = tensor
        return tensor

    with by_operations(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        arm.forward(batch)
    measured = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    # Images are kept in the run's precision too, which the count takes for bfloat16; means and variances are float64.
    assert plan(config).step_memory == pytest.approx(measured, rel=0.06)


def test_audits_beside_graphs_take_a_turn_of_their_own():
    def of_gpu(**sections):
        train = {"device": "cuda", **sections.pop("train", {})}
        arms = {"cl": {"objective": "dcl"}, "nscl": {"objective": "nscl"}, **sections.pop("more", {})}
        return plan(from_tables(tables(arms=arms, train=train, **sections)), 1)

    audited = {"record": {"ledger": {"every": 2}}}
    kicked = {"more": {"kicked": {"kind": "kicked", "match": "nscl"}}}
    pulled = {"more": {"late": {"kind": "nudged", "at": 2, "direction": "batch", "scale": 0.1}}}
    for sections in (audited, kicked, pulled):
        both, eager = of_gpu(**sections), of_gpu(**sections, train={"graphs": False})
        assert both.graphs.aside > 0 and both.memory == eager.memory + both.graphs.held(len(both.arms))
        assert eager.graphs.held(len(eager.arms)) == 0
    assert of_gpu().graphs.aside == 0


def test_what_graphs_keep_of_updates_and_of_arms_side_by_side_is_counted():
    """All arms of one length share the place of an update: weights, buffers, momentum and the scaled gradient."""
    lars = {"name": "lars", "learning_rate": 0.1, "clip_norm": 1.0}
    one, many = (
        plan(from_tables(tables(optimiser=lars, train={"device": "cuda", "side_by_side": beside})), 1)
        for beside in (False, True)
    )
    buffers = one.arm_memory - 4 * (2 + 1 + 1) * one.parameters
    assert one.graphs.held(5) == one.graphs.update == 4 * 3 * one.parameters + buffers
    assert many.memory == one.memory + (len(many.arms) - 1) * (many.step_memory + (64 << 20))
    assert "for arms side by side" in many.graphs.in_words(2) and "side" not in one.graphs.in_words(2)
