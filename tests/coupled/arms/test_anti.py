"""The anti control reverses its arm's first difference from the reference.

Seen to fail with the weights of the two losses exchanged, with 1 in place of 2, and with the arm's own temperature for
both losses.
"""

import pytest
import torch
from helpers import tiny

from coupled.arms.initial import build_arms
from coupled.driver.assembly import build

pytestmark = pytest.mark.kernels
ARMS = {
    "cl": {"objective": "dcl"},
    "nscl": {"objective": "nscl", "temperature": 0.3},
    "anti": {"kind": "anti", "of": "nscl"},
    "placebo": {"kind": "placebo", "of": "nscl"},
    "anti-placebo": {"kind": "anti", "of": "placebo"},
}


@pytest.fixture
def parts(tmp_path):
    return build(tiny(tmp_path, arms=ARMS, train={"precision": "float64"}, optimiser={"weight_decay": 0.01}))


def after_one_step(parts):
    """Weights after the first update, and gradients at the start."""
    batch, weights, gradients = parts.source.at(0), {}, {}
    for name, arm in parts.arms.items():
        arm.forward_backward(batch)
        gradients[name] = arm.state.gradient.clone()
        arm.update(0.1)
        weights[name] = arm.state.weights.clone()
    return weights, gradients


@pytest.mark.parametrize(("anti", "of"), [("anti", "nscl"), ("anti-placebo", "placebo")])
def test_the_first_difference_is_reversed_to_rounding(parts, anti, of):
    weights, gradients = after_one_step(parts)
    difference = weights["cl"] - weights[of]
    # A backward of a few hundred thousand terms, each rounded at 1e-16 of gradients of order 1.
    scale = max(float(gradient.abs().max()) for gradient in gradients.values())
    assert difference.abs().max() > 1e-4 * scale
    assert (weights["cl"] - weights[anti] + difference).abs().max() <= 1e-12 * max(scale, 1)
    reversed_ = gradients[anti] - gradients["cl"] + (gradients[of] - gradients["cl"])
    assert reversed_.abs().max() <= 1e-12 * scale


def test_its_loss_is_twice_the_references_less_its_arms(parts):
    batch = parts.source.at(0)
    for arm in parts.arms.values():
        arm.forward_backward(batch)
    loss = {name: float(arm.loss) for name, arm in parts.arms.items()}
    assert loss["anti"] == pytest.approx(2 * loss["cl"] - loss["nscl"], rel=1e-14)
    assert loss["anti-placebo"] == pytest.approx(2 * loss["cl"] - loss["placebo"], rel=1e-14)


def test_anti_of_an_arm_against_itself_is_the_arm(tmp_path):
    """2g − g, where both losses are one: to rounding, as two backward passes are added up."""
    arms = {"cl": {"objective": "dcl"}, "same": {"objective": "dcl"}, "anti": {"kind": "anti", "of": "same"}}
    parts = build(tiny(tmp_path, arms=arms, train={"precision": "float64"}))
    batch = parts.source.at(0)
    for arm in parts.arms.values():
        arm.forward_backward(batch)
    own, anti = parts.arms["cl"].state.gradient, parts.arms["anti"].state.gradient
    assert (own - anti).abs().max() <= 1e-13 * own.abs().max()
    assert torch.equal(parts.arms["same"].state.gradient, own)


def test_all_arms_start_alike(parts):
    arms = build_arms(parts.config, torch.device("cpu"))
    assert all(torch.equal(arm.state.weights, arms["cl"].state.weights) for arm in arms.values())
