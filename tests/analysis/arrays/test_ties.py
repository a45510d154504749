"""Equal similarities, which floats hardly ever are: against exact integers, whatever the last digits say."""

import math
from decimal import Decimal, localcontext
from itertools import combinations
from itertools import pairwise as successive

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats

import analysis
from analysis.arrays import pairwise
from analysis.statistics.estimates import estimate
from coupled.theory import rounding

pytestmark = [pytest.mark.kernels, pytest.mark.threads]


def cosine(a, b):
    """The cosine of integer rows to twenty digits, the same for all that are equal; 0 for a row of zeros."""
    inner, square = int(a @ b), int(a @ a) * int(b @ b)
    with localcontext(prec=60):
        return round(inner / Decimal(square or 1).sqrt(), 20)


def exact_spearman(x, y, equal=0):
    """Of integer features; similarities that differ by `equal` at most are tied."""

    def ranks(x):
        entries = [cosine(a, b) for a, b in combinations(x.astype(object), 2)]
        twice = [sum(2 * (v < u - equal) + (abs(u - v) <= equal) for v in entries) for u in entries]
        return [n * len(entries) - sum(twice) for n in twice]

    a, b = ranks(x), ranks(y)
    products = (sum(u * v for u, v in zip(s, t, strict=True)) for s, t in ((a, b), (a, a), (b, b)))
    inner, own, other = products
    return inner / math.sqrt(own * other) if own and other else math.nan


def exact_neighbours(x, k):
    rows = x.astype(object)
    others = [sorted((-cosine(a, b), j) for j, b in enumerate(rows) if j != i)[:k] for i, a in enumerate(rows)]
    return [sorted(j for _, j in own) for own in others]


def spearman(x, y):
    return analysis.rsa(x, y, comparison="spearman")


def lengths(seed, n):
    return np.random.default_rng(seed).uniform(1, 5, (n, 1))


def whole(seed, n, d, size=1):
    return np.random.default_rng(seed).integers(-size, size + 1, (n, d))


FOUR = np.eye(4)[np.arange(64) % 4] * lengths(0, 64), (np.eye(4) - 0.25)[np.arange(64) % 4] * lengths(0, 64)
# What is left of a correlation of m pairs: a rounding for every product of the two sums.
PAIRS = 1e-12


def test_four_classes_and_their_simplex_have_the_same_similarities():
    assert spearman(*FOUR) == pytest.approx(1, abs=PAIRS) == analysis.rsa(*FOUR)


@pytest.mark.parametrize("precision", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_features_that_were_rounded_to_a_lower_precision_tie_within_it(precision):
    """Runs record float32: there every row is off by its own rounding before any cosine is taken."""
    x, y = (torch.tensor(rows).to(precision) for rows in FOUR)
    assert spearman(x, y) == pytest.approx(1, abs=PAIRS)
    directions = torch.tensor(lengths(1, 24) * np.random.default_rng(2).standard_normal((2, 5))[np.arange(24) // 12])
    turned = torch.tensor(lengths(3, 24) * np.random.default_rng(4).standard_normal((2, 6))[np.arange(24) // 12])
    assert spearman(directions.to(precision), turned.to(precision)) == pytest.approx(1, abs=PAIRS)


@pytest.mark.parametrize(("precision", "spread"), [(torch.float32, 1e-3), (torch.float32, 1e-4), (torch.float16, 0.1)])
def test_inside_a_tight_class_neighbours_are_as_far_apart_as_they_are(precision, spread):
    """Cosines near 1 hardly feel how rows are rounded: those of a class are no ties, however alike they look."""
    r = np.random.default_rng(1)
    centres = np.linalg.qr(r.normal(size=(64, 4)))[0].T[np.arange(200) % 4]
    x, y = (torch.tensor(centres + spread * r.normal(size=(200, 64)) / 8).to(precision) for _ in "ab")
    for measure in (analysis.knn_overlap, spearman):
        # The same numbers, as if they were exact; independent inside a class, where 10 of 49 are shared by chance.
        assert measure(x, y) == pytest.approx(measure(x.double(), y.double()), abs=0.01)
    assert analysis.knn_overlap(x, y) < 0.25


@pytest.mark.parametrize("seed", range(5))
def test_two_directions_repeated_have_two_similarities(seed):
    x, y = (np.random.default_rng(seed).standard_normal((2, d))[np.arange(12) % 2] for d in (5, 6))
    assert spearman(x * lengths(seed, 12), y * lengths(seed + 1, 12)) == pytest.approx(1, abs=PAIRS)


@given(seed=st.integers(0, 10**6), d=st.integers(1, 6))
def test_spearman_of_whole_numbers_is_the_exact_one(seed, d):
    x, y = whole(seed, 9, d), whole(seed + 1, 9, 3, size=2)
    found = spearman(x * lengths(seed, 9), y * lengths(seed + 1, 9))
    assert found == pytest.approx(exact_spearman(x, y), abs=PAIRS, nan_ok=True)


@given(seed=st.integers(0, 10**6))
def test_a_rotation_and_the_length_of_rows_leave_ties_alone(seed):
    x, y = whole(seed, 9, 4), whole(seed + 1, 9, 4)
    turn = np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]])  # twice a rotation
    found = spearman(x @ turn * lengths(seed, 9), y)
    assert found == pytest.approx(spearman(x, y), abs=PAIRS, nan_ok=True)


def collapsed(seed):
    """Whole numbers near four centres, at 10⁻⁹ of their size."""
    r = np.random.default_rng(seed)
    return r.integers(-(10**9), 10**9, (4, 3))[np.arange(16) % 4] + r.integers(-3, 4, (16, 3))


def test_near_collapse_similarities_within_a_class_are_tied():
    x, y, bound = collapsed(23), collapsed(25), Decimal(rounding.of_cosines(3))
    for z in (x, y):
        entries = sorted(cosine(a, b) for a, b in combinations(z.astype(object), 2))
        gaps = [v - u for u, v in successive(entries)]
        # A computed gap is off by the bound at most: which are ties is not in doubt.
        assert all(gap < bound / 1000 or gap > 3 * bound for gap in gaps)
    assert spearman(x, y) == pytest.approx(exact_spearman(x, y, equal=bound), abs=PAIRS)


def similarities(x):
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    return (unit @ unit.T)[np.triu_indices(len(x), 1)]


def test_the_ends_of_a_long_run_of_close_similarities_are_told_apart():
    apart = 1e-3
    run = torch.arange(1000, dtype=torch.float64) * 0.4 * apart
    order = torch.randperm(1000, generator=torch.Generator().manual_seed(0))
    found = pairwise._ranks(run[order], lambda similarities: torch.full_like(similarities, apart)).sort().values
    # Inside, two on either side are equal; at the ends those of one side alone.
    assert torch.equal(found[2:-2], torch.arange(2, 998) - 499.5) and found[0] == -498.5 and found[-1] == 498.5


def test_without_ties_ranks_are_scipys():
    x, y = (np.random.default_rng(seed).standard_normal((40, 7)) for seed in (0, 1))
    assert spearman(x, y) == pytest.approx(stats.spearmanr(similarities(x), similarities(y)).statistic, abs=1e-12)


@given(seed=st.integers(0, 10**6), d=st.integers(2, 4), k=st.integers(1, 8))
def test_of_equally_near_ones_the_lowest_index_is_taken(seed, d, k):
    x = whole(seed, 9, d)
    found = pairwise.knn_overlap(k).prepare(torch.tensor(x * lengths(seed, 9)))
    if len({cosine(a, b) for a, b in combinations(x, 2)}) > 1:
        assert found.nearest.tolist() == exact_neighbours(x, k)
    else:
        assert (found.nearest == -1).all()


@given(seed=st.integers(0, 10**6))
@example(seed=1150)  # here no tie is cut, so that the neighbours are numbered anew and not found anew
def test_re_paired_neighbours_are_those_of_the_re_paired_rows_also_where_they_are_tied(seed):
    x, kind = torch.tensor(whole(seed, 9, 2) * lengths(seed, 9)), pairwise.knn_overlap(3)
    rows = torch.tensor(np.random.default_rng(seed).permutation(9))
    assert torch.equal(kind.reorder(kind.prepare(x), rows).nearest, kind.prepare(x[rows]).nearest)


def test_two_clusterings_that_have_nothing_to_do_with_each_other_are_inside_the_null_band_of_neighbours():
    # Within a cluster the lowest index decides in both, which chance pairings share.
    r = np.random.default_rng(0)
    x, y = np.eye(3)[r.integers(0, 3, (20, 60))], np.eye(3)[r.integers(0, 3, (20, 60))]
    found = estimate("knn_overlap", x, y, k=5, groups=2)
    assert ((found.null_low <= found.value) & (found.value <= found.null_high)).mean() > 0.7


SAME = {
    "one row": np.full((8, 3), 0.1),
    "one direction": np.full((8, 3), 0.1) * lengths(0, 8),
    "rows of zeros": np.zeros((8, 3)),
    "a simplex": (np.eye(8) - 1 / 8) * lengths(1, 8),
    "one number": np.ones((8, 1)),
}


@pytest.mark.parametrize("x", SAME.values(), ids=SAME)
def test_where_all_similarities_are_equal_there_are_no_ranks_and_no_neighbours(x):
    y = np.random.default_rng(2).standard_normal((8, 3))
    for a, b in ((x, y), (y, x), (x, x)):
        assert math.isnan(spearman(a, b)) and math.isnan(analysis.rsa(a, b))
        assert all(math.isnan(analysis.knn_overlap(a, b, k=k)) for k in (1, 3, 7))
    found = estimate("knn_overlap", x, y, k=3, groups=4)
    assert np.isnan([found.value, found.low, found.high, found.null_low, found.null_high]).all()


@pytest.mark.parametrize("n", [5, 30, 100, 300, 1000])
@pytest.mark.parametrize("edge, shift", [(0.125, 0.0), (0.125, 1.0), (1e-3, 1.0)])
def test_a_simplex_of_any_number_of_samples_has_no_spread_of_similarities(n, edge, shift):
    # All products of two rows are equal; only rounding, the more the larger n, can tell them apart.
    x, y = edge * np.eye(n) + shift, np.random.default_rng(n).standard_normal((n, 3))
    drift = analysis.similarity_drift(x, y)
    assert np.isnan([analysis.rsa(x, y), analysis.linear_cka(x, y), drift.r, drift.r_star]).all() and drift.rho > 0
