"""What was put in, shares of distances within clouds, ranks among placebos."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.arrays.amplification import Rank, energy_share, joint_p, put_in, rank_among


def test_what_was_put_in_is_the_double_sum():
    rates, pushed, mu = np.array([0.3, 0.2, 0.1]), np.array([1.0, 2.0, 4.0]), 0.9
    literal = [sum(rates[s] * sum(mu ** (s - r) * pushed[r] for r in range(s + 1)) for s in range(t)) for t in range(4)]
    np.testing.assert_allclose(put_in(rates, pushed, mu), literal, rtol=1e-14)


@given(st.integers(0, 1000))
def test_clouds_with_one_centre_have_a_share_near_1_and_far_ones_near_0(seed):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(2, 12, 200))

    def squares(pairs):
        return [float(((a - b) ** 2).sum()) for a, b in pairs]

    def within(cloud):
        return squares(itertools.combinations(cloud, 2))

    # Means over 66 to 144 pairs in 200 dimensions: relative spread below 2 %.
    assert energy_share(within(x), within(y), squares(itertools.product(x, y))) == pytest.approx(1, abs=0.1)
    assert energy_share(within(x), within(y), squares(itertools.product(x, y + 100))) < 1e-3


def test_a_share_of_clouds_that_coincide_or_hold_one_run_is_not_a_number():
    assert math.isnan(energy_share([1.0], [1.0], [0.0]))
    assert math.isnan(energy_share([], [1.0], [1.0]))


def test_a_rank_counts_ties_on_both_sides_and_p_is_doubled():
    assert rank_among(5.0, [1.0, 2.0, 3.0]) == (3, 0, 0.5)
    assert rank_among(2.0, [1.0, 2.0, 3.0]) == (1, 1, 1.0)
    assert rank_among(0.0, list(range(1, 40))) == (0, 39, 2 / 40)
    assert math.isnan(rank_among(math.nan, [1.0]).p) and math.isnan(rank_among(1.0, [math.nan]).p)
    assert math.isnan(rank_among(1.0, []).p)


@given(st.lists(st.integers(0, 5), min_size=20, max_size=20))
def test_p_is_valid_where_all_values_are_exchangeable(values):
    """Over all choices of which of K + 1 values is the tested one, p ≤ α happens at most in a share α."""
    p = [rank_among(values[i], values[:i] + values[i + 1 :]).p for i in range(len(values))]
    for alpha in (0.1, 0.2, 0.5):
        assert np.mean([each <= alpha for each in p]) <= alpha + 1e-12


@given(
    st.lists(st.tuples(st.integers(0, 3), st.lists(st.integers(0, 3), min_size=1, max_size=4)), min_size=1, max_size=3)
)
def test_a_joint_p_counts_all_that_ranks_could_have_been(seeds):
    ranks, counts = [rank_among(value, others) for value, others in seeds], [len(others) for _, others in seeds]
    sums = [sum(places) for places in itertools.product(*(range(count + 1) for count in counts))]
    low = sum(sum(other <= value for other in others) for value, others in seeds)
    high = sum(sum(other >= value for other in others) for value, others in seeds)
    literal = 2 * min(np.mean([each <= low for each in sums]), np.mean([each <= high for each in sums]))
    assert joint_p(ranks, counts) == pytest.approx(min(1, literal), rel=1e-12)


def test_a_joint_p_is_small_where_all_seeds_say_the_same_and_that_of_one_seed_is_its_own():
    lowest, highest = Rank(0, 19, 0.1), Rank(19, 0, 0.1)
    assert joint_p([lowest] * 3, [19] * 3) == joint_p([highest] * 3, [19] * 3) == pytest.approx(2 / 20**3)
    assert joint_p([lowest, highest], [19, 19]) == 1
    for value in range(-1, 21):
        rank = rank_among(value, [float(k) for k in range(19)])
        assert joint_p([rank], [19]) == pytest.approx(rank.p, rel=1e-12)
    assert math.isnan(joint_p([lowest, Rank(0, 0, math.nan)], [19, 19])) and math.isnan(joint_p([], []))


@given(st.lists(st.lists(st.integers(0, 2), min_size=5, max_size=5), min_size=2, max_size=3))
def test_a_joint_p_is_valid_where_all_values_of_every_seed_are_exchangeable(values):
    ranks = [[rank_among(of[i], of[:i] + of[i + 1 :]) for i in range(len(of))] for of in values]
    p = [joint_p(chosen, [4] * len(values)) for chosen in itertools.product(*ranks)]
    for alpha in (0.1, 0.2, 0.5):
        assert np.mean([each <= alpha + 1e-12 for each in p]) <= alpha + 1e-9
