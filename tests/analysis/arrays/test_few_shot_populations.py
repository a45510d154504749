"""The bounds on few-shot error are theorems where a finite population is all there is: shots are drawn from it with
replacement, ties are errors, moments are its own. Measured over draws, and without any chance where draws can be
enumerated. Mutants of the bounds are told from them.
"""

import math
from itertools import combinations, product

import few_shot_literal as literal
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from analysis.arrays.few_shot_bounds import BOUNDS, two_way
from analysis.arrays.pair_moments import pair_moments

pytestmark = pytest.mark.kernels
SHOTS = (1, 2, 3, 5, 10, 20, 50, 100, 500)
DRAWS = 60


def skewed(rng, n, d):
    return rng.exponential(size=(n, d)) - 1


def heavy(rng, n, d):
    return rng.standard_t(1.5, size=(n, d))


def two_points(rng, n, d):
    """One point, and a rare other one to its side."""
    rare = np.arange(n) < 1 + rng.integers(n) // 3
    return rare[:, None] * np.eye(d)[0] * rng.uniform(0.5, 4) * rng.choice([-1, 1])


def correlated(rng, n, d):
    return rng.standard_normal((n, d)) @ (rng.standard_normal((d, 1)) * rng.standard_normal((1, d)) + 0.1 * np.eye(d))


def plain(rng, n, d):
    return rng.standard_normal((n, d))


KINDS = (skewed, heavy, two_points, correlated, plain)


def population(kind, seed):
    """C = 2 … 5 classes of unequal sizes, spreads and distances, in 1 … 12 dimensions."""
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    C, d = rng.integers(2, 6), rng.integers(1, 13)
    # At most 25 samples where moments are literal loops: sizes are unequal by a factor of ten.
    sizes, apart = rng.integers(2, 26, C), math.exp(rng.uniform(-1, 3))
    groups = [kind(rng, n, d) * math.exp(rng.normal(0, 0.7)) + apart * rng.standard_normal(d) for n in sizes]
    return np.concatenate(groups), np.repeat(np.arange(C), sizes)


@pytest.mark.parametrize("kind", KINDS)
def test_bounds_hold_on_random_populations_among_all_classes_and_between_two(kind):
    compared = 0
    for seed in range(50):
        h, labels = population(kind, seed)
        moments = pair_moments(h, labels)
        pairs = list(combinations(range(moments.count), 2))
        for m in SHOTS[seed % 3 :: 3]:
            one, two = literal.errors(h, labels, m, DRAWS, seed)
            for name in BOUNDS if m >= 10 else ("p1", "cantelli"):
                compared += holds(BOUNDS[name](moments, m).value, one)
                apart = two_way(name, moments, m, pairs)
                compared += holds(apart.value, two.mean(1))
                for bound, errors in zip(apart.pairs.tolist(), two.T, strict=True):
                    compared += holds(bound, errors)
    assert compared > 500  # bounds below the error of guessing


def holds(bound, errors):
    """Is it one that says something? Asserts that it holds."""
    se = errors.std(ddof=1) / math.sqrt(len(errors))
    assert errors.mean() - 3 * se <= bound * (1 + 1e-12)
    return bound < 0.5


def exact_errors(groups, m):
    """The expected error, over every outcome of m shots of each class: of points (·, d) with their counts."""
    centres, weights = [], []
    for points, counts in groups:
        shares = np.array(counts) / sum(counts)
        outcomes = [k for k in product(range(m + 1), repeat=len(points)) if sum(k) == m]
        centres.append([np.array(k) @ points / m for k in outcomes])
        coefficients = [math.factorial(m) / math.prod(map(math.factorial, k)) for k in outcomes]
        weights.append([c * np.prod(shares ** np.array(k)) for c, k in zip(coefficients, outcomes, strict=True)])
    sets = np.array([np.stack(of_classes) for of_classes in product(*centres)])
    probability = [math.prod(of_classes) for of_classes in product(*weights)]
    h, labels = whole(groups)
    one, two = literal.errors_of(torch.tensor(h), torch.tensor(labels), torch.tensor(sets))
    return np.dot(probability, one), probability @ two


def whole(groups):
    """All samples and their labels."""
    h = np.concatenate([np.repeat(points, counts, axis=0) for points, counts in groups]).astype(np.float64)
    return h, np.repeat(np.arange(len(groups)), [sum(counts) for _, counts in groups])


# Whole numbers: ties are ties.
def class_of(points, most):
    place = st.tuples(st.integers(-6, 6), st.integers(-2, 2))
    return st.lists(st.tuples(place, st.integers(1, most)), min_size=1, max_size=points).map(
        lambda entries: (np.array([p for p, _ in entries], np.float64), [count for _, count in entries])
    )


def assert_all_hold(groups, m):
    error, between = exact_errors(groups, m)
    moments = pair_moments(*whole(groups))
    pairs = list(combinations(range(len(groups)), 2))
    for name in BOUNDS if m >= 10 else ("p1", "cantelli"):
        bound = BOUNDS[name](moments, m)
        assert bound.undefined or error <= bound.value + 1e-9, name
        apart = two_way(name, moments, m, pairs).pairs.numpy()
        assert (np.isnan(apart) | (between <= apart + 1e-9)).all(), name


@given(st.lists(class_of(3, 9), min_size=2, max_size=3), st.integers(1, 2))
def test_the_expected_error_is_no_more_than_any_bound_for_few_shots(groups, m):
    assert_all_hold(groups, m)


@given(st.lists(class_of(2, 30), min_size=2, max_size=2), st.sampled_from([10, 13, 20]))
def test_the_expected_error_is_no_more_than_any_bound_for_more_shots_of_two_points(groups, m):
    assert_all_hold(groups, m)


@pytest.mark.parametrize("kind", KINDS)
def test_the_bound_by_cantelli_is_never_above_the_third_paper_s_pair_by_pair(kind):
    for seed in range(20):
        moments = pair_moments(*population(kind, seed))
        for m in (10, 40, 500):
            ours, third = (BOUNDS[name](moments, m).pairs for name in ("cantelli", "p3"))
            assert (ours <= third * (1 + 1e-12)).all()


# One point, and with share .2 another one, just beyond the middle; the other class mirrors it.
BESIDE = (np.array([(0.0, 0.0), (3.0, 0.0)]), [4, 1]), (np.array([(5.0, 0.0), (2.0, 0.0)]), [4, 1])
MUTANTS = {
    "p1: 1/2 + 2/a": ("p1", {"g": 1}, BESIDE, 500),
    "p1: no C - 1": ("p1", {"classes": 0}, None, 10),
    "p1: without the centres": ("p1", {"centres": 0}, None, 10),
    "p3: v_i - v_j": ("p3", {"margin": -1}, None, 10),
    "p3: no 2(m - 1)": ("p3", {"norms": 0}, None, 10),
    "p3: no directional variance": ("p3", {"directional": 0}, BESIDE, 500),
    "p3: M4 subtracted": ("p3", {"fourth": -1}, None, 10),
    "cantelli: v_i - v_j": ("cantelli", {"margin": -1}, None, 10),
    "cantelli: no 2(m - 1)": ("cantelli", {"norms": 0}, None, 10),
    "cantelli: no directional variance": ("cantelli", {"directional": 0}, BESIDE, 500),
    "cantelli: M4 - v² subtracted": ("cantelli", {"fourth": -1}, None, 10),
    "cantelli: no traces": ("cantelli", {"traces": 0}, None, 10),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mutant_of_each_bound_is_caught_by_a_violation_or_by_its_number(mutant):
    name, factors, groups, m = MUTANTS[mutant]
    h, labels = population(plain, 1) if groups is None else whole(groups)
    of = literal.moments(h, labels)
    right, wrong = (literal.BOUNDS[name](of, m, **changed) for changed in ({}, factors))
    assert BOUNDS[name](pair_moments(h, labels), m).value == pytest.approx(right, rel=1e-4)
    if groups is None:
        assert of.C > 2 and abs(wrong / right - 1) > 1e-3  # ten times what the comparison above allows
        return
    errors, _ = literal.errors(h, labels, m, DRAWS)
    assert holds(right, errors) is not None
    with pytest.raises(AssertionError):
        holds(wrong, errors)
