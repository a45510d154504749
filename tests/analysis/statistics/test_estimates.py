"""Intervals that cover, and null bands against every permutation there is."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats

import analysis
from analysis.statistics.estimates import RANGES, estimate, estimates
from analysis.statistics.null import chance
from coupled.address import Purpose, permutation
from coupled.errors import UserError

pytestmark = [pytest.mark.kernels, pytest.mark.threads]

VALUES = {
    "cka": analysis.linear_cka,
    "cka_biased": lambda x, y: analysis.linear_cka(x, y, debiased=False),
    "rsa": analysis.rsa,
    "spearman": lambda x, y: analysis.rsa(x, y, comparison="spearman"),
    "knn_overlap": lambda x, y: analysis.knn_overlap(x, y, k=3),
    "procrustes": analysis.procrustes_distance,
}
EXACT = ("cka", "cka_biased", "rsa")


def features(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


def pair(seed, n, *batch):
    x = features(seed, *batch, n, 3) + 1
    return x, x @ features(seed + 1, 3, 4) + 2 * features(seed + 2, *batch, n, 4)


def rows_of(samples, n, views):
    return np.concatenate([np.asarray(samples) + view * n for view in range(views)])


def permuted(measure, x, y, orders, views):
    n = len(x) // views
    rows = np.array([rows_of(order, n, views) for order in orders])
    return VALUES[measure](np.broadcast_to(x, (len(rows), *x.shape)), y[rows])


@pytest.mark.parametrize("views", [1, 2])
@pytest.mark.parametrize("measure", EXACT)
def test_the_null_is_exact_over_all_permutations(measure, views):
    x, y = pair(0, 6 * views)
    values = permuted(measure, x, y, list(itertools.permutations(range(6))), views)
    found = chance(measure, torch.tensor(x), torch.tensor(y), views=views)
    assert (found.mean.item(), found.sd.item()) == pytest.approx((values.mean(), values.std()), abs=1e-12)


@pytest.mark.parametrize("views", [1, 2])
@pytest.mark.parametrize("measure", EXACT)
def test_the_null_agrees_with_random_permutations(measure, views):
    x, y = pair(1, 30 * views)
    generator = np.random.default_rng(0)
    values = permuted(measure, x, y, [generator.permutation(30) for _ in range(4000)], views)
    found = chance(measure, torch.tensor(x), torch.tensor(y), views=views)
    assert found.mean.item() == pytest.approx(values.mean(), abs=4 * values.std() / math.sqrt(4000))
    assert found.sd.item() == pytest.approx(values.std(), rel=0.1)


def test_the_null_of_rsa_is_mantels():
    x, y = pair(2, 12)
    n, (A, B) = 12, ((u := t / np.linalg.norm(t, axis=1, keepdims=True)) @ u.T for t in (x, y))
    A, B = (np.where(np.eye(n), 0, t - t[np.triu_indices(n, 1)].mean()) for t in (A, B))
    (A0, A1, A2), (B0, B1, B2) = ((t.sum() ** 2, (t**2).sum(), (t.sum(0) ** 2).sum()) for t in (A, B))
    square = 2 * A1 * B1 / (n * (n - 1)) + 4 * (A2 - A1) * (B2 - B1) / (n * (n - 1) * (n - 2))
    square += (A0 + 2 * A1 - 4 * A2) * (B0 + 2 * B1 - 4 * B2) / (n * (n - 1) * (n - 2) * (n - 3))
    found = chance("rsa", torch.tensor(x), torch.tensor(y))
    assert found.sd.item() == pytest.approx(math.sqrt(square / (A1 * B1)), abs=1e-12)


@pytest.mark.parametrize("n", [4, 9, 30])
def test_the_null_of_debiased_cka_depends_on_n_alone(n):
    found = chance("cka", *(torch.tensor(t) for t in pair(3, n)))
    assert (found.mean.item(), found.sd.item()) == pytest.approx((0, math.sqrt(2 / (n * (n - 3)))), abs=1e-12)


@pytest.mark.parametrize("measure", RANGES)
@pytest.mark.parametrize("views", [1, 2])
def test_value_and_interval_are_the_literal_jackknife(measure, views):
    x, y = pair(4, 20 * views)
    found = estimate(measure, x, y, views=views, groups=4, k=3)
    value, rest = VALUES[measure](x, y), []
    for j in range(4):
        kept = rows_of([i for i in range(20) if i % 4 != j], 20, views)
        rest.append(VALUES[measure](x[kept], y[kept]))
    half = stats.t.ppf(0.975, 3) * math.sqrt(3 / 4 * np.square(np.array(rest) - np.mean(rest)).sum())
    limits = np.clip([value - half, value + half], *RANGES[measure])
    assert np.allclose([found.value, found.low, found.high], [value, *limits], rtol=0, atol=1e-10)


@pytest.mark.parametrize("measure", EXACT)
def test_more_features_than_samples_change_nothing(measure):
    x, y = features(0, 12, 40) + 1, features(1, 12, 3)
    rotation = np.linalg.qr(features(2, 40, 40))[0]
    found, turned = estimate(measure, x, y), estimate(measure, x @ rotation, y)
    assert np.allclose(found.value, VALUES[measure](x, y), rtol=0, atol=1e-10)
    for name in ("low", "high", "null_low", "null_high"):
        assert np.allclose(getattr(found, name), getattr(turned, name), rtol=0, atol=1e-10), name


@pytest.mark.parametrize("measure", ["spearman", "knn_overlap", "procrustes"])
@pytest.mark.parametrize("tied", [False, True])
def test_simulated_bands_are_those_of_the_addressed_permutations(measure, tied):
    x, y = pair(5, 40)
    x, y = (np.round(x), np.round(y / 2)) if tied else (x, y)
    found = estimate(measure, x, y, views=2, k=3, permutations=10)
    values = permuted(measure, x, y, [permutation(0, Purpose.PERMUTATION, 20, a=i) for i in range(10)], 2)
    half = 1.96 * values.std(ddof=1)
    limits = np.clip([values.mean() - half, values.mean() + half], *RANGES[measure])
    assert np.allclose([found.null_low, found.null_high], limits, rtol=0, atol=1e-10)
    assert "10 re-pairings" in found.null


@pytest.mark.parametrize("measure", ["cka", "rsa"])
def test_intervals_cover_the_value_of_many_samples(measure):
    mix = features(0, 5, 5)

    def drawn(seed, *shape):
        x = features(seed, *shape, 5) + 0.5
        return x, x @ mix + 2 * features(seed + 1, *shape, 5)

    truth = VALUES[measure](*drawn(2, 200_000))
    found = estimate(measure, *drawn(4, 400, 128))
    covered = np.mean((found.low <= truth) & (truth <= found.high))
    # Nominal .95; .011 is the standard deviation of the share among 400.
    assert 0.91 <= covered <= 0.985, covered


def test_re_paired_features_are_inside_the_null_band_and_aligned_ones_above_it():
    x = features(6, 200, 64, 5)
    apart, twin = estimate("cka", x, features(7, 200, 64, 5)), estimate("cka", x, x + 0.1 * features(8, 200, 64, 5))
    assert 0.9 <= np.mean((apart.null_low <= apart.value) & (apart.value <= apart.null_high)) <= 0.99
    assert (twin.low > twin.null_high).all()


@pytest.mark.parametrize("measure", RANGES)
def test_a_batch_is_what_a_loop_gives_in_any_blocks(measure, monkeypatch):
    x, y = pair(9, 12, 2, 3)
    found = estimate(measure, x, y, views=2, k=3)
    monkeypatch.setattr("analysis.statistics.estimates._BLOCK_NUMBERS", 1)
    for name in ("value", "low", "high", "null_low", "null_high", "ill_conditioned"):
        looped = [
            [getattr(estimate(measure, x[i, j], y[i, j], views=2, k=3), name) for j in range(3)] for i in range(2)
        ]
        assert np.allclose(looped, getattr(found, name), rtol=0, atol=1e-12), name


@pytest.mark.parametrize("measure", EXACT)
def test_what_is_undefined_has_no_interval_and_no_band(measure):
    found = estimate(measure, np.ones((8, 3)), features(0, 8, 3))
    assert np.isnan([found.value, found.low, found.high, found.null_low, found.null_high]).all()
    assert not found.ill_conditioned


BANDS = ("value", "low", "high", "null_low", "null_high", "ill_conditioned")


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("d", [3, 20])
@pytest.mark.parametrize("measure", RANGES)
def test_a_step_that_is_not_finite_is_undefined_and_leaves_the_others_their_bytes(measure, d, bad):
    x, y = features(11, 5, 12, d) + 1, features(12, 5, 12, d) + 1
    clean, others = estimate(measure, x, y, views=2, k=3), [0, 1, 3, 4]
    for side in (x, y):
        kept, side[2, 7, 1] = side[2, 7, 1], bad
        found = estimate(measure, x, y, views=2, k=3)
        side[2, 7, 1] = kept
        for band in BANDS:
            assert getattr(found, band)[others].tobytes() == getattr(clean, band)[others].tobytes(), band
        assert np.isnan([getattr(found, band)[2] for band in BANDS[:5]]).all() and not found.ill_conditioned[2]


@pytest.mark.parametrize("measure", RANGES)
def test_one_pair_that_is_not_finite_has_no_estimate(measure):
    x, y = pair(13, 12)
    x[3, 1] = math.nan
    found = estimate(measure, x, y, k=3)
    assert np.isnan([getattr(found, band) for band in BANDS[:5]]).all()


@pytest.mark.parametrize("wanted", [[0, 1, 1], [1, 1, 0], [1, 0, 0]])
@pytest.mark.parametrize("kinds", [("cka", "cka_biased", "rsa"), ("cka",), ("procrustes", "knn_overlap")])
def test_bands_at_some_steps_are_those_of_all_also_beside_a_step_that_is_not_finite(kinds, wanted):
    x, y = pair(14, 12, 3)
    x[1, 4, 0], banded = math.nan, torch.tensor(wanted, dtype=torch.bool)
    some, every = (estimates(kinds, x, y, k=3, unit="rsa" in kinds, banded=where) for where in (banded, None))
    for measure in kinds:
        there = [0, 2] if measure in ("procrustes", "knn_overlap") else [step for step in (0, 2) if wanted[step]]
        assert some[measure].value[[0, 2]].tobytes() == every[measure].value[[0, 2]].tobytes()
        for band in BANDS[1:5]:
            one, other = getattr(some[measure], band), getattr(every[measure], band)
            assert np.allclose(one[there], other[there], rtol=0, atol=1e-14) and np.isnan(one[1]), band


@pytest.mark.parametrize("measure", RANGES)
def test_no_steps_are_no_estimates(measure):
    found = estimate(measure, np.zeros((0, 8, 3)), np.zeros((0, 8, 3)), k=3)
    assert found.value.shape == found.null_low.shape == (0,)


def test_nearly_equal_similarities_are_flagged():
    x, y = pair(10, 30)
    assert not estimate("rsa", x, y).ill_conditioned
    assert estimate("rsa", x + 1e5, y).ill_conditioned and not estimate("cka", x + 1e5, y).ill_conditioned


@pytest.mark.parametrize(
    "change, said",
    [
        ({"measure": "ckas"}, "did you mean cka"),
        ({"views": 3}, "1 or 2 are possible"),
        ({"views": 2}, "as many rows of every view"),
        ({"groups": 1}, "groups = 1; at least 2"),
        ({"permutations": 1}, "permutations = 1; at least 2"),
        ({"groups": 2.5}, "groups = 2.5; at least 2 are needed, a whole number"),
        ({"measure": "procrustes", "permutations": 3.0}, "permutations = 3.0; at least 2 are needed, a whole number"),
        ({"measure": "knn_overlap", "k": 8, "groups": 3}, "1 to 5 are possible"),
    ],
)
def test_wrong_questions_are_one_clear_line(change, said):
    x, y = pair(0, 9)
    with pytest.raises(UserError, match=said):
        estimate(**({"measure": "cka", "x": x, "y": y} | change))
