"""Drift of similarity matrices against the matrices themselves, and where nearly nothing has moved."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import analysis
from analysis import SimilarityDrift

pytestmark = [pytest.mark.kernels, pytest.mark.threads]


def features(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


def triangle(sigma):
    entries = (1 - sigma)[np.triu_indices(len(sigma), 1)]
    return entries - entries.mean()


def literal(x, y):
    S, T = x @ x.T, y @ y.T
    H = np.eye(len(x)) - 1 / len(x)
    K, L, a, b = H @ S @ H, H @ T @ H, triangle(S), triangle(T)
    norm = np.linalg.norm
    k, r = norm(K - L), norm(b - a)
    larger = max(norm(K), norm(L)), max(norm(a), norm(b))
    return norm(S - T), k / norm(K), k / larger[0], r / norm(a), r / larger[1]


@given(seed=st.integers(0, 10**6), n=st.integers(3, 20), e=st.integers(1, 6), offset=st.floats(-3, 3))
def test_drift_is_the_literal_one(seed, n, e, offset):
    x, y = features(seed, n, 4) + offset, features(seed + 1, n, e) + 1
    assert np.allclose(analysis.similarity_drift(x, y), literal(x, y), rtol=1e-9, atol=1e-10)


def test_equal_inputs_have_drift_exactly_zero():
    x = features(0, 20, 5)
    assert analysis.similarity_drift(x, x.copy()) == SimilarityDrift(0, 0, 0, 0, 0)


@pytest.mark.parametrize("scale", [1e-6, 1e-12])
def test_a_twin_that_differs_in_its_last_digits_has_a_drift_with_right_digits(scale):
    x = features(0, 20, 5)
    y = x + scale * features(1, 20, 5)
    X, Y = x.astype(np.longdouble), y.astype(np.longdouble)
    S, T = X @ X.T, Y @ Y.T
    found = analysis.similarity_drift(x, y)
    assert found.drift == pytest.approx(float(np.sqrt(((S - T) ** 2).sum())), rel=1e-9)
    difference = triangle(T) - triangle(S)
    assert found.r == pytest.approx(float(np.sqrt((difference**2).sum() / (triangle(S) ** 2).sum())), rel=1e-6)


def test_x_is_the_reference():
    x, y = features(0, 10, 3), 2 * features(0, 10, 3)
    one, other = analysis.similarity_drift(x, y), analysis.similarity_drift(y, x)
    assert (one.rho, one.r) == pytest.approx((3, 3)) and (other.rho, other.r) == pytest.approx((0.75, 0.75))
    assert (one.rho_star, one.r_star) == pytest.approx((0.75, 0.75)) == (other.rho_star, other.r_star)


def test_what_has_no_spread_is_undefined():
    x = features(0, 6, 6)
    simplex = analysis.similarity_drift(np.eye(6), x)
    assert np.isnan([simplex.r, simplex.r_star]).all() and simplex.rho > 0
    constant = analysis.similarity_drift(np.full((6, 6), 0.1), x)
    assert np.isnan(constant[1:]).all() and constant.drift > 0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_step_that_is_not_finite_has_no_drift_and_leaves_the_others_theirs(bad):
    x, y = features(0, 3, 6, 3), features(1, 3, 6, 3)
    clean = np.array(analysis.similarity_drift(x, y))
    y[1, 2, 1] = bad
    found = np.array(analysis.similarity_drift(x, y))
    assert np.isnan(found[:, 1]).all() and found[:, [0, 2]].tobytes() == clean[:, [0, 2]].tobytes()


@pytest.mark.parametrize("offset", [1e2, 1e4, 1e6])
def test_an_offset_costs_digits_as_it_does_in_the_matrices_and_no_more(offset):
    x, y = features(2, 20, 4) + offset, features(3, 20, 4) + offset
    X, Y = (np.longdouble(t) @ np.longdouble(t).T for t in (x, y))
    a, b = triangle(X), triangle(Y)
    expected = float(np.sqrt(((b - a) ** 2).sum() / (a**2).sum()))
    # A thousand roundings of the products, which are so much larger than their differences.
    assert analysis.similarity_drift(x, y).r == pytest.approx(expected, rel=1000 * 2.0**-53 * offset)


@given(seed=st.integers(0, 10**6), size=st.floats(0.01, 1.5))
def test_the_sharp_bounds_of_alignment_hold(seed, size):
    x = features(seed, 12, 4)
    y = x + size * features(seed + 1, 12, 4)
    found = analysis.similarity_drift(x, y)
    cka = analysis.linear_cka(x, y, debiased=False)
    correlation = np.corrcoef(triangle(x @ x.T), triangle(y @ y.T))[0, 1]
    assert cka >= np.sqrt(max(0, 1 - found.rho_star**2)) - 1e-12
    assert correlation >= (np.sqrt(1 - found.r_star**2) if found.r_star < 1 else -1) - 1e-12


def test_a_batch_is_what_a_loop_gives():
    x, y = features(0, 3, 2, 9, 4), features(1, 3, 2, 9, 4)
    looped = [[analysis.similarity_drift(x[i, j], y[i, j]) for j in range(2)] for i in range(3)]
    assert np.allclose(np.moveaxis(np.array(looped), -1, 0), analysis.similarity_drift(x, y), rtol=1e-13)
