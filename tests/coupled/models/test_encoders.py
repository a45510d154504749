from copy import deepcopy

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models.vision_transformer import VisionTransformer

from coupled.config import schema
from coupled.config.resolved import Model, filled
from coupled.errors import UserError
from coupled.models import ENCODERS, Network, check_model, defaults, evaluating
from coupled.models.batchnorm import BatchNorm
from coupled.models.flat import FlatState
from coupled.models.init import initialise

pytestmark = [pytest.mark.kernels, pytest.mark.threads]
CPU = torch.device("cpu")
# One narrow model of every encoder, so small that a forward and backward takes milliseconds.
SMALL = {
    "resnet-small": {"width": 4},
    "resnet18": {"width": 4},
    "resnet34": {"width": 4, "stem": "imagenet"},
    "resnet50": {"width": 4},
    "vit": {"width": 12, "depth": 3, "heads": 3},
}


def resolved(size=32, **options):
    """[model] for images of that side, its defaults filled in."""
    written = schema.Model(**options)
    return filled(Model, written, **defaults(written, size))


def small(encoder):
    return resolved(encoder=encoder, projection_hidden=8, projection_dim=6, **SMALL[encoder])


def built(model, dtype=torch.float64, classes=None):
    with torch.device("meta"):
        network = Network(model, 32, classes)
    state = FlatState(network, dtype, CPU)
    initialise(network, state, seed=0, draw=0)
    return network, state


def images(count=4, size=32, dtype=torch.float64):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0), dtype=dtype)


def shapes(module, skipped=()):
    """Names and shapes of parameters and buffers; torchvision's batch counters have no counterpart."""
    named = module.state_dict().items()
    return {n: tuple(t.shape) for n, t in named if not n.startswith(tuple(skipped)) and "num_batches" not in n}


def encoder_on_meta(encoder, size=32, **options):
    with torch.device("meta"):
        return Network(resolved(size, encoder=encoder, **options), size).encoder


RESNETS = [("resnet18", 11_176_512), ("resnet34", 21_284_672), ("resnet50", 23_508_032)]


@pytest.mark.parametrize(("name", "count"), RESNETS)
def test_resnets_have_torchvisions_names_shapes_and_counts(name, count):
    with torch.device("meta"):
        oracle = getattr(torchvision.models, name)()
    expected = shapes(oracle, ["fc."])
    ours = encoder_on_meta(name, stem="imagenet")
    assert list(shapes(ours).items()) == list(expected.items())
    assert sum(p.numel() for p in ours.parameters()) == count
    assert shapes(encoder_on_meta(name, stem="cifar")) == expected | {"conv1.weight": (64, 3, 3, 3)}


@pytest.mark.parametrize(("name", "count"), RESNETS)
def test_width_scales_every_channel_count(name, count):
    full, narrow = (shapes(encoder_on_meta(name, width=width)) for width in (64, 24))
    # 3 and below are colours and sides of kernels.
    assert narrow == {n: tuple(d * 24 // 64 if d > 3 else d for d in shape) for n, shape in full.items()}


def test_vit_has_torchvisions_names_and_shapes_and_those_of_the_released_layout():
    with torch.device("meta"):
        oracle = VisionTransformer(32, 4, 12, 12, 384, 1536)
    ours = shapes(encoder_on_meta("vit"))
    assert list(ours.items()) == list(shapes(oracle, ["heads."]).items())
    assert ours["class_token"] == (1, 1, 384)
    assert ours["encoder.pos_embedding"] == (1, 65, 384)
    assert ours["encoder.layers.encoder_layer_11.mlp.0.weight"] == (1536, 384)


def resnet_pair(name, stem):
    """torchvision's model and ours with its weights and with running statistics that are not 0 and 1."""
    oracle = getattr(torchvision.models, name)()
    if stem == "cifar":
        oracle.conv1, oracle.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    oracle.fc = nn.Identity()
    generator = torch.Generator().manual_seed(1)
    for module in oracle.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_mean, module.running_var, module.weight.data, module.bias.data):
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
    return oracle.double(), with_weights(encoder_on_meta(name, stem=stem), oracle)


def with_weights(ours, oracle):
    named = {n: t.detach().double().clone() for n, t in oracle.state_dict().items() if "num_batches" not in n}
    ours.load_state_dict(named, assign=True)
    return ours.requires_grad_()


def relative(ours, expected):
    return ((ours - expected).norm() / expected.norm()).item()


PAIRS = [("resnet18", "cifar"), ("resnet34", "imagenet"), ("resnet50", "imagenet")]


@pytest.mark.parametrize(("name", "stem"), PAIRS)
def test_a_resnet_with_torchvisions_weights_gives_torchvisions_features(name, stem):
    oracle, ours = resnet_pair(name, stem)
    pixels = images(1, 16 if stem == "cifar" else 32)
    with evaluating(oracle), evaluating(ours):
        h, stages = ours(pixels, stages=True)
        # float64 through up to 50 layers; batch-norm is one multiplication here, several operations there.
        assert relative(h, oracle(pixels)) < 1e-12
        x = oracle.maxpool(oracle.relu(oracle.bn1(oracle.conv1(pixels))))
        for layer, stage in zip((oracle.layer1, oracle.layer2, oracle.layer3, oracle.layer4), stages, strict=True):
            x = layer(x)
            assert relative(stage, x.mean((2, 3))) < 1e-12
    assert torch.equal(stages[-1], h)


def with_torchs_parts(network):
    """A copy with torch's batch-norm and without in-place ReLUs."""
    made = deepcopy(network)
    for parent in list(made.modules()):
        for name, child in parent.named_children():
            if isinstance(child, BatchNorm):
                norm = nn.BatchNorm2d(len(child.weight), dtype=child.weight.dtype)
                norm.weight, norm.bias = child.weight, child.bias
                setattr(parent, name, norm)
            elif isinstance(child, nn.ReLU):
                setattr(parent, name, nn.ReLU())
    return made


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("name", "stem"), [("resnet18", "imagenet"), ("resnet34", "cifar"), ("resnet50", "cifar")])
def test_gradients_are_those_of_torchs_batch_norm_and_of_relus_that_are_not_in_place(name, stem, memory_format):
    """In-place ReLUs and additions follow our batch-norm: what its backward needs must survive them."""
    network, _ = built(resolved(encoder=name, width=4, stem=stem))
    ours, theirs = network.encoder, with_torchs_parts(network.encoder)
    for encoder in (ours, theirs):
        encoder.zero_grad(set_to_none=False)
        h = encoder(images().contiguous(memory_format=memory_format))[0]
        (h * torch.linspace(-1, 1, h.numel(), dtype=h.dtype).view_as(h)).sum().backward()
    # Up to 53 training batch-norms over few values lose some of float64's sixteen digits.
    for parameter, expected in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert relative(parameter.grad, expected.grad) < 1e-9


def vit_pair():
    """A small torchvision transformer without a head, ours with its weights."""
    torch.manual_seed(0)
    oracle = VisionTransformer(16, 4, 3, 3, 24, 96).double()
    oracle.heads = nn.Identity()
    oracle.class_token.data.normal_()
    return oracle, with_weights(encoder_on_meta("vit", 16, width=24, depth=3, heads=3), oracle)


def test_the_vit_with_torchvisions_weights_gives_its_features_and_gradients():
    oracle, ours = vit_pair()
    x = images(4, 16)
    (ours(x)[0].square().sum() + oracle(x).square().sum()).backward()
    for parameter, expected in zip(ours.parameters(), oracle.parameters(), strict=True):
        # float64; bias gradients of keys are 0 but for rounding, hence the absolute part.
        assert (parameter.grad - expected.grad).norm() < 1e-12 * (expected.grad.norm() + 1)
    with evaluating(oracle), evaluating(ours):
        assert relative(ours(x)[0], oracle(x)) < 1e-13


def test_vit_stages_are_class_tokens_and_h_is_the_norm_of_the_last():
    oracle, ours = vit_pair()
    h, stages = ours(images(4, 16), stages=True)
    tokens = oracle._process_input(images(4, 16))
    tokens = torch.cat([oracle.class_token.expand(4, -1, -1), tokens], 1) + oracle.encoder.pos_embedding
    for stage, layer in zip(stages, oracle.encoder.layers, strict=True):
        tokens = layer(tokens)
        assert relative(stage, tokens[:, 0]) < 1e-13
    assert torch.equal(ours.encoder.ln(stages[-1]), h)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_vit_features_are_the_same_in_both_modes_up_to_rounding(dtype):
    """torch's attention takes another path in evaluation mode; there is no dropout, so that only rounding differs."""
    network, _ = built(small("vit"), dtype)
    trained = network.features(images(dtype=dtype))
    with evaluating(network):
        evaluated = network.features(images(dtype=dtype))
    # Some hundred roundings of numbers of order 1.
    assert relative(evaluated[0], trained[0]) < 100 * torch.finfo(dtype).eps


def poisoned(*arguments, **_):
    # A constructor's fill on the meta device draws nothing: there is no storage.
    if not (arguments and isinstance(arguments[0], torch.Tensor) and arguments[0].is_meta):
        raise AssertionError("a draw from a global generator")
    return arguments[0]


@pytest.fixture
def no_generator(monkeypatch):
    """Python draws raise at once; draws inside operators show in the generator's state."""
    before = torch.get_rng_state()
    for name in ("manual_seed", "seed", "set_rng_state", "rand", "randn", "randint", "randperm", "normal", "bernoulli"):
        monkeypatch.setattr(torch, name, poisoned)
    for name in ("uniform_", "normal_", "random_", "bernoulli_", "exponential_"):
        monkeypatch.setattr(torch.Tensor, name, poisoned)
    yield
    assert torch.equal(torch.get_rng_state(), before)


@pytest.fixture
def deterministic():
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_building_and_running_draw_nothing_and_repeat_their_bytes(encoder, dtype, deterministic, request):
    x = images(dtype=dtype)
    request.getfixturevalue("no_generator")
    seen = []
    for _ in range(2):
        network, state = built(small(encoder), dtype, classes=3)
        h, z, stages = network.features(x)
        (h.sum() + network.head(z).square().sum()).backward()
        with evaluating(network):
            seen.append([t.detach().numpy().tobytes() for t in (h, z, *stages, state.gradient, *network(x))])
    assert seen[0] == seen[1]
    assert state.gradient.abs().sum() > 0


@pytest.mark.parametrize("encoder", ENCODERS)
def test_sizes_are_known_without_building(encoder):
    model, info = small(encoder), ENCODERS[encoder]
    network, _ = built(model)
    h, z, stages = network.features(images(2))
    assert h.shape == (2, network.feature_dim) == (2, info.feature_dim(model.width))
    assert z.shape == (2, 6)
    assert [s.shape for s in stages] == [(2, dim) for dim in network.stage_dims]
    assert network.stage_dims == info.stage_dims(model.width, model.depth)
    assert len(stages) == (3 if encoder == "vit" else 4)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_features_are_those_of_forward(encoder):
    network, _ = built(small(encoder))
    h, z = network(images())
    again = network.features(images())
    assert torch.equal(h, again[0])
    assert torch.equal(z, again[1])


@pytest.mark.parametrize("encoder", ENCODERS)
def test_under_bf16_autocast_what_comes_out_is_float32(encoder):
    network, state = built(small(encoder), torch.float32)
    full = network.features(images(dtype=torch.float32))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        h, z, stages = network.features(images(dtype=torch.float32))
        with evaluating(network):
            evaluated = network(images(dtype=torch.float32))
    assert {t.dtype for t in (h, z, *stages, *evaluated)} == {torch.float32}
    # Normalised after widening: two float32 roundings, where bfloat16 would leave 4e-3.
    assert (z.norm(dim=1) - 1).abs().max() < 1e-6
    # It did run in bfloat16, whose 8 bits leave some per cent of error after a stage's few layers.
    assert 1e-4 < relative(stages[0], full[2][0]) < 0.05
    h.sum().backward()
    assert state.gradient.dtype == torch.float32


def test_pooling_of_bfloat16_features_is_not_rounded_to_bfloat16():
    network, _ = built(small("resnet18"), torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        h, _ = network(images(dtype=torch.float32))
    assert not torch.equal(h, h.bfloat16().float())


@pytest.mark.parametrize(
    ("given", "size", "expected"),
    [
        ({"encoder": "resnet-small"}, 24, {"width": 8, "projection_hidden": 64}),
        ({"encoder": "resnet18"}, 64, {"width": 64, "stem": "cifar", "projection_hidden": 512}),
        ({"encoder": "resnet34", "width": 8}, 65, {"width": 8, "stem": "imagenet", "projection_hidden": 64}),
        ({"encoder": "resnet50", "projection_hidden": 9}, 32, {"width": 64, "stem": "cifar", "projection_hidden": 9}),
        ({"encoder": "vit"}, 32, {"width": 384, "patch": 4, "depth": 12, "heads": 12, "projection_hidden": 384}),
    ],
)
def test_defaults(given, size, expected):
    model = resolved(size, **given)
    options = ("width", "stem", "patch", "depth", "heads", "projection_hidden")
    assert {key: getattr(model, key) for key in options} == dict.fromkeys(options) | expected
    assert filled(Model, model, **defaults(model, size)) == model
    check_model(model, size)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"encoder": "vit", "stem": "cifar"},
            "model.stem = cifar; vit does not take it (resnet18, resnet34, resnet50 do); remove it",
        ),
        ({"encoder": "resnet18", "depth": 2}, "model.depth = 2; resnet18 does not take it (vit does); remove it"),
        ({"encoder": "vit", "patch": 5}, "model.patch = 5; a divisor of the side of the images, 32"),
        ({"encoder": "vit", "width": 64}, "model.heads = 12; a divisor of model.width = 64"),
    ],
)
def test_what_does_not_fit_the_encoder_is_one_line(given, message):
    with pytest.raises(UserError) as error:
        check_model(schema.Model(**given), 32)
    assert str(error.value).startswith(message)
