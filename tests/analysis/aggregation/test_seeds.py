"""Means, contrasts and trends over seeds: scipy's numbers, coverage in simulation, and no interval from two."""

import math

import numpy as np
import pytest
from scipy import stats

from analysis.aggregation.gap import Gap
from analysis.aggregation.seeds import Contrast, Mean, contrast, mean, trend

VALUES = {0: 0.91, 3: 0.88, 7: 0.97, 11: 0.90}
OTHERS = {0: 0.71, 3: 0.69, 7: 0.78, 11: 0.69}


def seeded(values):
    return dict(enumerate(np.asarray(values).tolist()))


def covers(interval, true):
    assert not isinstance(interval, Gap)
    return interval.low <= true <= interval.high


def test_a_mean_has_scipys_t_interval():
    oracle = stats.ttest_1samp(list(VALUES.values()), 0).confidence_interval(0.95)
    result = mean(VALUES)
    assert isinstance(result, Mean) and result.by_seed == VALUES and result.missing == {}
    assert (result.low, result.high) == pytest.approx((oracle.low, oracle.high), abs=1e-12)


def test_fewer_than_three_numbers_are_a_gap_that_names_what_is_missing():
    gap = mean({0: 0.5, 1: 0.6, 2: Gap("never gets there"), 3: math.nan})
    assert gap == Gap("2 of 4 seeds have a value, 3 are needed; seed 2: never gets there; seed 3: undefined")
    assert mean({0: 0.5, 1: 0.6}) == Gap("2 of 2 seeds have a value, 3 are needed")
    assert isinstance(mean({}), Gap) and isinstance(contrast({}, {}), Gap)


def test_a_mean_of_those_that_get_there_names_those_that_do_not():
    result = mean({**VALUES, 20: Gap("never gets there")})
    assert isinstance(result, Mean) and result.missing == {20: "never gets there"}
    assert result.value == mean(VALUES).value


def test_a_contrast_is_scipys_paired_test():
    result = contrast(VALUES, OTHERS)
    a, b = (np.array(list(side.values())) for side in (VALUES, OTHERS))
    oracle = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert isinstance(result, Contrast) and result.value == pytest.approx((a - b).mean())
    assert (result.low, result.high) == pytest.approx((oracle.low, oracle.high), abs=1e-12)
    assert result.variance_ratio == pytest.approx((a.var(ddof=1) + b.var(ddof=1)) / (a - b).var(ddof=1), rel=1e-12)
    assert result.ratio_low < result.variance_ratio < result.ratio_high


def test_pairs_are_made_by_seed_and_not_by_order():
    assert contrast(VALUES, dict(reversed(OTHERS.items()))) == contrast(VALUES, OTHERS)
    result = contrast({**VALUES, 4: 1.0}, {**OTHERS, 5: 1.0, 11: Gap("late")})
    assert list(result.by_seed) == [0, 3, 7]
    assert result.missing == {4: "the second has no such seed", 5: "the first has no such seed", 11: "late"}


def test_equal_randomness_altogether_leaves_no_variance_and_constants_no_ratio():
    shifted = contrast(seeded([1.0, 2.0, 4.0]), seeded([0.0, 1.0, 3.0]))
    assert (shifted.low, shifted.high, shifted.variance_ratio) == (1, 1, math.inf)
    assert math.isnan(contrast(seeded([1.0, 1.0, 1.0]), seeded([0.0, 0.0, 0.0])).variance_ratio)


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_intervals_of_means_contrasts_trends_and_ratios_cover_95_percent(seeds):
    rng, runs, hits = np.random.default_rng(seeds), 2000, np.zeros(4)
    for _ in range(runs):
        shared = rng.standard_normal(seeds)
        a, b, c = (0.8 * shared + 0.6 * rng.standard_normal(seeds) + at for at in (1.0, 3.0, 5.0))
        pair = contrast(seeded(b), seeded(a))
        slope = trend([(0.0, seeded(a)), (1.0, seeded(b)), (2.0, seeded(c))])
        ratio = pair.ratio_low <= 1 / (1 - 0.64) <= pair.ratio_high
        hits += [covers(mean(seeded(a)), 1), covers(pair, 2), covers(slope, 2), ratio]
    assert ((hits / runs >= 0.93) & (hits / runs <= 0.97)).all(), hits / runs


def test_pairing_narrows_by_the_ratio_it_names():
    rng = np.random.default_rng(1)
    shared = rng.standard_normal(4000)
    a, b = (0.8 * shared + 0.6 * rng.standard_normal(4000) for _ in range(2))
    assert contrast(seeded(a), seeded(b)).variance_ratio == pytest.approx(1 / (1 - 0.64), rel=0.05)


def test_a_trend_is_the_mean_of_each_seeds_own_slope():
    x, slopes = np.array([1.0, 2.0, 4.0]), {0: 0.5, 1: -0.25, 2: 1.0}
    points = [(at, {seed: 10 * seed + slope * at for seed, slope in slopes.items()}) for at in x]
    result = trend(points)
    assert isinstance(result, Mean) and result.by_seed == pytest.approx(slopes)
    bent = [(at, {**values, 2: 20 + at**2}) for at, values in points]
    assert trend(bent).by_seed[2] == pytest.approx(stats.linregress(x, 20 + x**2).slope)


def test_a_seed_without_every_point_has_no_slope():
    points = [(at, {seed: seed * at for seed in range(4)}) for at in (1.0, 2.0)]
    points[1][1][3] = Gap("never gets there")
    assert trend(points).missing == {3: "at 2: never gets there"}
    assert trend([(1.0, VALUES), (1.0, OTHERS)]) == Gap("a slope needs points at two x or more")
