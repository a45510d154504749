import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coupled.errors import UserError
from coupled.objectives import evaluate, loss, pairs, per_anchor, similarity


def unit_rows(seed, rows, d):
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(rows, d, generator=generator, dtype=torch.float64)
    return z / z.norm(dim=1, keepdim=True)


def literal_loss(name, z, labels, temperature):
    """Word for word: loops over anchors and pairs."""
    A, B = len(z), len(z) // 2
    total = torch.zeros((), dtype=torch.float64)
    for i in range(A):
        own = {i, (i + B) % A}
        terms = []
        for j in range(A):
            if j in own or (name == "nscl" and labels[j % B] == labels[i % B]):
                continue
            terms.append(torch.exp((z[i] * z[j]).sum() / temperature))
        if terms:
            positive = (z[i] * z[(i + B) % A]).sum() / temperature
            total = total - positive + torch.log(torch.stack(terms).sum())
    return total / A


CASES = [(0, 6, 3, 2, 0.5), (1, 9, 5, 3, 0.1), (2, 4, 8, 4, 1.0), (3, 2, 2, 1, 0.3)]


@pytest.mark.parametrize("name", ["dcl", "nscl"])
@pytest.mark.parametrize(("seed", "B", "d", "classes", "temperature"), CASES)
def test_objectives_equal_literal_loops_in_value_and_gradient(name, seed, B, d, classes, temperature):
    labels = torch.arange(B) % classes
    values, gradients = [], []
    for function in (loss, literal_loss):
        z = unit_rows(seed, 2 * B, d).requires_grad_()
        value = function(name, z, labels, temperature)
        gradients.append(torch.autograd.grad(value, z)[0] if value.requires_grad else torch.zeros_like(z))
        values.append(value.detach())
    # Both run in float64 on numbers of order 1: 1e-10 leaves room for the order of sums alone.
    assert abs(values[0] - values[1]) < 1e-10
    assert (gradients[0] - gradients[1]).abs().max() < 1e-10


def test_an_anchor_without_negatives_adds_nothing_but_still_counts_in_the_mean():
    z = unit_rows(4, 6, 3).requires_grad_()
    labels = torch.tensor([0, 0, 1])
    masks = pairs(torch.tensor([0, 0, 0]))
    value = per_anchor("nscl", similarity(z), masks, 0.5).sum()
    assert value == 0
    assert torch.equal(torch.autograd.grad(value, z)[0], torch.zeros_like(z))
    assert loss("nscl", z, labels, 0.5).isfinite()


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**31),
    B=st.integers(2, 12),
    classes=st.integers(1, 6),
    temperature=st.sampled_from([0.05, 0.1, 0.5, 1.0, 3.0]),
)
def test_the_gap_is_exactly_the_difference_of_the_losses(seed, B, classes, temperature):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (B,), generator=generator)
    sigma, masks = similarity(unit_rows(seed, 2 * B, 4)), pairs(labels)
    found, kept = evaluate(sigma, masks, temperature), masks.kept
    assert int(found.skipped) == int((~kept).sum())
    if not kept.any():
        assert math.isnan(found.gap)
        assert math.isnan(found.mass)
        return
    both = [per_anchor(name, sigma, masks, temperature)[kept].mean() for name in ("dcl", "nscl")]
    # Losses are at most 2/τ + log A ≈ 43 here: 1e-12 is about 200 of their roundings.
    assert abs(found.gap - (both[0] - both[1])) < 1e-12
    assert found.gap >= 0
    assert 0 <= found.mass <= 1


@settings(deadline=None)
@given(seed=st.integers(0, 2**31), B=st.integers(2, 10), classes=st.integers(2, 5))
def test_evaluation_gives_the_losses_that_arms_minimise(seed, B, classes):
    labels = torch.randint(classes, (B,), generator=torch.Generator().manual_seed(seed))
    z = unit_rows(seed, 2 * B, 4)
    found = evaluate(similarity(z), pairs(labels), 0.5)
    for name, value in found.losses.items():
        assert abs(value - loss(name, z, labels, 0.5)) < 1e-12


def test_same_class_mass_is_the_share_of_same_class_weight():
    labels = torch.tensor([0, 0, 1, 2])
    sigma, masks = similarity(unit_rows(5, 8, 3)), pairs(labels)
    weights = torch.exp(sigma / 0.5)
    same, other = (weights * masks.same).sum(1), (weights * masks.different).sum(1)
    assert abs(evaluate(sigma, masks, 0.5).mass - (same / (same + other)).mean()) < 1e-12


def test_with_every_label_different_both_losses_are_one():
    sigma, masks = similarity(unit_rows(6, 10, 3)), pairs(torch.arange(5))
    found = evaluate(sigma, masks, 0.5)
    assert found.gap == 0
    assert abs(found.losses["dcl"] - found.losses["nscl"]) < 1e-14


def test_loss_uses_z_as_given():
    z, labels = unit_rows(7, 8, 3), torch.tensor([0, 1, 0, 1])
    scaled = loss("dcl", 2 * z, labels, 4.0)
    assert abs(scaled - loss("dcl", z, labels, 1.0)) < 1e-12


def test_half_precision_features_are_compared_in_float32():
    z = unit_rows(8, 12, 5).bfloat16()
    assert loss("dcl", z, None, 0.1) == loss("dcl", z.float(), None, 0.1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("dlc", torch.ones(4, 2), torch.zeros(2), 0.5), "one of dcl, nscl"),
        (("dcl", torch.ones(2, 2), torch.zeros(1), 0.5), "B ≥ 2"),
        (("dcl", torch.ones(5, 2), torch.zeros(2), 0.5), "(2B, d)"),
        (("nscl", torch.ones(4, 2), None, 0.5), "(2,) is needed"),
        (("nscl", torch.ones(4, 2), torch.zeros(3), 0.5), "(2,) is needed"),
        (("dcl", torch.ones(4, 2), None, 0.0), "a positive finite number"),
        (("dcl", torch.ones(4, 2), None, math.nan), "a positive finite number"),
    ],
)
def test_a_wrong_call_is_one_line(arguments, message):
    with pytest.raises(UserError, match=message.replace("(", r"\(").replace(")", r"\)")):
        loss(*arguments)
