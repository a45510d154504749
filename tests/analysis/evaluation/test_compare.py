"""Any two torch modules on images: the array functions' values, and nothing of the models changes."""

import numpy as np
import pytest
import torch
from torch import nn

import analysis
from coupled.errors import UserError

pytestmark = [pytest.mark.kernels, pytest.mark.threads]

IMAGES = torch.randn(40, 3, 4, 4, generator=torch.Generator().manual_seed(0))


def model(seed, width=6):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout())


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.projector = model(0), nn.Linear(6, 3)

    def forward(self, images):
        h = self.encoder(images)
        return h, self.projector(h)


def test_values_are_those_of_the_features():
    a, b = model(1), model(2, width=5)
    estimates = analysis.compare(a, b, IMAGES, chunk=7)
    x, y = (m.eval()(IMAGES).detach() for m in (a, b))
    assert estimates["cka"].value == pytest.approx(analysis.linear_cka(x, y), abs=1e-6)
    assert estimates["cka_biased"].value == pytest.approx(analysis.linear_cka(x, y, debiased=False), abs=1e-6)
    assert estimates["rsa"].value == pytest.approx(analysis.rsa(x, y), abs=1e-6)
    literal = analysis.estimate("cka", x, y)
    assert np.allclose(estimates["cka"].low, literal.low, atol=1e-6) and estimates["cka"].null == literal.null


def test_h_and_z_of_a_model_that_gives_both():
    a, b = Two(), Two()
    with torch.no_grad():
        b.projector.weight.copy_(torch.randn(3, 6))
    assert analysis.compare(a, b, IMAGES)["cka"].value == pytest.approx(1, abs=1e-6)
    assert analysis.compare(a, b, IMAGES, feature="z")["cka"].value < 0.99


def test_modes_weights_statistics_and_generators_are_as_before():
    a = model(3).train()
    a[2].eval()  # a frozen norm in a model that trains
    state = {name: tensor.clone() for name, tensor in a.state_dict().items()}
    before = torch.get_rng_state()
    analysis.compare(a, a, IMAGES)
    assert torch.equal(torch.get_rng_state(), before)
    assert [m.training for m in a] == [True, True, False, True, True] and a.training
    assert all(torch.equal(tensor, state[name]) for name, tensor in a.state_dict().items())
    assert all(p.grad is None for p in a.parameters())


class Says(nn.Module):
    def __init__(self, output):
        super().__init__()
        self.output = output

    def forward(self, images):
        return self.output(images)


def flat(images):
    return images.flatten(1)


@pytest.mark.parametrize(
    ("model", "images", "options", "words"),
    [
        (flat, IMAGES, {}, "model_b is a function; a torch.nn.Module is needed"),
        (Says(lambda x: x), IMAGES, {}, r"h of model_b has shape \(40, 3, 4, 4\) for 40 images"),
        (Says(lambda x: flat(x)[:1]), IMAGES, {}, r"h of model_b has shape \(1, 48\)"),
        (Says(lambda x: {"h": x}), IMAGES, {}, "h of model_b has type dict"),
        (Says(flat), IMAGES, {"feature": "z"}, "model_a gives no z"),
        (Says(lambda x: flat(x) / 0), IMAGES, {}, "h of model_b is not finite"),
        (Says(flat), IMAGES[:3], {}, "at least 4 images"),
        (Says(flat), IMAGES.numpy(), {}, "a tensor"),
        (Says(flat), IMAGES, {"feature": "y"}, "feature = 'y'"),
        (Says(flat), IMAGES, {"chunk": 0}, "chunk = 0"),
    ],
)
def test_what_cannot_be_compared_is_one_line(model, images, options, words):
    with pytest.raises(UserError, match=words):
        analysis.compare(Says(flat), model, images, **options)
