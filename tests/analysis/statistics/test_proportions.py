"""Intervals of accuracies equal scipy's or the formulas of their papers."""

import math

import numpy as np
import pytest
from scipy import stats

from analysis.statistics import proportions as subject


@pytest.mark.parametrize(("hits", "n"), [(0, 7), (7, 7), (3, 10), (813, 10_000), (1, 1)])
def test_a_rate_has_scipys_wilson_interval(hits, n):
    oracle = stats.binomtest(hits, n).proportion_ci(0.95, method="wilson")
    assert subject.rate(hits, n) == pytest.approx((hits / n, oracle.low, oracle.high), abs=1e-12)


def test_a_mean_over_draws_has_scipys_t_interval():
    values = [0.5, 0.7, 0.65, 0.4]
    oracle = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert subject.over_draws(values) == pytest.approx((np.mean(values), oracle.low, oracle.high), abs=1e-12)


def test_one_draw_has_no_interval_and_nan_stays_nan():
    value, low, high = subject.over_draws([0.25])
    assert value == 0.25 and math.isnan(low) and math.isnan(high)
    assert all(map(math.isnan, subject.over_draws([0.25, math.nan])))


@pytest.mark.parametrize(("better", "worse", "n"), [(0, 0, 50), (12, 5, 100), (50, 0, 50)])
def test_a_paired_difference_has_the_interval_of_bonett_and_price(better, worse, n):
    # p12 = (f12 + 1)/(n + 2), p21 likewise; p12 - p21 ± z √((p12 + p21 − (p12 − p21)²)/(n + 2)).
    first, second, z = (better + 1) / (n + 2), (worse + 1) / (n + 2), stats.norm.ppf(0.975)
    half = z * math.sqrt((first + second - (first - second) ** 2) / (n + 2))
    value, low, high = subject.paired_difference(better, worse, n)
    assert value == (better - worse) / n
    assert low == pytest.approx(min(first - second - half, value)) and high == pytest.approx(
        max(first - second + half, value)
    )


def test_means_over_classes_weigh_classes_alike_and_equal_a_literal_loop():
    hits, sizes, z = np.array([3, 40, 9]), np.array([4, 80, 9]), stats.norm.ppf(0.975)
    variance = sum((x + 1) / (n + 2) * (n - x + 1) / (n + 2) / (n + 2) for x, n in zip(hits, sizes, strict=True))
    half = z * math.sqrt(variance) / 3
    value = (3 / 4 + 40 / 80 + 1) / 3
    assert subject.mean_rate(hits, sizes) == pytest.approx((value, value - half, min(value + half, 1)), abs=1e-12)


def test_mean_paired_differences_equal_a_literal_loop():
    better, worse, sizes, z = np.array([3, 0]), np.array([1, 2]), np.array([10, 40]), stats.norm.ppf(0.975)
    variance = 0.0
    for b, w, n in zip(better, worse, sizes, strict=True):
        p, q = (b + 1) / (n + 2), (w + 1) / (n + 2)
        variance += (p + q - (p - q) ** 2) / (n + 2)
    value, half = (2 / 10 - 2 / 40) / 2, z * math.sqrt(variance) / 2
    assert subject.mean_paired_difference(better, worse, sizes) == pytest.approx((value, value - half, value + half))


@pytest.mark.parametrize("p", [0.02, 0.5, 0.97])
def test_intervals_cover_what_they_should(p):
    drawn = np.random.default_rng(0).binomial(60, p, size=(4000, 3))
    covered = [low <= p <= high for _, low, high in (subject.mean_rate(hits, np.full(3, 60)) for hits in drawn)]
    # Three standard errors of 4000 draws below 95 %.
    assert np.mean(covered) > 0.95 - 3 * math.sqrt(0.95 * 0.05 / 4000)
