"""Corrected p-values: scipy's permutation test of the maximum, literal counts, and false positives on nulls."""

from itertools import permutations

import numpy as np
import pytest
from scipy import stats

from analysis.statistics.max_statistic import corrected

N = 6
ORDERS = np.array(list(permutations(range(N))))


def literal(rows):
    """Corrected p by loops: how many rows have some scaled statistic at least as large as the first row's."""
    scaled = (rows - rows.mean(0)) / rows.std(0)
    return [np.mean([max(row) >= at - 1e-12 for row in scaled]) for at in scaled[0]]


def test_it_is_scipys_exact_permutation_test_of_the_largest_of_many():
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal(N), rng.standard_normal((5, N))
    y[1] += 1.5 * x
    products = x[ORDERS] @ y.T  # every pairing of x with the five y, the identity first
    centre, spread = products.mean(0), products.std(0)

    def largest(permuted):
        return ((y @ permuted - centre) / spread).max()

    test = stats.permutation_test((x,), largest, permutation_type="pairings", alternative="greater", n_resamples=1000)
    observed = (products[0] - centre) / spread
    of_all = [np.mean(test.null_distribution >= at - 1e-9) for at in observed]
    single, joint = corrected(products[0], products[1:])
    assert len(test.null_distribution) == len(ORDERS)
    assert joint == pytest.approx(of_all) and joint.min() == pytest.approx(test.pvalue)
    alone = [
        stats.permutation_test((x,), lambda p, row=row: row @ p, permutation_type="pairings", alternative="greater")
        for row in y
    ]
    assert single == pytest.approx([one.pvalue for one in alone])


def test_it_is_the_literal_count_and_never_below_the_uncorrected():
    rows = np.random.default_rng(3).standard_normal((50, 8)) * np.geomspace(1, 1e6, 8) + 5
    single, joint = corrected(rows[0], rows[1:])
    assert joint == pytest.approx(literal(rows)) and (joint >= single).all()


def test_what_is_undefined_has_no_p_and_counts_for_no_other_and_a_constant_has_p_1():
    rows = np.random.default_rng(4).standard_normal((40, 3))
    alone = corrected(rows[0], rows[1:])
    more = np.column_stack([rows, np.full(40, np.nan), np.full(40, 0.1)])
    for p, whole in zip(corrected(more[0], more[1:]), alone, strict=True):
        assert p[:3].tolist() == whole.tolist() and np.isnan(p[3]) and p[4] == 1


@pytest.mark.parametrize("dependence", [0.0, 0.9])
def test_of_nulls_at_most_5_percent_have_a_false_positive(dependence):
    rng, trials, m, P = np.random.default_rng(5), 2000, 30, 99
    false = uncorrected = 0
    for _ in range(trials):
        shared = rng.standard_normal((P + 1, 1))
        rows = np.sqrt(dependence) * shared + np.sqrt(1 - dependence) * rng.standard_normal((P + 1, m))
        rows[:, ::3] = rows[:, ::3] ** 2  # not all of one distribution
        single, joint = corrected(rows[0], rows[1:])
        false, uncorrected = false + (joint <= 0.05).any(), uncorrected + (single <= 0.05).any()
    # .05 exactly in truth; three standard errors of 2000 trials are .015
    assert false / trials <= 0.05 + 0.015 and false / trials >= 0.05 - 0.015 and uncorrected / trials > 0.15
