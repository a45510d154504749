"""Points turned onto others: scipy's rotation, a literal search over angles, and nothing that is nearer."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import orthogonal_procrustes

from analysis.arrays.turning import turned_onto

# Coordinates of size 10 and some hundred operations: 1e-12 is a hundred times what rounding leaves.
NEAR = 1e-11


def points(seed, n=40):
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(n, 2, generator=generator, dtype=torch.float64) + torch.tensor([5.0, -2.0])


def turn(angle, mirrored):
    c, s = math.cos(angle), math.sin(angle)
    return torch.tensor([[c, s], [s, -c]] if mirrored else [[c, s], [-s, c]], dtype=torch.float64)


def apart(x, y):
    return float((x - y).square().sum().sqrt())


def test_it_is_scipys_rotation_of_centred_points():
    x, y = points(0), points(1)
    X, Y = ((p - p.mean(0)).numpy() for p in (x, y))
    np.testing.assert_allclose(turned_onto(x, y), X @ orthogonal_procrustes(X, Y)[0] + y.mean(0).numpy(), atol=NEAR)


def test_no_turn_of_a_literal_search_is_nearer():
    x, y = points(2), points(3)
    centred = x - x.mean(0)
    turns = [turn(k * math.pi / 1800, mirrored) for k in range(3600) for mirrored in (False, True)]
    literal = min(apart(centred @ q + y.mean(0), y) for q in turns)
    ours = apart(turned_onto(x, y), y)
    # Between two angles of the search lies at most half its step, which moves every point by that share of its radius.
    assert ours <= literal + NEAR and literal <= ours + math.pi / 3600 * float(centred.square().sum().sqrt())


@given(st.integers(0, 10_000), st.floats(0, 6.28), st.booleans(), st.floats(-9, 9))
def test_what_was_turned_mirrored_and_shifted_comes_back(seed, angle, mirrored, shift):
    x = points(seed)
    assert apart(turned_onto(x @ turn(angle, mirrored) + shift, x), x) < NEAR


@given(st.integers(0, 10_000))
def test_it_brings_no_two_pictures_further_apart_and_changes_no_distance_within(seed):
    x, y = points(seed), points(seed + 1)
    turned = turned_onto(x, y)
    shifted = x - x.mean(0) + y.mean(0)
    assert apart(turned, y) <= apart(shifted, y) + NEAR <= apart(x, y) + 2 * NEAR
    torch.testing.assert_close(torch.cdist(turned, turned), torch.cdist(x, x), atol=1e-6, rtol=0)


def test_equal_points_come_back_bit_by_bit():
    x = points(4)
    assert torch.equal(turned_onto(x, x), x)


@pytest.mark.parametrize("x", [torch.zeros(5, 2), torch.ones(5, 2) * 7, torch.arange(10.0).view(5, 2)])
def test_points_on_a_line_and_one_point_are_turned_too(x):
    y = points(5, n=5)
    turned = turned_onto(x.double(), y)
    assert bool(turned.isfinite().all()) and apart(turned.mean(0), y.mean(0)) < NEAR
