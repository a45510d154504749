"""Features at any size: exact powers of two, and rows of norm 1 where squares would leave float64."""

import math

import numpy as np
import pytest
import torch

from coupled.theory.scale import exponent, largest, scaled, shifted, unit_rows

pytestmark = [pytest.mark.kernels, pytest.mark.threads]


def features(seed, *shape):
    return torch.tensor(np.random.default_rng(seed).standard_normal(shape))


@pytest.mark.parametrize(
    "value, by, expected",
    [
        (0.75, -1074, 5e-324),
        (5e-324, 2000, 2.0**926),
        (1.5, 1023, 1.5 * 2.0**1023),
        (-3.0, -700, -3 * 2.0**-700),
        (1e308, 900, math.inf),
        (1e-308, -4000, 0.0),
    ],
)
def test_a_shift_is_the_literal_power_of_two(value, by, expected):
    assert shifted(torch.tensor(value, dtype=torch.float64), torch.tensor(by)).item() == expected


@pytest.mark.parametrize("e", [-1020, -700, -66, 65, 300, 1023])
def test_features_out_of_range_are_brought_to_size_one_without_a_change_of_digits(e):
    ordinary = torch.tensor([[1.0, -0.75], [0.5, 0.25]], dtype=torch.float64)
    assert torch.equal(2 * scaled(shifted(ordinary, torch.tensor(e))), ordinary)


def test_features_of_an_ordinary_size_are_left_alone():
    for e in (-64, 0, 63):
        x = features(0, 4, 3).clamp(-1, 1) * 2.0**e
        assert scaled(x) is x
    assert 0.5 <= largest(scaled(torch.full((2, 1), 5e-324, dtype=torch.float64))) < 1


def test_every_representation_of_a_batch_has_a_size_of_its_own():
    x = torch.stack([features(0, 4, 3)] * 6)
    for step, value in enumerate([1e-300, 1.0, 1e300, 0.0, math.nan, math.inf]):
        x[step] = x[step] * value if step < 4 else value
    values = scaled(x)
    assert torch.equal(values[1], x[1]) and not values[3].any() and values[4].isnan().all() and values[5].isinf().all()
    assert exponent(largest(values)).tolist() == [0] * 6


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_other_precisions_are_scaled_in_float64(dtype):
    x = features(1, 5, 3).to(dtype)
    assert scaled(x) is x
    if dtype != torch.float16:
        huge = (x * 2.0**100).to(dtype)
        assert scaled(huge).dtype == torch.float64 and torch.equal(scaled(huge), scaled(huge.double()))


@pytest.mark.parametrize("e", [-1000, -600, -500, 500, 900, 1020])
def test_a_unit_row_has_the_same_digits_at_every_size(e):
    x = features(2, 6, 5).clamp(-2, 2)
    own = shifted(x, torch.tensor([[e], [0], [-e // 2], [e // 3], [0], [e]]))
    assert torch.equal(unit_rows(own), unit_rows(x))
    assert (unit_rows(x).norm(dim=-1) - 1).abs().max() < 10 * 2.0**-53


def test_unit_rows_keep_zero_and_what_is_not_finite_to_themselves():
    x = features(3, 5, 3)
    clean = unit_rows(x)
    x[1], x[2, 0], x[3, 0] = 0, math.nan, math.inf
    rows = unit_rows(x)
    assert torch.equal(rows[[0, 4]], clean[[0, 4]]) and not rows[1].any()
    assert rows[2].isnan().all() and rows[3].isnan().any()
