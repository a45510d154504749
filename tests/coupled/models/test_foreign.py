"""Encoders that are not built in: what is replaced, what is refused by name, and the outline that a config keeps."""

import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from coupled.config.schema import Model
from coupled.errors import UserError
from coupled.models import foreign
from coupled.models.adapted import adapted
from coupled.models.batchnorm import BatchNorm
from coupled.models.flat import FlatState
from coupled.models.init import initialise
from coupled.models.outline import Outline, narrow_pointwise, outline_of
from coupled.models.registry import forget, known, register_encoder


class Small(nn.Module):
    """A convolution, batch-norm, and `extra` behind them, whose output is h."""

    feature_size = 4

    def __init__(self, *extra):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, eps=1e-3, momentum=0.2))
        self.extra = nn.Sequential(*extra)

    def forward(self, images):
        return self.extra(self.stem(images).mean((2, 3)))


class Bare(nn.Module):
    def __init__(self, **state):
        super().__init__()
        self.weight = state.get("weight", nn.Parameter(torch.zeros(4)))
        if "buffer" in state:
            self.register_buffer("table", state["buffer"])

    def forward(self, x):
        return x


@pytest.fixture
def own():
    """Registers a function that builds an encoder, called "own"."""
    yield register_encoder("own")
    forget("own")


def fit(module):
    with torch.device("meta"):
        built = module()
    return adapted(built, "own")


def test_batch_norm_is_ours_and_keeps_its_constants():
    norm = fit(Small).stem[1]
    assert type(norm) is BatchNorm
    assert (norm.eps, norm.momentum) == (1e-3, 0.2)


def test_an_adapted_encoder_computes_what_the_module_did():
    encoder, plain = fit(lambda: Small(nn.Linear(4, 4))), Small(nn.Linear(4, 4))
    state = FlatState(encoder, torch.float64, torch.device("cpu"))
    initialise(encoder, state, seed=3, draw=0)
    for name, values in state.named_buffers().items():
        values.copy_(torch.rand(values.shape) + (0.5 if name.endswith("var") else 0))
    plain.double().load_state_dict(encoder.state_dict(), strict=False)
    images = torch.randn(6, 3, 8, 8, dtype=torch.float64)
    for training in (True, False):
        ours, torchs = encoder.train(training)(images), plain.train(training)(images)
        encoder.stem[1].absorb()  # torch's moves its running statistics by itself
        assert (ours - torchs).abs().max() < 1e-12 * torchs.abs().max()


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
        self.b.weight = self.a.weight


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (Bare, r"extra\.0\.weight is a parameter of Bare, shape \(4,\)"),
        (lambda: nn.LSTM(4, 4), r"extra\.0\.weight_ih_l0 is a parameter of LSTM"),
        (nn.PReLU, r"extra\.0\.weight is a parameter of PReLU"),
        (lambda: nn.Sequential(nn.Dropout(0.25)), r"extra\.0\.0 is Dropout with p = 0\.25; only 0"),
        (lambda: nn.MultiheadAttention(4, 2, dropout=0.5), r"extra\.0 is MultiheadAttention with dropout = 0\.5"),
        (nn.RReLU, r"extra\.0 is RReLU"),
        (lambda: nn.BatchNorm1d(4, affine=False), r"extra\.0 is BatchNorm1d with affine = False"),
        (lambda: nn.BatchNorm1d(4, momentum=None), r"extra\.0 is BatchNorm1d with affine = True, momentum = None"),
        (lambda: nn.BatchNorm3d(4), r"extra\.0 is BatchNorm3d"),
        (lambda: nn.Sequential(Bare(weight=None, buffer=torch.zeros(2))), r"extra\.0\.0\.table is a buffer of Bare"),
        (lambda: nn.Linear(4, 4).requires_grad_(False), r"extra\.0\.weight is a frozen parameter of Linear"),
        (Twice, r"extra\.0\.b\.weight is the same parameter as extra\.0\.a\.weight"),
    ],
)
def test_a_layer_that_a_run_cannot_hold_is_refused_by_name_in_one_line(layer, message):
    with pytest.raises(UserError, match=message) as raised:
        fit(lambda: Small(layer()))
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith("encoder own: ")


def test_a_class_that_only_has_the_name_of_torchs_has_no_rule():
    kind = type("Linear", (Bare,), {})
    with pytest.raises(UserError, match=r"extra\.0\.weight is a parameter of Linear"):
        fit(lambda: Small(kind()))


def test_dropout_of_nothing_is_let_through():
    fit(lambda: Small(nn.Dropout(0.0), nn.GroupNorm(2, 4), nn.LayerNorm(4)))


def test_an_outline_has_the_names_shapes_and_order_of_the_encoder():
    encoder = fit(lambda: Small(nn.LayerNorm(4), nn.MultiheadAttention(4, 2), nn.Sequential(nn.BatchNorm1d(4))))
    with torch.device("meta"):
        outline = Outline(outline_of(encoder))
    for kind in ("named_parameters", "named_buffers"):
        pairs = [[(name, x.shape) for name, x in getattr(each, kind)()] for each in (encoder, outline)]
        assert pairs[0] == pairs[1]


@pytest.mark.parametrize(
    "lines",
    [["a..b 3"], ["a.b -3"], ["a.b 99999999999"], [f"w {10**9} {10**9}"], ["a 3", "a 3"], ["a 3", "a.b 3"],
     ["a.b 3", "a 3"], ["forward 3"], ["x" * 600 + " 1"], ["a.b\n 3"], [".".join("a" * 40) + " 3"], ["é 3"],
     ["a 1 1 1 1 1 1 1 1 1"]],
)  # fmt: skip
def test_what_is_no_outline_is_refused_before_anything_is_made_of_it(lines):
    with pytest.raises(UserError, match="model.tensors"), torch.device("meta"):
        Outline(lines)


def test_a_narrow_pointwise_convolution_is_found():
    assert narrow_pointwise(["a.weight 8 4 3 3", "b.weight 8 8 1 1", "c.weight 16 4 1 1"], 8) == "c.weight"
    assert narrow_pointwise(["a.weight 8 4 3 3", "b.weight 8 8 1 1"], 8) is None


def test_options_come_from_the_functions_parameters(own):
    @own
    def build(image_size, width=6, activation="gelu"):
        encoder = Small(nn.Linear(4, width))
        encoder.feature_size = width
        assert (image_size, activation) == (16, "gelu")
        return encoder

    filled = foreign.defaults(Model(encoder="own"), 16)
    assert (filled["width"], filled["feature_size"], filled["projection_hidden"]) == (6, 6, 6)
    assert (filled["activation"], filled["depth"], filled["stage_sizes"]) == ("gelu", None, ())
    assert foreign.defaults(Model(encoder="own", width=5), 16)["feature_size"] == 5


@pytest.mark.parametrize(
    ("build", "model", "message"),
    [
        (lambda width: Small(), {}, "model.width is missing; own has no default"),
        (lambda width=4: Small(), {"heads": 2}, r"model.heads = 2; own does not take it \(width\)"),
        (lambda: 3, {}, "encoder own is a int"),
        (lambda: 1 / 0, {}, "encoder own cannot be built; ZeroDivisionError"),
        (lambda: nn.Linear(3, 3), {}, "encoder own has no feature_size"),
        (lambda: Small(Bare()), {}, "shape"),
    ],
)
def test_a_function_that_fails_is_one_line(build, model, message, own):
    own(build)
    with pytest.raises(UserError, match=message) as raised:
        foreign.defaults(Model(encoder="own", **model), 16)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "build", "message"),
    [
        ("resnet18", lambda: None, "taken"),
        ("a b", lambda: None, "letters"),
        ("timm:x", lambda: None, "letters"),
        ("own", lambda colour: None, "encoder own takes colour"),
        ("own", lambda *sizes: None, "encoder own takes"),
        ("own", lambda width=0: None, "width = 0"),
        ("own", lambda width="8": None, "width"),
        ("own", lambda activation="tanh": None, "unknown activation of encoder own tanh; allowed: relu"),
    ],
)
def test_a_registration_that_cannot_be_is_refused(name, build, message):
    before = known()
    with pytest.raises(UserError, match=message):
        register_encoder(name)(build)
    assert known() == before


def tried(encoder):
    encoder = foreign.Foreign(fit(lambda: encoder), 4, getattr(encoder, "stage_sizes", ()))
    FlatState(encoder.module, torch.float32, torch.device("cpu"))
    foreign.try_out(encoder, "own", 8)


class Shaped(Small):
    def __init__(self, forward, **sizes):
        super().__init__()
        self._forward = forward
        self.__dict__.update(sizes)

    def forward(self, images, stages=False):
        return self._forward(super().forward(images), *([stages] if hasattr(self, "stage_sizes") else []))


@pytest.mark.parametrize(
    ("forward", "sizes", "message"),
    [
        (lambda h: h.sum(1), {}, r"gives \(2,\) for two images; h and stage features have to be \(2, 4\)"),
        (lambda h: (h, []), {}, "gives a tuple"),
        (lambda h: h.nothing, {}, "fails on images of 8 px; AttributeError"),
        (lambda h: F.dropout(h, 0.5), {}, "draws random numbers"),
        (
            lambda h, stages: (h, [h, h]) if stages else h,
            {"stage_sizes": (4,)},
            r"\(2, 4\), \(2, 4\), \(2, 4\) for two",
        ),
        (lambda h, stages: h, {"stage_sizes": (4,)}, "encoder own"),
        (lambda h, stages: (h + 1, [h]) if stages else h, {"stage_sizes": (4,)}, "gives another h with stages=True"),
        (lambda h: h.double(), {}, "gives torch.float64 of torch.float32 images"),
        (lambda h: sys.exit(0), {}, "fails on images of 8 px; SystemExit: 0"),
    ],
)
def test_a_forward_that_is_not_what_it_says_is_one_line(forward, sizes, message):
    encoder, before = Shaped(forward, **sizes), torch.random.get_rng_state()
    with pytest.raises(UserError, match=message) as raised:
        tried(encoder)
    assert "\n" not in str(raised.value)
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_forward_that_is_what_it_says_is_let_through():
    tried(Small())
    tried(Shaped(lambda h, stages: (h, [h]) if stages else h, stage_sizes=(4,)))
