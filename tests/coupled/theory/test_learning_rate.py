import math
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coupled.theory.learning_rate import learning_rate, peak


def spec(**changes):
    base = {"learning_rate": 0.5, "scaling": "constant", "reference_batch": None}
    return SimpleNamespace(**base | {"schedule": "cosine", "warmup": 4, "horizon": 20} | changes)


# All powers of 2 and 3: exact in floating point.
TABLE = [
    ("linear", 256, 4096, 8.0),
    ("sqrt", 256, 4096, 2.0),
    ("fourth-root", 256, 4096, 1.0),
    ("constant", None, 4096, 0.5),
    ("linear", 64, 16, 0.125),
    ("sqrt", 64, 16, 0.25),
    ("fourth-root", 16, 1296, 1.5),
    ("linear", 256, 256, 0.5),
]


@pytest.mark.parametrize(("scaling", "reference", "size", "expected"), TABLE)
def test_the_peak_is_the_rate_times_a_power_of_the_batch_size(scaling, reference, size, expected):
    assert peak(spec(scaling=scaling, reference_batch=reference), size) == expected


def test_the_published_recipe_peaks_at_one_point_two():
    assert peak(spec(learning_rate=0.3, scaling="linear", reference_batch=256), 1024) == 1.2


@given(size=st.integers(2, 1 << 20), reference=st.integers(1, 1 << 20), rate=st.floats(1e-300, 1e3))
def test_every_rule_is_its_power_at_every_size(size, reference, rate):
    for scaling, power in (("linear", 1), ("sqrt", 1 / 2), ("fourth-root", 1 / 4)):
        own = peak(spec(learning_rate=rate, scaling=scaling, reference_batch=reference), size)
        # A division, two roots or one power, and a product: each within two roundings of 1.1e-16.
        assert math.isclose(own, rate * (size / reference) ** power, rel_tol=2e-15)


@given(rate=st.floats(0, exclude_min=True, allow_infinity=False), size=st.integers(2))
def test_a_constant_peak_is_the_given_number_itself(rate, size):
    assert peak(spec(learning_rate=rate), size) == rate
    assert learning_rate(spec(learning_rate=rate, schedule="constant", horizon=None, warmup=0), 7, size) == rate


def test_the_learning_rate_warms_up_then_falls_along_half_a_cosine_to_zero():
    assert [learning_rate(spec(), t, 256) for t in range(5)] == [0.125, 0.25, 0.375, 0.5, 0.5]
    falling = [learning_rate(spec(), t, 256) for t in range(4, 21)]
    assert falling == sorted(falling, reverse=True)
    assert (falling[8], falling[16]) == (0.25, 0.0)


def test_the_whole_schedule_scales_with_the_peak():
    scaled = spec(scaling="linear", reference_batch=256)
    assert all(learning_rate(scaled, t, 1024) == 4 * learning_rate(spec(), t, 1024) for t in range(21))


def test_after_warm_up_a_constant_schedule_stays_at_the_peak():
    own = spec(schedule="constant", horizon=None, scaling="sqrt", reference_batch=64)
    assert [learning_rate(own, t, 256) for t in (1, 3, 4, 1000)] == [0.5, 1.0, 1.0, 1.0]
