"""The bounds on rounding against exact arithmetic."""

from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
import torch

from coupled.theory import rounding
from coupled.theory.scale import unit_rows

pytestmark = [pytest.mark.kernels, pytest.mark.threads]


def exact_cosine(a, b):
    """Of float64 rows, to fifty digits."""
    inner, p, q = (sum(Decimal(u) * Decimal(v) for u, v in zip(s, t, strict=True)) for s, t in ((a, b), (a, a), (b, b)))
    return inner / (p * q).sqrt()


@pytest.mark.parametrize("d", [1, 2, 5, 6, 33, 200])
@pytest.mark.parametrize("offset", [0, 1, 1000])
def test_a_computed_cosine_is_off_by_half_its_bound_at_most(d, offset):
    x = np.random.default_rng(d).standard_normal((4, d)) + offset
    unit = unit_rows(torch.tensor(x))
    cosines = (unit @ unit.T).numpy()
    with localcontext(prec=50):
        worst = max(abs(Decimal(cosines[i, j]) - exact_cosine(x[i], x[j])) for i in range(4) for j in range(i))
    assert worst <= rounding.of_cosines(d) / 2


@pytest.mark.parametrize("n", [1, 1000, 30_000])
def test_a_sum_in_the_worst_order_is_off_by_its_bound_at_most(n):
    terms = np.random.default_rng(n).uniform(0.5, 1, n)
    one_by_one = np.add.accumulate(terms)[-1]
    exact = sum(map(Fraction, terms))
    assert abs(Fraction(one_by_one) - exact) <= Fraction(rounding.of_sum(n)) * exact


@pytest.mark.parametrize("precision", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("spread", [1e-3, 1e-2, 1.0])
def test_rows_rounded_to_a_lower_precision_have_cosines_within_half_a_tie(precision, spread):
    """At every angle, those near 0 too, where a rounding of u turns a cosine by u² alone."""
    x = torch.tensor(
        np.random.default_rng(3).standard_normal(8) + spread * np.random.default_rng(4).standard_normal((60, 8))
    )
    rounded = x.to(precision)
    exact, cosines = (unit_rows(rows) @ unit_rows(rows).T for rows in (x, rounded))
    bound = rounding.tie(cosines, 8, precision)
    assert ((cosines - exact).abs() <= bound / 2).all()
    assert bound.max() < 4 * torch.finfo(precision).eps  # that of rows at right angles, 2 eps, and what else there is
