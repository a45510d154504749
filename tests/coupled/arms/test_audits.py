"""Gradients of other losses: those of a separate forward and backward, and nothing of the arm's own moves."""

import pytest
import torch
from helpers import tiny

from coupled.arms.audits import Audits
from coupled.arms.initial import build_arms
from coupled.driver.assembly import build
from coupled.objectives.losses import batch_loss

pytestmark = pytest.mark.kernels

CPU = torch.device("cpu")
ARMS = {
    "cl": {"objective": "dcl"},
    "nscl": {"objective": "nscl", "temperature": 0.2},
    "placebo": {"kind": "placebo", "of": "nscl"},
    "twin": {"kind": "twin"},
    "ce": {"objective": "ce"},
}


@pytest.fixture
def parts(tmp_path):
    return build(tiny(tmp_path, arms=ARMS))


def audited(parts, *requests):
    audits = Audits(parts.config, [lambda step: requests])
    batch = parts.source.at(0)
    audits.forward_backward(0, parts.arms, batch)
    return audits, batch


def test_a_gradient_of_another_loss_is_that_of_a_forward_and_backward_of_its_own(parts):
    audits, batch = audited(parts, ("nscl", "cl"), ("ce", "nscl"))
    for at, of, labelling in (("nscl", "cl", "size"), ("ce", "nscl", "size")):
        arm, other = build_arms(parts.config, CPU)[at], parts.arms[of]
        arm.backward(_loss_of(arm, batch, other, labelling))
        assert torch.equal(audits.gradient(at, of), arm.state.gradient)


def _loss_of(arm, batch, other, labelling):
    own = arm.forward(batch)
    sigma = arm._sigma
    del own
    return batch_loss(other.objective, sigma, batch.pairs[labelling], other.temperature)


def test_an_arms_own_gradient_has_the_same_bytes_with_audits_and_without(parts):
    audited(parts, ("nscl", "cl"), ("nscl", "placebo"), ("ce", "cl"))
    for name, arm in build_arms(parts.config, CPU).items():
        arm.forward_backward(parts.source.at(0))
        assert torch.equal(arm.state.gradient, parts.arms[name].state.gradient)
        assert torch.equal(arm.z, parts.arms[name].z)


def test_the_same_loss_is_the_own_gradient_itself(parts):
    audits, _ = audited(parts, ("twin", "cl"), ("cl", "cl"))
    assert audits.gradient("twin", "cl") is parts.arms["twin"].state.gradient
    assert audits.gradient("cl", "cl") is parts.arms["cl"].state.gradient


def test_a_forward_that_is_audited_is_absorbed_once(parts):
    audited(parts, ("nscl", "cl"), ("nscl", "placebo"))
    plain = build_arms(parts.config, CPU)["nscl"]
    plain.forward_backward(parts.source.at(0))
    for arm in (plain, parts.arms["nscl"]):
        arm.update(0.1)
    assert torch.equal(plain.state.buffers, parts.arms["nscl"].state.buffers)
    assert torch.equal(plain.state.weights, parts.arms["nscl"].state.weights)


def test_a_head_has_no_gradient_of_another_arms_loss(parts):
    audits, _ = audited(parts, ("ce", "cl"))
    shared = parts.arms["ce"].state.shared
    gradient = audits.gradient("ce", "cl")
    assert gradient[:shared].any() and not gradient[shared:].any()
