"""CKA and RSA against n × n matrices written down literally, and what they do not depend on."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import analysis
from coupled.errors import UserError
from coupled.theory import alignment
from coupled.theory.alignment import rsa_of
from coupled.theory.moments import Moments

pytestmark = [pytest.mark.kernels, pytest.mark.threads]

SIZES = [(4, 3, 5), (7, 2, 2), (30, 5, 50), (64, 64, 8)]


def features(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


def pair(seed, n, d, e):
    """Two correlated representations with a mean far from zero."""
    x = features(seed, n, d) + 3
    return x, x @ features(seed + 1, d, e) + 0.5 * features(seed + 2, n, e)


def literal_cka(x, y, debiased):
    n = len(x)
    K, L = x @ x.T, y @ y.T
    H = np.eye(n) - 1 / n

    def hsic(K, L):
        if not debiased:
            return np.trace(K @ H @ L @ H)
        K, L, one = K - np.diag(np.diag(K)), L - np.diag(np.diag(L)), np.ones(n)
        trace, sums, cross = np.trace(K @ L), (one @ K @ one) * (one @ L @ one), one @ K @ L @ one
        return (trace + sums / ((n - 1) * (n - 2)) - 2 / (n - 2) * cross) / (n * (n - 3))

    return hsic(K, L) / math.sqrt(hsic(K, K) * hsic(L, L))


def literal_rsa(x, y):
    def entries(x):
        unit = x / np.linalg.norm(x, axis=1, keepdims=True)
        return (unit @ unit.T)[np.triu_indices(len(x), 1)]

    return np.corrcoef(entries(x), entries(y))[0, 1]


@pytest.mark.parametrize("n, d, e", SIZES)
@pytest.mark.parametrize("debiased", [True, False])
def test_cka_is_the_literal_one(n, d, e, debiased):
    x, y = pair(n, n, d, e)
    assert analysis.linear_cka(x, y, debiased=debiased) == pytest.approx(literal_cka(x, y, debiased), abs=1e-10)


@pytest.mark.parametrize("n, d, e", SIZES)
def test_rsa_is_the_literal_one(n, d, e):
    x, y = pair(n, n, d, e)
    assert analysis.rsa(x, y) == pytest.approx(literal_rsa(x, y), abs=1e-10)


@pytest.mark.parametrize("debiased", [True, False])
@pytest.mark.parametrize("n, d, e", SIZES[1:])
def test_a_mean_ten_thousand_times_the_spread_costs_cka_no_digits(n, d, e, debiased):
    x, y = features(5, n, d) + 1e4, features(6, n, e) - 1e4
    expected = literal_cka(x - x.mean(0), y - y.mean(0), debiased)
    assert analysis.linear_cka(x, y, debiased=debiased) == pytest.approx(expected, abs=1e-10)


def precise_rsa(x, y):
    """In 80-bit arithmetic, which a mean ten thousand times the spread leaves enough of."""

    def entries(x):
        unit = np.longdouble(x) / np.sqrt(np.square(np.longdouble(x)).sum(1, keepdims=True))
        found = (unit @ unit.T)[np.triu_indices(len(x), 1)]
        return found - found.mean()

    a, b = entries(x), entries(y)
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


def test_a_mean_ten_thousand_times_the_spread_leaves_rsa_few_digits_and_it_says_so():
    x, y = features(5, 50, 6) + 1e4, features(6, 50, 4)
    with pytest.warns(analysis.IllConditionedWarning, match="about 7 digits are left; subtract the mean"):
        value = analysis.rsa(x, y)
    assert value == pytest.approx(precise_rsa(x, y), abs=1e-7)


@pytest.mark.parametrize("ratio", [1, 1e2, 1e3, 1e4, 1e5])
def test_the_rounding_error_of_rsa_is_estimated_from_above_and_within_three_digits(ratio):
    pairs = [(features(seed, 30, 6) + ratio, features(seed + 8, 30, 4)) for seed in range(8)]
    found = [rsa_of(Moments.about_mean(*map(torch.tensor, pair), unit=True)) for pair in pairs]
    worst = max(abs(f.value.item() - precise_rsa(*pair)) for f, pair in zip(found, pairs, strict=True))
    assert worst < min(f.error.item() for f in found) < 1e3 * worst


@pytest.mark.filterwarnings("ignore::analysis.IllConditionedWarning")
@pytest.mark.parametrize("gap", [1e-15, 1e-17])
def test_a_spread_of_similarities_that_is_rounding_alone_is_no_spread(gap):
    x = np.ones((20, 4)) + gap * features(0, 20, 4)
    assert math.isnan(analysis.rsa(x, features(1, 20, 4)))


def orthogonal(seed, d):
    return np.linalg.qr(features(seed, d, d))[0]


@given(seed=st.integers(0, 10**6), scale=st.floats(1e-3, 1e3), shift=st.floats(-10, 10), debiased=st.booleans())
def test_cka_ignores_rotation_scale_and_translation(seed, scale, shift, debiased):
    x, y = pair(seed, 12, 4, 3)
    moved = scale * x @ orthogonal(seed, 4) + shift
    before, after = (analysis.linear_cka(t, y, debiased=debiased) for t in (x, moved))
    assert after == pytest.approx(before, abs=1e-8)


@given(seed=st.integers(0, 10**6))
def test_rsa_ignores_rotation_and_the_length_of_every_row(seed):
    x, y = pair(seed, 12, 4, 3)
    lengths = np.exp(features(seed, 12, 1))
    assert analysis.rsa(lengths * x @ orthogonal(seed, 4), y) == pytest.approx(analysis.rsa(x, y), abs=1e-9)


@given(seed=st.integers(0, 10**6))
def test_the_order_of_samples_does_not_matter(seed):
    x, y = pair(seed, 12, 4, 3)
    order = np.random.default_rng(seed).permutation(12)
    for measure in (analysis.linear_cka, analysis.rsa):
        assert measure(x[order], y[order]) == pytest.approx(measure(x, y), abs=1e-10)


@given(seed=st.integers(0, 10**6), debiased=st.booleans())
def test_cka_is_symmetric_and_within_its_range(seed, debiased):
    x, y = features(seed, 6, 9), features(seed + 1, 6, 9)
    value = analysis.linear_cka(x, y, debiased=debiased)
    assert value == pytest.approx(analysis.linear_cka(y, x, debiased=debiased), abs=1e-12)
    assert (-1 if debiased else 0) - 1e-12 <= value <= 1 + 1e-12


def test_independent_features_have_debiased_cka_near_zero_and_biased_near_one():
    pairs = [(features(s, 64, 2048), features(s + 100, 64, 2048)) for s in range(20)]
    debiased, biased = ([analysis.linear_cka(x, y, debiased=how) for x, y in pairs] for how in (True, False))
    assert abs(np.mean(debiased)) < 0.02
    assert np.mean(biased) == pytest.approx(0.97, abs=0.005)


def test_a_representation_has_alignment_one_with_itself():
    x = features(0, 20, 5)
    for value in (analysis.linear_cka(x, x), analysis.linear_cka(x, x, debiased=False), analysis.rsa(x, x)):
        assert value == pytest.approx(1, abs=1e-15)


@pytest.mark.parametrize("scale", [0.0, 1.0, 0.1, 1e6])
def test_a_constant_representation_has_no_alignment(scale):
    x, y = np.full((8, 3), scale), features(0, 8, 3)
    for value in (analysis.linear_cka(x, y), analysis.linear_cka(x, y, debiased=False), analysis.rsa(x, y)):
        assert math.isnan(value)


def test_a_simplex_has_no_debiased_alignment_as_all_its_pairs_are_alike():
    assert math.isnan(analysis.linear_cka(np.eye(6), features(0, 6, 3)))
    assert math.isnan(analysis.rsa(np.eye(6), features(0, 6, 3)))


def test_not_finite_features_have_no_alignment():
    x, y = pair(0, 8, 3, 3)
    for bad in (np.nan, np.inf):
        x[3, 1] = bad
        assert math.isnan(analysis.linear_cka(x, y)) and math.isnan(analysis.rsa(x, y))


def test_a_batch_is_what_a_loop_gives():
    x, y = features(0, 5, 3, 10, 4), features(1, 5, 3, 10, 6)
    for measure in (analysis.linear_cka, analysis.rsa):
        looped = [[measure(x[i, j], y[i, j]) for j in range(3)] for i in range(5)]
        assert np.allclose(measure(x, y), looped, rtol=0, atol=1e-14)


def test_tensors_and_arrays_give_the_same_and_batches_stay_what_they_were():
    x, y = features(0, 2, 10, 4).astype(np.float32), features(1, 2, 10, 4).astype(np.float32)
    tensors = torch.tensor(x, requires_grad=True), torch.tensor(y)
    assert type(analysis.linear_cka(x[0], y[0])) is float
    assert analysis.linear_cka(tensors[0][0], tensors[1][0]) == analysis.linear_cka(x[0], y[0])
    batched = analysis.rsa(*tensors)
    assert isinstance(batched, torch.Tensor) and not batched.requires_grad
    assert np.array_equal(batched.numpy(), analysis.rsa(x, y))


@pytest.mark.parametrize(
    "x, y, options, said",
    [
        ((3, 4), (3, 4), {}, "at least 4 samples are needed, given 3"),
        ((1, 4), (1, 4), {"debiased": False}, "at least 2 samples"),
        ((5, 4), (6, 4), {}, r"linear CKA of shapes \(5, 4\) and \(6, 4\); .*the same n samples in both"),
        ((5,), (5,), {}, "are needed"),
        ((2, 5, 4), (5, 4), {}, "are needed"),
    ],
)
def test_wrong_shapes_are_one_clear_line(x, y, options, said):
    with pytest.raises(UserError, match=said):
        analysis.linear_cka(np.zeros(x), np.zeros(y), **options)


def test_rsa_says_what_it_can_compare():
    with pytest.raises(UserError, match="pearson"):
        analysis.rsa(np.zeros((5, 2)), np.zeros((5, 2)), comparison="kendall")
    with pytest.raises(UserError, match="at least 3 samples"):
        analysis.rsa(np.zeros((2, 2)), np.zeros((2, 2)))


def test_complex_features_are_refused():
    with pytest.raises(UserError, match="real numbers"):
        analysis.linear_cka(np.zeros((5, 2), complex), np.zeros((5, 2)))


def test_weight_gap_is_the_mean_over_layers_that_have_weights():
    layers = [(features(0, 3, 4), features(1, 3, 4)), (features(2, 5), 2 * features(2, 5)), (np.zeros(2), np.zeros(2))]
    norms = [torch.tensor([float(np.linalg.norm(part)) for part in parts]) for parts in zip(*layers, strict=True)]
    distances = torch.tensor([float(np.linalg.norm(w - v)) for w, v in layers])
    literal = [
        2 * np.linalg.norm(w - v) / (np.linalg.norm(w) + np.linalg.norm(v)) for w, v in layers if w.any() or v.any()
    ]
    assert len(literal) == 2
    assert alignment.weight_gap(*norms, distances).item() == pytest.approx(np.mean(literal), rel=1e-6)


def test_weight_gap_spans_zero_to_two():
    w = torch.tensor([3.0, 4.0])
    assert alignment.weight_gap(w, w, torch.zeros(2)) == 0
    assert alignment.weight_gap(w, w, 2 * w) == 2
    assert alignment.weight_gap(w, torch.zeros(2), w) == 2
