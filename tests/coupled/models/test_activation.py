"""The activation of encoder and projector: which functions, in which places, and which of their units are on."""

import pytest
import torch
from helpers import tables, tiny
from torch.nn import functional as F

from coupled.arms.initial import build_arms
from coupled.bench.stock import stock_network
from coupled.cli import main
from coupled.config import digest, from_tables
from coupled.config.identity import resolved
from coupled.models.activation import ACTIVATIONS, Activation, signs_of

CPU = torch.device("cpu")
VIT = {"encoder": "vit", "width": 8, "patch": 4, "depth": 2, "heads": 2}
ENCODERS = [{}, {"encoder": "resnet18", "width": 4}, {"encoder": "resnet50", "width": 4}, VIT]


def arm_of(folder, **model):
    return build_arms(tiny(folder, model=model, arms={"cl": {"objective": "dcl"}}), CPU)["cl"]


def test_activations_are_torchs():
    x = torch.linspace(-3, 3, 61)
    for name, function in ACTIVATIONS.items():
        assert torch.equal(function(x.clone()), getattr(F, name)(x))
        assert torch.equal(Activation(name)(x.clone()), getattr(F, name)(x))


@pytest.mark.parametrize("model", ENCODERS)
@pytest.mark.parametrize("name", ["relu", "gelu", "silu", "softplus"])
def test_every_nonlinearity_of_a_network_is_the_one_named(model, name, tmp_path):
    network = arm_of(tmp_path, **model, activation=name).network
    names = {module.name for module in network.modules() if isinstance(module, Activation)}
    assert names == {name}


def test_by_itself_a_transformer_has_gelu_and_a_relu_projector(tmp_path):
    network = arm_of(tmp_path, **VIT).network
    of_encoder = {module.name for module in network.encoder.modules() if isinstance(module, Activation)}
    assert (of_encoder, network.projector.activation.name) == ({"gelu"}, "relu")


def test_naming_what_a_resnet_has_by_itself_changes_nothing():
    plain, named = from_tables(tables()), from_tables(tables(model={"activation": "relu"}))
    assert digest(plain) == digest(named) and "activation" not in resolved(named)["model"]
    assert digest(from_tables(tables(model={"activation": "gelu"}))) != digest(plain)
    vit = from_tables(tables(model={**VIT, "activation": "gelu"}))
    assert resolved(vit)["model"]["activation"] == "gelu"  # its projector has it then, too


def test_what_an_activation_makes_of_small_differences_is_said_by_plan(tmp_path, capsys):
    said = {}
    for name, precision in (("relu", "float32"), ("relu", "float64"), ("gelu", "float32")):
        path = tmp_path / f"{name}{precision}.toml"
        path.write_text('[arms.cl]\nobjective = "dcl"\n')
        sets = (f"model.activation={name}", f"train.precision={precision}")
        assert main(["plan", str(path), *(part for of in sets for part in ("--set", of))]) == 0
        lines = capsys.readouterr().out.splitlines()
        said[name, precision] = next(line for line in lines if line.startswith("activation"))
    assert "float32 rounding can grow" in said["relu", "float32"] and "is smooth" in said["gelu", "float32"]
    assert "flips a unit" in said["relu", "float64"]


def test_weights_at_the_start_do_not_depend_on_the_activation(tmp_path):
    relu, gelu = arm_of(tmp_path / "a"), arm_of(tmp_path / "b", activation="gelu")
    assert torch.equal(relu.state.weights, gelu.state.weights)


@pytest.mark.kernels
@pytest.mark.parametrize("model", ENCODERS)
def test_a_stock_network_has_the_same_activation(model, tmp_path):
    arm = arm_of(tmp_path, **model, activation="silu")
    config = tiny(tmp_path, model={**model, "activation": "silu"}, arms={"cl": {"objective": "dcl"}})
    stock = stock_network(arm, config, CPU)
    assert {module.name for module in stock.modules() if isinstance(module, Activation)} == {"silu"}


@pytest.mark.kernels
@pytest.mark.parametrize("model", ENCODERS)
def test_signs_are_of_every_unit_and_looking_at_them_changes_nothing(model, tmp_path):
    arm, images = arm_of(tmp_path, **model), torch.randn(3, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    plain = arm.embed(images)
    with signs_of(arm.network) as signs:
        watched = arm.embed(images)
    assert all(torch.equal(a, b) for a, b in zip(plain, watched, strict=True))
    assert all(seen and all(x.dtype == torch.bool and len(x) == 3 for x in seen) for seen in signs.values())
    counts = {name: sum(x.numel() for x in seen) for name, seen in signs.items()}
    arm.embed(images)
    assert counts == {name: sum(x.numel() for x in seen) for name, seen in signs.items()}, "it has stopped looking"


@pytest.mark.kernels
def test_signs_are_those_of_what_relu_lets_through(tmp_path):
    arm, images = arm_of(tmp_path), torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(1))
    network, passed = arm.network.eval(), []
    for module in network.modules():
        if isinstance(module, Activation):
            module.register_forward_hook(lambda module, inputs, output: passed.append(output > 0))
    with torch.no_grad(), signs_of(network) as signs:
        network(images)
    seen = [x for of_module in signs.values() for x in of_module]
    assert sorted(int(x.sum()) for x in seen) == sorted(int(x.sum()) for x in passed)
