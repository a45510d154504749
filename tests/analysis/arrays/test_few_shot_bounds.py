"""Bounds on few-shot error: numbers worked out by hand, literal loops, and what has no bound."""

import math
from itertools import combinations

import few_shot_literal as literal
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from analysis.arrays import few_shot_bounds as subject
from analysis.arrays import pair_moments
from analysis.arrays.classes import Classes
from analysis.arrays.few_shot_bounds import BOUNDS, least, two_way
from analysis.arrays.pair_moments import PairMoments
from coupled.errors import UserError

pytestmark = pytest.mark.kernels

# Class 0: (2, 0), (−1, 0) twice. Centre 0, v = 2, M4 = (16 + 1 + 1)/3 = 6, Σ = diag(2, 0).
# Class 1: (4, 0) + (1, 1), (−1, −1), 0, 0. v = 1, M4 = (4 + 4)/4 = 2, all numbers of Σ are ½.
# d² = 16, d⁴ = 256; Ṽ_01 = 2/16 = 1/8, Ṽ_10 = ½/16 = 1/32; tr Σ_0² = 4, tr Σ_1² = 1, tr(Σ_0Σ_1) = 2·½ = 1.
POINTS = np.array([(2, 0), (-1, 0), (-1, 0), (5, 1), (3, -1), (4, 0), (4, 0)], np.float64)
OF_POINTS = np.array([0, 0, 0, 1, 1, 1, 1])
# m = 10. c_01 = 1 − 1/160 = .99375, c_10 = 1.00625.
# p3: V = 3/16; E1 = .4(9/256 + 3/64) = .0328125, E2 = .01875,
#   E3 = ((6 + 2)/256 + 18·9/256)/1000 = (170/256)/1000 = 6.640625e-4;
#   roots .1811422 + .1369306 + .0257694 = .3438422, squared .1182275;
#   01: (.5 + .1182275)/.99375² = .626028; 10: (.125 + .1182275)/1.00625² = .240216; half the sum: .433122.
# cantelli: E = (6 − 4 + 18·4 + 2 − 1 + 18·1)/(1000·256) = 93/256000 = 3.632813e-4, its root .0190599.
#   01: .5 + 4(4 + 1)/2560 + (2√(1/320) + .0190599)² = .5 + .0078125 + (.1118034 + .0190599)² = .5249377;
#       .5249377/(.5249377 + .9875391) = .3470718
#   10: .125 + 4(1 + 1)/2560 + (2√(1/80) + .0190599)² = .125 + .003125 + (.2236068 + .0190599)² = .1870121;
#       .1870121/(.1870121 + 1.0125391) = .1559017; half the sum: .2514867.
# p1: Ṽ = 5/64, V = (2 + 1)/2/16 = 3/32, mean root (√(1/8) + √(1/16))/2 = .3017767;
#   K = ¼(.6324555·.3955267 + .009375) = .0648819; s = 4.5656854, q = 8s(5/64)/K = 43.98121;
#   t³ = q(t + s) at t = 8.303: 572.41 against 565.98, at 8.25: 561.52 against 563.64, at 8.2632: 564.21 both;
#   a = 12.8289, (2a/t)² = 9.64147: .7532397 + .8323634 = 1.585603.
BY_HAND = {"p1": 1.585603, "p3": 0.433122, "cantelli": 0.2514867}


@pytest.mark.parametrize("name", BOUNDS)
def test_each_bound_is_the_number_worked_out_by_hand(name):
    of_points = pair_moments.pair_moments(POINTS, OF_POINTS)
    assert BOUNDS[name](of_points, 10).value == pytest.approx(BY_HAND[name], rel=2e-6)


def of_equal_pairs(directional, variance, C):
    """Moments of C classes at distance 1 that all have these."""
    one, all_pairs = torch.ones(C, dtype=torch.float64), torch.ones(C, C, dtype=torch.float64)
    off = all_pairs - torch.eye(C)
    return PairMoments(np.arange(C), variance * one, one, off, directional * off, all_pairs)


@pytest.mark.parametrize("C", [2, 5])
@pytest.mark.parametrize("m, value", [(1, 10.645), (10, 2.047), (100, 0.816)])
def test_the_first_paper_s_bound_has_its_numbers_of_theory(m, value, C):
    # Ṽ = .02, V = .5. m = 100: K = ¼(.2·(√.5 + .5) + .005) = .061605, s = 4.0565685, q = 8s·.02/K = 10.5359,
    # t³ = q(t + s) at t = 4.4805, a = 8.5371: .08(a/t)² + Ka = .29044 + .52593 = .816.
    bound = BOUNDS["p1"](of_equal_pairs(0.02, 0.5, C), m)
    assert bound.value == pytest.approx((C - 1) * value, abs=5e-4 * C) and bound.ways == C


def population(seed, sizes=(7, 12, 3, 9), d=5):
    rng = np.random.default_rng(seed)
    h = np.concatenate([rng.exponential(size=(n, d)) * rng.uniform(0.2, 2) + 4 * rng.standard_normal(d) for n in sizes])
    labels = np.repeat([5, 0, 3, 9][: len(sizes)], sizes)
    order = rng.permutation(len(h))
    return h[order], labels[order]


@pytest.mark.parametrize("chunk", [1, 1 << 19])
@pytest.mark.parametrize("seed", range(3))
def test_moments_are_the_literal_ones(seed, chunk, monkeypatch):
    monkeypatch.setattr("analysis.arrays.classes.CHUNK", chunk)
    h, labels = population(seed)
    ours, of = pair_moments.pair_moments(h, labels), literal.moments(h, labels)
    for name, other in [("variances", "v"), ("fourth", "M4"), ("squared_distances", "d2"), ("directional", "along")]:
        assert getattr(ours, name).numpy() == pytest.approx(np.array(getattr(of, other)), rel=1e-12, abs=0)
    assert ours.traces.numpy() == pytest.approx(of.traces, rel=1e-12)
    assert ours.names.tolist() == [0, 3, 5, 9]


@pytest.mark.parametrize("d", [2, 70])
@pytest.mark.parametrize("held", [1, 300, 1 << 24])
def test_traces_by_covariances_and_by_products_are_one(d, held, monkeypatch):
    monkeypatch.setattr(pair_moments, "_HELD", held)
    monkeypatch.setattr("analysis.arrays.classes.CHUNK", 128)
    h, labels = population(1, d=d)
    classes, of = Classes(h, labels, "traces"), literal.moments(h, labels)
    for way in (pair_moments.by_covariances, pair_moments.by_products, pair_moments.traces):
        assert way(classes).numpy() == pytest.approx(of.traces, rel=1e-11)


@pytest.mark.parametrize("m", [1, 2, 5, 6, 10, 500])
@pytest.mark.parametrize("seed", range(2))
def test_bounds_are_the_literal_ones_among_all_classes_and_between_two(seed, m):
    h, labels = population(seed)
    ours, of, pairs = pair_moments.pair_moments(h, labels), literal.moments(h, labels), list(combinations(range(4), 2))
    for name in BOUNDS if m >= 10 else ("p1", "cantelli"):
        # The literal minimum is over a grid of a.
        close = {"rel": 1e-4 if name == "p1" else 1e-12}
        assert BOUNDS[name](ours, m).value == pytest.approx(literal.BOUNDS[name](of, m), **close)
        expected = [literal.BOUNDS[name](literal.only(of, i, j), m) for i, j in pairs]
        two = two_way(name, ours, m, pairs)
        assert two.pairs.numpy() == pytest.approx(expected, **close) and two.ways == 2
        assert two.value == pytest.approx(np.mean(expected), **close)


def test_a_pair_has_the_bound_that_its_two_classes_have_alone():
    h, labels = population(3)
    ours, two = pair_moments.pair_moments(h, labels), np.isin(labels, [0, 5])
    alone = pair_moments.pair_moments(h[two], labels[two])
    for name in BOUNDS:
        assert two_way(name, ours, 20, [(0, 2)]).value == pytest.approx(BOUNDS[name](alone, 20).value, rel=1e-11)


@pytest.mark.parametrize("m", [1, 10, 100])
@pytest.mark.parametrize("name", BOUNDS)
def test_contributions_of_pairs_and_terms_sum_to_the_value(name, m):
    ours = pair_moments.pair_moments(*population(0))
    bound = BOUNDS[name](ours, m)
    if bound.undefined:
        assert (name, m) == ("p3", 1) and math.isnan(bound.value) and bound.terms == {} and bound.dominant == ""
        return
    of_rows = bound.pairs.sum(1)
    rows = of_rows.clamp(max=1) if name == "cantelli" else of_rows
    assert bound.value == pytest.approx(rows.mean().item(), rel=1e-14)
    assert sum(bound.terms.values()) == pytest.approx(bound.value, rel=1e-14)
    assert bound.terms[bound.dominant] == max(bound.terms.values()) and (bound.pairs.diagonal() == 0).all()
    two = two_way(name, ours, m, [(0, 1), (3, 1)])
    assert sum(two.terms.values()) == pytest.approx(two.value) and two.pairs.shape == (2,)


@given(st.floats(1e-12, 10), st.floats(1e-6, 10), st.integers(1, 600))
def test_the_minimum_over_a_is_exact(directional, slope, m):
    a, beyond = (x.item() for x in least(*torch.tensor([directional, slope], dtype=torch.float64), m))
    s = 4 + 2**2.5 / m
    start, value = max(0.0, 5 - s), lambda t: 4 * directional * ((s + t) / t) ** 2 + slope * (s + t)
    assert a == s + beyond and beyond >= start
    other = minimize_scalar(lambda log: value(start + math.exp(log)), bounds=(-30, 30), options={"xatol": 1e-10})
    assert value(beyond) <= other.fun * (1 + 1e-12)
    # Its derivative is 0 there, or the least a is reached.
    assert beyond == start or beyond**3 == pytest.approx(8 * s * directional / slope * a, rel=1e-12)


@pytest.mark.parametrize("m, directional", [(1, 0.02), (2, 0.02), (3, 1e-6), (4, 1e-6), (5, 1e-6)])
def test_the_least_value_over_all_a_from_5_on_is_none_of_the_theorem_where_shots_are_few(m, directional):
    of = of_equal_pairs(directional, 0.5, 2)
    entries = literal.SimpleNamespace(C=2, v=[0.5, 0.5], d2=of.squared_distances.numpy(), along=of.directional.numpy())
    naive = min(np.linspace(5, 60, 5_001), key=lambda a: literal.p1_at(entries, m, a))
    assert 0.5 - 2 / naive - 2**1.5 / (naive * m) <= 0  # what it is made of has no such a
    bound = BOUNDS["p1"](of, m)
    assert literal.p1_at(entries, m, naive) < 0.99 * bound.value and 0.5 - 2 / bound.a - 2**1.5 / (bound.a * m) > 0


@pytest.mark.parametrize("m", [1, 5, 6, 10, 500])
def test_classes_without_variance_have_bounds_of_0(m):
    h, labels = np.repeat(8 * np.eye(4), 3, axis=0), np.repeat(np.arange(4), 3)
    ours = pair_moments.pair_moments(h, labels)
    for name in BOUNDS if m >= 10 else ("p1", "cantelli"):
        for bound in (BOUNDS[name](ours, m), two_way(name, ours, m, [(0, 3)])):
            assert bound.value == 0 and bound.dominant == "" and not bound.vacuous and not bound.flags


def test_the_infimum_that_no_a_attains_stands_for_the_minimum():
    # All variance is across the line of centres: at m = 1 the directional term is 0 for every a > s = 4 + 2^{5/2}.
    h = np.array([(0, 1), (0, -1), (4, 1), (4, -1)], np.float64)
    bound = BOUNDS["p1"](pair_moments.pair_moments(h, [0, 0, 1, 1]), 1)
    assert bound.value == pytest.approx((4 + 2**2.5) / 4 * (2 * (1 / 4 + 1 / 16) + 1 / 16), rel=1e-14)
    assert bound.terms["directional"] == 0


@pytest.mark.parametrize("size", [1e-20, 1e-3, 1e20])
def test_bounds_do_not_see_the_size_of_features(size):
    h, labels = population(2)
    for name, bound in BOUNDS.items():
        ours, scaled = (bound(pair_moments.pair_moments(x, labels), 10).value for x in (h, size * h))
        assert scaled == pytest.approx(ours, rel=1e-12), name


def test_a_pair_of_which_the_theorem_says_nothing_counts_1_and_a_row_at_most_1():
    # v_0 = 400 at m d² = 10·4: c_01 < 0. Class 2 is far away.
    h = np.array([(0, 20), (0, -20), (2, 0), (2, 0), (5000, 0), (5000, 0)], np.float64)
    ours = pair_moments.pair_moments(h, [0, 0, 1, 1, 2, 2])
    for name in ("p3", "cantelli"):
        bound = BOUNDS[name](ours, 10)
        assert bound.pairs[0, 1] == 1 and bound.terms["counted 1"] == pytest.approx(1 / 3, rel=1e-3)
        assert bound.flags == (f"{name} counts 1 for ordered pairs of classes with 1 + (v_j - v_i)/(m d²) <= 0: 1",)
        assert two_way(name, ours, 10, [(1, 2)]).flags == ()
    assert bound.pairs[0].sum() > 1 and bound.value == pytest.approx((1 + bound.pairs[1:].sum().item()) / 3)


def test_classes_with_one_centre_are_named_and_count_1_or_leave_no_bound():
    h = np.array([(0, 0), (2, 0), (0, 9), (2, 9), (1, 1), (1, -1)], np.float64)
    ours = pair_moments.pair_moments(h, [3, 3, 5, 5, 8, 8])
    first = BOUNDS["p1"](ours, 20)
    assert math.isnan(first.value) and not first.vacuous
    assert first.undefined == "classes 3 and 8 have one centre: p1 is undefined at distance 0"
    assert two_way("p1", ours, 20, [(0, 2), (0, 1)]).undefined == first.undefined
    assert not two_way("p1", ours, 20, [(0, 1)]).undefined
    for name in ("p3", "cantelli"):
        bound = BOUNDS[name](ours, 20)
        assert bound.pairs[0, 2] == bound.pairs[2, 0] == 1 and bound.value < 1 and bound.vacuous
        assert bound.flags == (f"{name} counts 1 for classes 3 and 8, which have one centre",)
        assert two_way(name, ours, 20, [(0, 2)]).value == 1 and not two_way(name, ours, 20, [(0, 1)]).flags


def test_features_that_are_not_finite_have_no_bound():
    h, labels = population(0)
    h[3, 1] = np.nan
    ours = pair_moments.pair_moments(h, labels)
    for name in BOUNDS:
        for bound in (BOUNDS[name](ours, 20), two_way(name, ours, 20, [(0, 1)])):
            assert math.isnan(bound.value) and bound.undefined == "features that are not finite" and not bound.vacuous


def test_what_has_no_moments_or_no_bound_is_one_line():
    with pytest.raises(UserError, match="few-shot moments of 1 classes; at least two are needed"):
        pair_moments.pair_moments(np.eye(3), [1, 1, 1])
    with pytest.raises(UserError, match=r"labels \(2,\); \(n, d\) and \(n,\) are needed"):
        pair_moments.pair_moments(np.eye(3), [1, 1])
    ours = pair_moments.pair_moments(*population(0))
    with pytest.raises(UserError, match="0 shots; at least 1 is needed"):
        subject.cantelli(ours, 0)
    with pytest.raises(UserError, match="unknown bound p2; allowed: p1, p3, cantelli"):
        two_way("p2", ours, 1, [(0, 1)])
