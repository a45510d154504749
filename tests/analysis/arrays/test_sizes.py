"""The same numbers at every size that features can have: scale does not count, and never costs a value."""

import math

import numpy as np
import pytest
import torch

import analysis
from analysis.statistics.estimates import RANGES, estimate
from coupled.theory import alignment

pytestmark = [pytest.mark.kernels, pytest.mark.threads]


def of_tensors(measure):
    """In torch's own memory: products have equal bytes where operands are equally aligned, as NumPy's need not be."""
    return lambda x, y: measure(torch.tensor(x), torch.tensor(y))


MEASURES = {
    "cka": of_tensors(analysis.linear_cka),
    "cka_biased": of_tensors(lambda x, y: analysis.linear_cka(x, y, debiased=False)),
    "rsa": of_tensors(analysis.rsa),
    "spearman": of_tensors(lambda x, y: analysis.rsa(x, y, comparison="spearman")),
    "knn_overlap": of_tensors(lambda x, y: analysis.knn_overlap(x, y, k=3)),
    "procrustes": of_tensors(analysis.procrustes_distance),
}
similarity_drift = of_tensors(analysis.similarity_drift)
BANDS = ("value", "low", "high", "null_low", "null_high", "ill_conditioned")
# Powers of two, as far as no entry of the features below leaves the normal numbers.
POWERS = [-1000, -600, -270, -65, 70, 258, 515, 1000]
LABELS = np.arange(12) % 3


def features(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).clip(-2, 2)


def pair(seed, *batch, n=12, d=4, e=3):
    x = features(seed, *batch, n, d) + 1
    return x, features(seed + 1, *batch, n, e) + x[..., :e]


def same(a, b):
    return np.asarray(a).tobytes() == np.asarray(b).tobytes()


@pytest.mark.parametrize("d", [4, 20])
@pytest.mark.parametrize("power", POWERS)
@pytest.mark.parametrize("name", MEASURES)
def test_a_power_of_two_changes_no_digit(name, power, d):
    (x, y), measure = pair(0, d=d), MEASURES[name]
    for left, right in ((power, power), (power, 0), (0, power), (power, -power)):
        assert same(measure(np.ldexp(x, left), np.ldexp(y, right)), measure(x, y))


@pytest.mark.parametrize("scale", [1e-310, 1e-300, 1e-155, 1e-82, 1e-77, 1e77, 1e78, 1e155, 1e300, 2e307])
@pytest.mark.parametrize("name", MEASURES)
def test_another_factor_changes_the_last_digits_alone(name, scale):
    (x, y), measure = pair(1), MEASURES[name]
    # The product rounds every entry: by 2^-53 of it, and of 1e-310 three digits fewer are left.
    assert measure(x * scale, y * scale) == pytest.approx(measure(x, y), abs=1e-11 if scale < 1e-307 else 1e-12)


@pytest.mark.parametrize("name", MEASURES)
def test_numbers_at_the_ends_of_float32_are_fine(name):
    (x, y), measure = (t.astype(np.float32) for t in pair(2)), MEASURES[name]
    for power in (-120, 125):
        assert same(measure(np.ldexp(x, power), np.ldexp(y, power)), measure(x, y))


@pytest.mark.parametrize("name", ["rsa", "spearman", "knn_overlap"])
@pytest.mark.parametrize("d", [4, 20])
def test_rows_of_all_sizes_have_the_cosines_of_their_directions(name, d):
    (x, y), measure = pair(3, d=d), MEASURES[name]
    powers = np.random.default_rng(3).integers(-1000, 1000, (12, 1))
    powers[5] = 1021  # where the norm of a row is more than float64 holds
    assert same(measure(np.ldexp(x, powers), y), measure(x, y))


@pytest.mark.parametrize("d", [4, 20])
@pytest.mark.parametrize("name", RANGES)
def test_interval_and_null_band_are_the_same_at_every_size_step_by_step(name, d):
    x, y = pair(4, 5, d=d)
    powers = np.array([0, 1000, -1000, 300, 0])[:, None, None]
    found, plain = (
        estimate(name, *map(torch.tensor, t), k=3) for t in ((np.ldexp(x, powers), np.ldexp(y, -powers)), (x, y))
    )
    for band in BANDS:
        assert same(getattr(found, band), getattr(plain, band)), band


def test_an_offset_that_dwarfs_the_spread_does_so_at_every_size():
    x, y = pair(5)
    for name, measure in MEASURES.items():
        expected = measure(x + 100, y)
        assert same(measure(np.ldexp(x + 100, 900), y), expected) and math.isfinite(expected), name


@pytest.mark.parametrize("power", POWERS)
def test_relative_drift_is_the_same_at_every_size_and_drift_grows_with_its_square(power):
    x, y = pair(6)
    found, plain = similarity_drift(np.ldexp(x, power), np.ldexp(y, power)), similarity_drift(x, y)
    assert found[1:] == plain[1:]
    with np.errstate(over="ignore"):
        assert found.drift == np.ldexp(np.ldexp(plain.drift, power), power)  # infinite where float64 ends


def centred_norm(x):
    x = x - x.mean(0)
    return np.linalg.norm(x @ x.T)


@pytest.mark.parametrize("power", [400, 1000])
def test_drift_between_two_sizes_is_that_of_the_larger(power):
    x, y = pair(7)
    for small, large in ((x, np.ldexp(y, power)), (np.ldexp(x, -power), y)):
        found, back = analysis.similarity_drift(large, small), analysis.similarity_drift(small, large)
        assert (*found[1:], back.rho_star, back.r_star) == pytest.approx((1,) * 6, abs=1e-14)
        # In units of the smaller: more than float64 holds, for the largest power.
        expected = centred_norm(y) / centred_norm(x) * 2.0 ** (2 * power) if power == 400 else math.inf
        assert back.rho == pytest.approx(expected, rel=1e-12)


def test_equal_inputs_drift_by_nothing_at_every_size():
    x, _ = pair(8)
    for power in POWERS:
        assert similarity_drift(np.ldexp(x, power), np.ldexp(x, power)) == (0, 0, 0, 0, 0)


@pytest.mark.parametrize("power", POWERS)
@pytest.mark.parametrize("measure", [analysis.cdnv, analysis.directional_cdnv])
def test_cdnv_is_the_same_at_every_size(measure, power):
    x, _ = pair(9)
    assert same(measure(np.ldexp(x, power), LABELS), measure(x, LABELS))
    assert same(measure(np.ldexp(x + 1e3, power), LABELS), measure(x + 1e3, LABELS))


@pytest.mark.parametrize("size", [1e3, 1e5, 1e6])
@pytest.mark.parametrize("name", ["cka", "cka_biased", "rsa"])
def test_one_sample_that_dwarfs_the_others_leaves_a_right_interval(name, size):
    x, y = pair(10, n=32)
    x[3] *= size
    found = estimate(name, x, y, groups=8)
    rest = np.array([MEASURES[name](np.delete(x, np.s_[j::8], 0), np.delete(y, np.s_[j::8], 0)) for j in range(8)])
    error = math.sqrt(7 / 8 * np.square(rest - rest.mean()).sum())
    half = 2.364624252 * error  # t of 7 degrees of freedom
    limits = np.clip([found.value - half, found.value + half], *RANGES[name])
    # With the sample in it a value is the rounding of its fourth power, beside sums that grow with its square.
    assert np.allclose([found.low, found.high], limits, rtol=0, atol=1e-14 * size**2)


def test_the_weight_gap_is_one_of_the_largest_weights_and_none_of_what_is_not_a_number():
    big = torch.tensor([1.5e308], dtype=torch.float64)
    assert alignment.weight_gap(big, big, big) == 1
    norms = torch.tensor([[1.0, math.nan], [1.0, math.inf], [1.0, 1.0]], dtype=torch.float64)
    found = alignment.weight_gap(norms, torch.ones(3, 2).double(), norms)
    assert found[:2].isnan().all() and found[2] == 1
