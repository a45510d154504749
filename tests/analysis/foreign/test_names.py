"""Every documented tensor has one place here, and what is missing, surplus or misshapen is named."""

import pytest
import torch
from foreign_files import feature_dim, projector, randomised, resnet, save_snapshot, state_of, vit, with_classifier

from analysis.foreign import Origin, import_checkpoints
from analysis.foreign import config as configs
from analysis.foreign.folders import Checkpoint
from analysis.foreign.names import targets, translated
from analysis.foreign.shapes import Architecture, read
from coupled.errors import UserError
from coupled.store import StoreError

pytestmark = pytest.mark.slow  # runs of their own; others of the fast ones train, resume and read as well

RESNET50 = {"encoder": "resnet50", "width": 64, "stem": "cifar", "projection_hidden": 2048, "projection_dim": 128}


def wanted(model, size=None, objective="scl", arm="scl"):
    config = configs.config(Architecture(model, size), [arm], [0], Origin("cifar100"))
    return {name: target.shape for name, target in targets(config, objective, 100).items()}


def test_a_resnet_50_has_the_330_documented_entries():
    held = wanted(RESNET50)
    assert len(held) == 330
    assert held["encoder.net.conv1.weight"] == (64, 3, 3, 3)
    assert held["encoder.net.bn1.num_batches_tracked"] == ()
    assert held["encoder.net.layer3.5.bn3.running_var"] == (1024,)
    assert held["encoder.net.layer4.0.downsample.0.weight"] == (2048, 1024, 1, 1)
    assert held["projector.projector.0.weight"] == (2048, 2048)
    assert held["projector.projector.1.running_mean"] == (2048,)
    assert held["projector.projector.3.weight"] == (128, 2048)
    assert held["projector.projector.4.bias"] == (128,)


def test_a_ce_arm_wraps_all_of_it_and_has_a_classifier():
    held, plain = wanted(RESNET50, objective="ce", arm="ce"), wanted(RESNET50)
    assert held["classifier.weight"] == (100, 128) and held["classifier.bias"] == (100,)
    assert {name for name in held if not name.startswith("classifier.")} == {f"simclr_model.{n}" for n in plain}


def test_a_transformer_has_the_documented_entries():
    model = {"encoder": "vit", "width": 384, "patch": 4, "depth": 12, "heads": 12}
    held = wanted({**model, "projection_hidden": 2048, "projection_dim": 128}, 32)
    assert held["encoder.net.class_token"] == (1, 1, 384)
    assert held["encoder.net.encoder.pos_embedding"] == (1, 65, 384)
    assert held["encoder.net.encoder.layers.encoder_layer_11.mlp.0.weight"] == (1536, 384)
    assert held["encoder.net.encoder.ln.bias"] == (384,)
    assert not [name for name in held if "heads" in name]


def shapes(state):
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def shapes_of(encoder):
    return shapes(state_of(encoder, projector(feature_dim(encoder), hidden=20, dim=10)))


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize(
    ("name", "width", "stem"), [("resnet18", 16, "cifar"), ("resnet34", 2, "imagenet"), ("resnet50", 8, "cifar")]
)
def test_a_resnet_is_read_off_its_shapes(name, width, stem, wrapped):
    encoder = resnet(name, width, stem)
    held = shapes_of(encoder)
    if wrapped:
        held = {f"simclr_model.{key}": shape for key, shape in held.items()} | {"classifier.bias": (3,)}
    model = {"encoder": name, "width": width, "stem": stem, "projection_hidden": 20, "projection_dim": 10}
    assert read(held) == Architecture(model, None)


def test_a_transformer_is_read_off_its_shapes():
    model = {"encoder": "vit", "width": 24, "patch": 16, "depth": 3, "heads": 12}
    expected = Architecture({**model, "projection_hidden": 20, "projection_dim": 10}, 48)
    assert read(shapes_of(vit(24, 3, 6, 48, 16))) == expected
    with pytest.raises(UserError, match="24 wide with 7 heads"):
        read(shapes_of(vit(24, 3, 6, 48, 16)), heads=7)
    with pytest.raises(UserError, match="only a ViT has them"):
        read(shapes_of(resnet("resnet18", 4)), heads=3)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"encoder.net.conv1.weight": None}, "lacks encoder.net.conv1.weight"),
        ({"encoder.net.conv1.weight": (4, 3, 5, 5)}, "is of no ResNet-18, 34 or 50"),
        ({"encoder.net.conv1.weight": (4, 3)}, "not of 4 axes"),
        ({"encoder.net.layer4.2.conv1.weight": (32, 32, 3, 3)}, "blocks (2, 2, 2, 3)"),
        ({"projector.projector.0.weight": None}, "lacks projector.projector.0.weight"),
        ({"encoder.net.class_token": (1, 1, 4)}, "lacks encoder.net.conv_proj.weight"),
    ],
)
def test_shapes_of_no_network_of_ours_are_told(change, words):
    held = shapes_of(resnet("resnet18", 4)) | change
    with pytest.raises(ValueError) as error:
        read({name: shape for name, shape in held.items() if shape is not None})
    assert words in str(error.value)


def missing(state):
    del state["encoder.net.layer2.0.bn1.running_var"]


def surplus(state):
    state["encoder.net.fc.bias"] = torch.zeros(3)


def misshapen(state):
    state["encoder.net.layer4.1.bn2.weight"] = torch.zeros(33)


def counted_in_floats(state):
    state["encoder.net.bn1.num_batches_tracked"] = torch.tensor(3.0)


def shifted(state):
    state["projector.projector.4.bias"][2] = 1e-8


def undefined_shift(state):
    state["projector.projector.4.bias"][2] = float("nan")


FAULTS = {
    missing: "lacks encoder.net.layer2.0.bn1.running_var, which is float32 (8,)",
    surplus: "holds encoder.net.fc.bias, which no such network has",
    misshapen: "encoder.net.layer4.1.bn2.weight is float32 (33,), and float32 (32,) is needed",
    counted_in_floats: "encoder.net.bn1.num_batches_tracked is float32 (), and int64 () is needed",
    shifted: "projector.projector.4.bias is not 0",
    undefined_shift: "projector.projector.4.bias is not 0",
}


@pytest.mark.parametrize("spoil", FAULTS, ids=lambda spoil: spoil.__name__)
def test_a_tensor_that_does_not_fit_is_named(spoil, loader, tmp_path):
    encoder = randomised(resnet("resnet18", 4))
    state = state_of(encoder, projector(feature_dim(encoder)))
    names = targets(configs.config(read(shapes(state)), ["cl"], [0], Origin("shapes")), "nt_xent", None)
    spoil(state)
    checkpoint = Checkpoint("cl", 1, "snapshot", save_snapshot(tmp_path, 1, state))
    with pytest.raises(StoreError) as error:
        translated(checkpoint, loader.load(checkpoint), names)
    assert str(error.value).startswith(f"{checkpoint.path}: {FAULTS[spoil]}")


def test_arms_of_two_networks_are_refused_by_name(tmp_path):
    for arm, width in (("dcl", 4), ("nscl", 5)):
        encoder = randomised(resnet("resnet18", width))
        save_snapshot(tmp_path / "files" / arm, 1, state_of(encoder, projector(feature_dim(encoder))))
    with pytest.raises(
        StoreError, match=r"nscl/snapshot_1\.pth: encoder\.net\.conv1\.weight is float32 \(5, 3, 3, 3\)"
    ):
        import_checkpoints(tmp_path / "files", tmp_path / "run", Origin("shapes"))


def test_a_classifier_of_other_classes_is_refused(tmp_path):
    encoder = randomised(resnet("resnet18", 4))
    state = with_classifier(state_of(encoder, projector(feature_dim(encoder))), 5)
    save_snapshot(tmp_path / "files/ce", 1, state)
    with pytest.raises(
        UserError, match="has 5 outputs; the labelling has 2 classes; say with --data-set and --labelling"
    ):
        import_checkpoints(tmp_path / "files", tmp_path / "run", Origin("shapes", labelling="size"))
