"""Correlations within and between groups."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analysis.statistics.correlation import between, within


def sample(groups, each, seed=0):
    draw = np.random.default_rng(seed)
    group = np.repeat(np.arange(groups), each)
    x = draw.normal(size=groups * each) + 5 * draw.normal(size=groups)[group]
    return x, 0.5 * x + draw.normal(size=len(x)) - 3 * group, group


def centred(values, group):
    return np.array([v - np.mean([w for w, h in zip(values, group, strict=True) if h == g])
                     for v, g in zip(values, group, strict=True)])  # fmt: skip


@given(groups=st.integers(1, 6), each=st.integers(3, 8), seed=st.integers(0, 1000))
def test_within_is_the_correlation_of_what_is_left_of_the_groups_means(groups, each, seed):
    x, y, group = sample(groups, each, seed)
    r = within(x, y, group)
    assert r.value == pytest.approx(np.corrcoef(centred(x, group), centred(y, group))[0, 1], abs=1e-12)
    assert (r.n, r.groups, r.undefined) == (len(x), groups, "")


def test_one_group_has_pearson_s_r_and_fisher_s_interval():
    x, y, group = sample(1, 9)
    expected = stats.pearsonr(x, y)
    limits = expected.confidence_interval(0.95)
    r = within(x, y, group)
    assert (r.value, r.low, r.high) == pytest.approx((expected.statistic, limits.low, limits.high), abs=1e-9)
    assert "not independent" in r.interval


def test_between_is_pearson_s_r_of_the_groups_means():
    x, y, group = sample(6, 3)
    means = [[values[group == g].mean() for g in range(6)] for values in (x, y)]
    expected = stats.pearsonr(*means)
    limits = expected.confidence_interval(0.95)
    r = between(x, y, group)
    assert (r.value, r.low, r.high) == pytest.approx((expected.statistic, limits.low, limits.high), abs=1e-9)
    assert r.n == r.groups == 6 and "runs are taken to be independent" in r.interval


def test_two_groups_cost_a_point_of_fisher_s_interval():
    x, y, group = sample(2, 4)
    r = within(x, y, group)
    half = stats.norm.ppf(0.975) / math.sqrt(8 - 1 - 3)
    assert r.high == pytest.approx(math.tanh(math.atanh(r.value) + half), abs=1e-9)


def test_of_three_groups_each_is_left_out_in_turn():
    x, y, group = sample(4, 5)
    rest = [np.arctanh(within(x[group != g], y[group != g], group[group != g]).value) for g in range(4)]
    error = math.sqrt(3 / 4 * sum((z - np.mean(rest)) ** 2 for z in rest))
    r = within(x, y, group)
    z = math.atanh(r.value)
    half = stats.t.ppf(0.975, 3) * error
    assert (r.low, r.high) == pytest.approx((math.tanh(z - half), math.tanh(z + half)), abs=1e-9)
    assert r.interval == "95 % jackknife, 4 runs left out in turn"


@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e300])
def test_size_and_place_of_values_change_nothing(scale):
    x, y, group = sample(2, 4)
    assert within(scale * x, y, group).value == pytest.approx(within(x, y, group).value, abs=1e-12)


def test_what_is_undefined_says_why():
    x, y, group = sample(1, 5)
    assert within(x[:2], y[:2], group[:2]).undefined == "n = 2, 3 are needed"
    assert within(np.full(5, 0.1), y, group).undefined == "alignment does not vary"
    assert within(x, np.full(5, 1e9 / 3), group).undefined == "accuracy does not vary"
    assert between(x, y, group).undefined == "n = 1, 3 are needed"
    nothing = within(x[:0], y[:0], group[:0])
    assert math.isnan(nothing.value) and nothing.undefined == "n = 0, 3 are needed"


def test_a_mean_s_rounding_is_no_spread():
    group = np.repeat([0, 1], 3)
    assert within(np.array([0.1, 0.1, 0.1, 0.7, 0.7, 0.7]), np.arange(6.0), group).undefined


def test_a_group_of_one_point_is_in_no_correlation_within():
    x, y, group = sample(1, 5)
    r = within(np.append(x, 9.0), np.append(y, -9.0), np.append(group, 7))
    assert r == within(x, y, group)


def test_three_points_have_a_value_and_no_interval_and_a_line_has_none():
    x, y, group = sample(1, 3)
    r = within(x, y, group)
    assert not math.isnan(r.value) and math.isnan(r.low) and r.interval == "no interval: too few points"
    line = within(np.arange(8.0), np.arange(8.0), np.zeros(8, int))
    assert line.value == 1 and math.isnan(line.low) and line.interval == "no interval: the points lie on a line"
