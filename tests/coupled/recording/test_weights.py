"""Angles from sums: all of their digits, where the arc cosine has none."""

import math
from decimal import Decimal, localcontext

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from coupled.models.flat import Segment
from coupled.models.segments import Segments, Sum, Vectors
from coupled.recording.weights import angles

CPU, N = torch.device("cpu"), 4096
LAYERS = Segments([Segment("w", (N,), 0, N, N)], CPU)
DTYPES = [torch.float32, torch.float64]


def angle(w, a):
    sums = LAYERS.sums(Vectors(w, a), [Sum.RADIAL, Sum.DISTANCES, Sum.OPPOSITE])
    norm, reference_norm = (LAYERS.squares(flat).sqrt() for flat in (w, a))
    radial, distances, opposite = (sums[kind] for kind in (Sum.RADIAL, Sum.DISTANCES, Sum.OPPOSITE))
    return angles(norm, reference_norm, radial=radial, distances=distances, opposite=opposite).item()


def literal(w, a):
    """atan2(√(‖w‖²‖a‖² − ⟨w, a⟩²), ⟨w, a⟩) in sixty decimals; of an angle below π/2."""
    with localcontext() as context:
        context.prec = 60
        x, y = ([Decimal(value) for value in flat.tolist()] for flat in (w, a))
        xx, yy, xy = (sum(map(Decimal.__mul__, p, q)) for p, q in ((x, x), (y, y), (x, y)))
        return math.atan(float((xx * yy - xy * xy).sqrt() / xy))


def turned(dtype, by, longer=1.0, seed=0):
    """A vector, and about the same turned by an angle and made longer."""
    u, v = torch.randn(2, N, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    across = v - u * (u @ v) / (u @ u)
    across *= u.norm() / across.norm()
    return u.to(dtype), (longer * (math.cos(by) * u + math.sin(by) * across)).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("by", [1e-12, 1e-9, 1e-6, 1e-3, 0.1, 1.0, 1.5])
def test_an_angle_between_vectors_of_about_one_length_has_all_its_digits(dtype, by):
    w, a = turned(dtype, by)
    # Of float32 vectors it is the angle between what they were rounded to, which may be none.
    assert angle(w, a) == pytest.approx(literal(w, a), rel=1e-13, abs=0)


@given(by=st.floats(-12, 0.1), longer=st.floats(-3, 3), seed=st.integers(0, 100))
def test_an_angle_between_vectors_of_other_lengths_is_off_by_no_more_than_is_said(by, longer, seed):
    w, a = turned(torch.float64, 10**by, 10**longer, seed)
    exact = literal(w, a)
    # Rows of 8 squares, and 512 rows.
    bound = 4 * 520 * 2.0**-53 * ((w - a).norm().square() / (w.norm() * a.norm())).item()
    assert abs(angle(w, a) ** 2 - exact**2) <= bound + 1e-15 * exact**2


@pytest.mark.parametrize(("longer", "bound"), [(1.01, 1e-11), (1.1, 2e-9), (2.0, 3e-8)])
def test_a_tiny_angle_between_vectors_of_other_lengths_is_as_good_as_the_page_says(longer, bound):
    for seed in range(20):
        w, a = turned(torch.float32, 1e-10, longer, seed)
        assert abs(angle(w, a) - literal(w, a)) < bound


@pytest.mark.parametrize("dtype", DTYPES)
def test_equal_vectors_are_at_angle_0_and_opposite_ones_at_pi(dtype):
    w, _ = turned(dtype, 0.0)
    assert angle(w, w.clone()) == 0 and angle(w, -w) == math.pi
    assert angle(w, 2 * w) < 1e-7 and angle(w, -2 * w) > math.pi - 1e-7


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_vector_of_norm_0_has_no_angle(dtype):
    w, _ = turned(dtype, 0.0)
    zero = torch.zeros_like(w)
    assert all(math.isnan(angle(*pair)) for pair in ((w, zero), (zero, w), (zero, zero)))
