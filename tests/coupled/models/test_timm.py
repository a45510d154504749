"""Models of timm as encoders: the forward is timm's own, runs resume byte for byte, what does not fit is one line."""

import sys

import pytest
import timm
import torch
from helpers import tables
from interrupted import Crash

from analysis.evaluation import networks
from analysis.evaluation.networks import network_at
from analysis.runs.run import open_run
from coupled import runtime
from coupled.arms.network import build_network, meta_network, unfilled_network
from coupled.config import digest, from_resolved, from_tables, resolved
from coupled.driver.resuming import ResumeTerms
from coupled.driver.train import resume, train
from coupled.errors import UserError
from coupled.models.batchnorm import BatchNorm
from coupled.models.flat import FlatState
from coupled.models.init import initialise
from coupled.models.outline import outline_of
from coupled.reading.export import export
from coupled.reading.run_json import read_run
from coupled.store import open_tensors, tree_hash
from coupled.verification import verify

TWO = {"cl": {"objective": "dcl"}, "nscl": {"objective": "nscl"}}
STEPS = 2


def of(name="resnet10t", size=32, **sections):
    model = {"encoder": f"timm:{name}", "width": None, "projection_hidden": 16}
    given = tables(views={"size": size}, model=model, train={"steps": STEPS}, arms=TWO, **sections)
    del given["model"]["width"]
    return from_tables(given)


def both(name):
    """Our network and timm's own module with the same weights and statistics, in float64."""
    network = unfilled_network(of(name))
    state = FlatState(network, torch.float64, torch.device("cpu"))
    initialise(network, state, seed=5, draw=0)
    generator = torch.Generator().manual_seed(0)
    for buffer_name, values in state.named_buffers().items():
        values.copy_(torch.rand(values.shape, generator=generator) + (0.5 if buffer_name.endswith("var") else -0.5))
    own = timm.create_model(name, pretrained=False, num_classes=0).double()
    own.load_state_dict(
        {key.removeprefix("encoder."): x for key, x in network.state_dict().items() if key.startswith("encoder.")}
        | {key: x for key, x in own.state_dict().items() if key.endswith("num_batches_tracked")}
    )
    return network, own


@pytest.mark.parametrize("name", ["resnet10t", "mobilenetv3_small_050"])  # batch-norm alone, and with an activation
def test_the_forward_is_timms_own_with_the_same_weights(name):
    network, own = both(name)
    images = torch.randn(4, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        h, _, stages = network.eval().features(images)
        expected, features = own.eval()(images), own.forward_intermediates(images, intermediates_only=True)
    assert (h - expected).abs().max() < 1e-12 * expected.abs().max()
    assert len(stages) == len(features) == len(network.stage_dims)
    for ours, theirs in zip(stages, features, strict=True):
        assert (ours - theirs.mean((2, 3))).abs().max() < 1e-12 * theirs.abs().max()
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())
    assert sum(isinstance(module, BatchNorm) for module in network.modules()) == 2 + sum(
        isinstance(module, torch.nn.BatchNorm2d) for module in own.modules()
    )


def test_outline_and_network_agree_in_every_name_and_shape():
    config = of()
    real = [(name, x.shape) for name, x in unfilled_network(config).named_parameters()]
    assert real == [(name, x.shape) for name, x in meta_network(config).named_parameters()]
    with torch.device("meta"):
        assert config.model.tensors == outline_of(build_network(config).encoder)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("timm")
    keep = {"keep": {"steps": [0], "last": True}, "recovery": {"every": 1}}
    return train(of(paths={"runs": str(folder)}, checkpoints=keep, panel={"stages": True}))


@pytest.mark.slow
@pytest.mark.parametrize("step", range(STEPS + 1))
def test_a_run_killed_after_any_step_goes_on_to_the_same_bytes(step, trained, tmp_path):
    keep = {"keep": {"steps": [0], "last": True}, "recovery": {"every": 1}}
    config = of(paths={"runs": str(tmp_path)}, checkpoints=keep, panel={"stages": True})
    with pytest.raises(KeyboardInterrupt):
        train(config, reporter=Crash(step))
    assert tree_hash(resume(tmp_path / "tiny")) == tree_hash(trained)


@pytest.mark.slow
def test_a_run_is_read_and_exported_without_timm_and_verified_with_it(trained, monkeypatch):
    facts, _, _ = read_run(trained)
    assert facts["versions"]["timm"] == timm.__version__
    assert any("one start" in sentence for sentence in verify(trained).proven)
    monkeypatch.setitem(sys.modules, "timm", None)
    assert "encoder.conv1.0.weight" in open_tensors(export(trained, "nscl"))
    assert any("timm is not installed" in word for word in verify(trained).unproven)


@pytest.mark.slow
def test_another_version_of_timm_neither_evaluates_nor_resumes_a_run(trained, monkeypatch):
    run = open_run(trained)
    network_at(run, "cl", STEPS, torch.device("cpu"))
    monkeypatch.setattr(networks, "timm_version", lambda: "9.9")
    with pytest.raises(UserError, match="here is 9.9; pip install timm=="):
        network_at(run, "cl", STEPS, torch.device("cpu"))
    monkeypatch.setattr(runtime, "timm_version", lambda: "9.9")
    with pytest.raises(UserError, match="versions.timm was .* is 9.9"):
        resume(trained, terms=ResumeTerms(from_step=1))


def test_a_resolved_config_is_read_without_timm(monkeypatch):
    config = of()
    monkeypatch.setitem(sys.modules, "timm", None)
    assert digest(from_resolved(resolved(config))) == digest(config)
    with pytest.raises(UserError, match=r"timm is not installed here; pip install 'coupled\[timm\]'"):
        of()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet26dd", "did you mean timm:resnet26d"),
        ("resnet18.a1_in1k", "no weights are loaded.*did you mean timm:resnet18"),
        ("hf-hub:timm/resnet18", "none of the"),
        ("vit_tiny_patch16_224", "cls_token is a parameter of VisionTransformer"),
        ("convnext_atto", r"stages\.0\.blocks\.0\.gamma is a parameter of ConvNeXtBlock"),
        ("swin_tiny_patch4_window7_224", "drop_path1 is DropPath with drop_prob"),
    ],
)
def test_what_cannot_be_trained_is_one_line(name, message):
    with pytest.raises(UserError, match=message) as raised:
        of(name)
    assert "\n" not in str(raised.value)


def test_an_option_of_other_encoders_is_refused():
    given = tables(model={"encoder": "timm:resnet10t"})
    with pytest.raises(UserError, match=r"model\.width = 4; timm:resnet10t does not take it"):
        from_tables(given)


@pytest.mark.parametrize("chance", [{"drop_path_rate": 0.1}, {"drop_block_rate": 0.1}, {"drop_rate": 0.1}])
def test_a_chance_above_0_is_refused(chance, monkeypatch):
    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, **given: create(name, **given, **chance))
    with pytest.raises(UserError, match="only 0: masks would be randomness"):
        of()


def test_stage_features_that_a_model_does_not_give_are_refused(monkeypatch):
    monkeypatch.delattr(timm.models.ResNet, "forward_intermediates")
    with pytest.raises(UserError, match="panel.stages = true; timm:resnet10t gives no stage features"):
        of(panel={"stages": True})


def test_another_version_of_the_weights_is_refused():
    config = of()
    given = tables(model={"encoder": "timm:resnet10t", "tensors": list(config.model.tensors[1:])})
    del given["model"]["width"]
    with pytest.raises(UserError, match="another here"):
        from_tables(given)
