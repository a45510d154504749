"""Spearman RSA, neighbours in common and Procrustes distance against literal versions."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.linalg import orthogonal_procrustes

import analysis
from analysis.arrays import pairwise
from coupled.errors import UserError

pytestmark = [pytest.mark.kernels, pytest.mark.threads]

MEASURES = (
    lambda x, y: analysis.rsa(x, y, comparison="spearman"),
    lambda x, y: analysis.knn_overlap(x, y, k=3),
    analysis.procrustes_distance,
)


def features(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


def cosines(x):
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    return unit @ unit.T


def literal_overlap(x, y, k):
    def neighbours(x):
        S = cosines(x)
        return [
            set(sorted((j for j in range(len(x)) if j != i), key=lambda j: (-S[i, j], j))[:k]) for i in range(len(x))
        ]

    return np.mean([len(a & b) / k for a, b in zip(neighbours(x), neighbours(y), strict=True)])


@pytest.mark.parametrize("n, d, e", [(4, 3, 5), (30, 5, 50), (64, 64, 8)])
def test_spearman_is_scipys(n, d, e):
    x, y = features(0, n, d), features(1, n, e) + 1
    upper = np.triu_indices(n, 1)
    expected = stats.spearmanr(cosines(x)[upper], cosines(y)[upper]).statistic
    assert analysis.rsa(x, y, comparison="spearman") == pytest.approx(expected, abs=1e-10)


def test_tied_similarities_get_their_average_rank():
    x = np.eye(4)[[0, 0, 1, 1, 2, 2, 3, 3]]
    y, upper = features(1, 8, 3), np.triu_indices(8, 1)
    expected = stats.spearmanr(cosines(x)[upper], cosines(y)[upper]).statistic
    assert analysis.rsa(x, y, comparison="spearman") == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("n, k", [(6, 5), (30, 10), (50, 3)])
def test_neighbours_in_common_are_the_literal_ones(n, k):
    x, y = features(0, n, 4), features(0, n, 4) + features(1, n, 4)
    assert analysis.knn_overlap(x, y, k=k) == pytest.approx(literal_overlap(x, y, k), abs=1e-12)


def test_of_equally_near_ones_the_lowest_index_is_taken():
    found = pairwise.knn_overlap(2).prepare(torch.eye(4, dtype=torch.float64)[[0, 1, 2, 3, 3]])
    assert found.nearest.tolist() == [[1, 2], [0, 2], [0, 1], [0, 4], [0, 3]]


@pytest.mark.parametrize("tied", [False, True])
def test_neighbours_do_not_depend_on_the_rows_worked_on_at_a_time(monkeypatch, tied):
    x, y = features(0, 2, 40, 4), features(1, 2, 40, 4)
    x = np.sign(x) if tied else x
    whole = analysis.knn_overlap(x, y)
    monkeypatch.setattr(pairwise, "_CHUNK_NUMBERS", 40 * 7)
    assert np.array_equal(analysis.knn_overlap(x, y), whole)


@pytest.mark.parametrize("d, e", [(4, 4), (3, 6), (40, 2)])
def test_procrustes_distance_is_the_literal_one(d, e):
    x, y = features(0, 20, d) + 2, features(1, 20, e)
    X, Y = (t - t.mean(0) for t in (x, y))
    nuclear = np.linalg.svd(X.T @ Y, compute_uv=False).sum() / (np.linalg.norm(X) * np.linalg.norm(Y))
    assert analysis.procrustes_distance(x, y) == pytest.approx(math.sqrt(2 - 2 * nuclear), abs=1e-10)


def test_procrustes_distance_is_what_is_left_after_scipys_rotation():
    x, y = features(0, 20, 4), features(1, 20, 4)
    X, Y = ((t - t.mean(0)) / np.linalg.norm(t - t.mean(0)) for t in (x, y))
    left = np.linalg.norm(X @ orthogonal_procrustes(X, Y)[0] - Y)
    assert analysis.procrustes_distance(x, y) == pytest.approx(left, abs=1e-10)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("d", [3, 4])
def test_a_rotated_twin_is_at_distance_zero_with_all_digits(d, seed):
    # Also in more dimensions than it fills. A hundred roundings of unit norms: products of four terms, a rotation.
    x, Q = features(seed, 20, d), np.linalg.qr(features(seed + 1, 4, 4))[0][:d]
    for one, other in ((x, 3 * x @ Q + 1), (3 * x @ Q + 1, x)):
        assert analysis.procrustes_distance(one, other) < 100 * 2.0**-53


@given(seed=st.integers(0, 10**6))
def test_the_order_of_samples_and_a_rotation_do_not_matter(seed):
    x, y, Q = features(seed, 12, 4), features(seed + 1, 12, 3), np.linalg.qr(features(seed, 4, 4))[0]
    order = np.random.default_rng(seed).permutation(12)
    for measure in MEASURES:
        assert measure(x[order] @ Q, y[order]) == pytest.approx(measure(x, y), abs=1e-8)


@given(seed=st.integers(0, 10**6))
def test_reordering_what_was_prepared_is_preparing_the_reordered(seed):
    x, y = torch.tensor(features(seed, 10, 3)), torch.tensor(features(seed + 1, 10, 3))
    rows = torch.tensor(np.random.default_rng(seed).permutation(10))
    for kind in (pairwise.spearman(), pairwise.knn_overlap(3), pairwise.procrustes()):
        other = kind.prepare(y)
        found = kind.compare(kind.reorder(kind.prepare(x), rows), other)
        assert found.item() == pytest.approx(kind.compare(kind.prepare(x[rows]), other).item(), abs=1e-12)


def test_not_finite_and_constant_features_have_no_alignment():
    x, y = features(0, 8, 3), features(1, 8, 3)
    broken = np.where(np.arange(24).reshape(8, 3) == 7, np.nan, x)
    assert all(math.isnan(measure(broken, y)) and math.isnan(measure(y, broken)) for measure in MEASURES)
    constant = np.full((8, 3), 0.1)
    for left, right in ((constant, y), (y, constant), (constant, constant)):
        assert all(math.isnan(measure(left, right)) for measure in MEASURES)


def test_a_batch_is_what_a_loop_gives():
    x, y = features(0, 3, 2, 10, 4), features(1, 3, 2, 10, 5)
    for measure in MEASURES:
        looped = [[measure(x[i, j], y[i, j]) for j in range(2)] for i in range(3)]
        assert np.allclose(measure(x, y), looped, rtol=0, atol=1e-13)


def test_what_holds_all_pairs_asks_for_a_panel():
    x = np.zeros((4097, 2))
    with pytest.raises(UserError, match="at most 4096.*use a panel of ids"):
        analysis.rsa(x, x, comparison="spearman")


@pytest.mark.parametrize("k", [0, 5, -1, 2.0, 1.5, "3"])
def test_as_many_neighbours_as_there_are_others_are_possible(k):
    with pytest.raises(UserError, match="1 to 4 are possible"):
        analysis.knn_overlap(features(0, 5, 2), features(1, 5, 2), k=k)
