"""Decision axes of two labellings: literal loops, and the two bounds as theorems about the very samples measured."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import analysis
from coupled.errors import UserError

pytestmark = [pytest.mark.kernels, pytest.mark.threads]


def factors(seed, cells, d=3):
    """Samples in cells (labels of the first, of the second, number), each cell with a centre and width of its own."""
    rng = np.random.default_rng(seed)
    size = 10.0 ** rng.uniform(-2, 1)
    f = [rng.standard_normal((n, d)) * size * rng.uniform() + rng.standard_normal(d) for _, _, n in cells]
    labels = [np.repeat([cell[k] for cell in cells], [n for *_, n in cells]) for k in (0, 1)]
    return np.concatenate(f), *labels


def even(n):
    return [(a, b, n) for a in (0, 1) for b in (0, 1)]


def literal(f, labels, classes):
    """Axis, distance, pooled standard deviation along the axis."""
    groups = [f[labels == c] for c in classes]
    means = [sum(group) / len(group) for group in groups]
    distance = math.sqrt(sum((means[1] - means[0]) ** 2))
    axis = (means[1] - means[0]) / distance
    own = [np.dot(x - mean, axis) ** 2 for group, mean in zip(groups, means, strict=True) for x in group]
    return axis, distance, math.sqrt(sum(own) / len(own))


@pytest.mark.parametrize("chunk", [1, 1 << 22])
def test_axes_and_bounds_are_the_literal_ones(monkeypatch, chunk):
    monkeypatch.setattr("analysis.arrays.classes.CHUNK", chunk)
    f, first, second = factors(0, [(4, 1, 3), (4, 9, 7), (2, 1, 5), (2, 9, 4)])
    (axes,) = analysis.decision_axes(f, first, second)
    (u, d1, s1), (v, d2, s2) = literal(f, first, (2, 4)), literal(f, second, (1, 9))
    assert (axes.first, axes.second, axes.n) == ((2, 4), (1, 9), 19)
    assert axes.cosine == pytest.approx(abs(np.dot(u, v)), rel=1e-12)
    assert axes.bound == pytest.approx(min(2 * s1 / d2, 2 * s2 / d1), rel=1e-12)
    p, q = np.mean(first == 4), np.mean(second == 9)
    apart = abs(np.mean(second[first == 4] == 9) - np.mean(second[first == 2] == 9))
    back = abs(np.mean(first[second == 9] == 4) - np.mean(first[second == 1] == 4))
    sides = (s2 / math.sqrt(p * (1 - p)) + d2 * apart) / d1, (s1 / math.sqrt(q * (1 - q)) + d1 * back) / d2
    assert axes.bound_any == pytest.approx(min(sides), rel=1e-12)
    assert axes.uneven == pytest.approx(7 / 19 - 1 / 4, rel=1e-12)


@given(seed=st.integers(0, 10**6), n=st.integers(1, 5), d=st.integers(1, 4))
def test_axes_of_balanced_independent_labellings_are_bounded_by_the_width_of_classes(seed, n, d):
    (axes,) = analysis.decision_axes(*factors(seed, even(n), d))
    assert axes.uneven == 0 and axes.cosine <= axes.bound * (1 + 1e-9) + 1e-12
    assert axes.bound_any == pytest.approx(axes.bound, rel=1e-12)


@given(seed=st.integers(0, 10**6), counts=st.tuples(*[st.integers(1, 9)] * 4), d=st.integers(1, 4))
def test_axes_of_any_two_labellings_are_bounded_with_their_dependence(seed, counts, d):
    cells = [(a, b, n) for (a, b, _), n in zip(even(1), counts, strict=True)]
    (axes,) = analysis.decision_axes(*factors(seed, cells, d))
    assert axes.cosine <= axes.bound_any * (1 + 1e-9) + 1e-12
    assert (axes.uneven == 0) == (len(set(counts)) == 1)


def test_the_bound_of_independent_labellings_fails_for_others_and_says_so():
    # Tight cells on a line, where most samples are in both second classes or in neither.
    cells = [(0, 0, 9), (0, 1, 1), (1, 0, 1), (1, 1, 9)]
    first, second = (np.repeat([cell[k] for cell in cells], [9, 1, 1, 9]) for k in (0, 1))
    f = np.stack([first, 2.0 * first], 1)
    (axes,) = analysis.decision_axes(f, first, second)
    assert axes.cosine == pytest.approx(1) and axes.bound < 0.8 and axes.uneven == pytest.approx(0.2)
    assert axes.bound_any >= 1 - 1e-12


def test_orthogonal_factors_of_collapsed_cells_have_cosine_and_bounds_0():
    _, first, second = factors(0, even(4))
    (axes,) = analysis.decision_axes(np.stack([first, second, 0 * first], 1), first, second)
    # The width of a class along its own axis is 0.
    assert (axes.cosine, axes.bound, axes.bound_any) == (0, 0, 0)


def test_all_pairs_with_samples_in_all_four_cells_are_counted_and_made_one_by_one():
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 5, 30), rng.integers(3, 8, 30)
    cells = set(zip(first.tolist(), second.tolist(), strict=True))
    sides = combinations(np.unique(first).tolist(), 2), list(combinations(np.unique(second).tolist(), 2))
    expected = [(a, b) for a in sides[0] for b in sides[1] if all((i, j) in cells for i in a for j in b)]
    pairs = analysis.ClassPairs(first, second)
    assert list(pairs) == expected and len(pairs) == len(expected) > 10
    assert pairs[-1] == expected[-1] and pairs[2:5] == expected[2:5]
    assert not analysis.ClassPairs(first, first) and not analysis.ClassPairs(first, 0 * first)
    with pytest.raises(IndexError):
        pairs[len(expected)]


def test_millions_of_pairs_are_counted_without_being_made():
    first, second = (grid.ravel() for grid in np.indices((150, 150)))
    pairs = analysis.ClassPairs(first, second)
    assert len(pairs) == math.comb(150, 2) ** 2 and pairs[-1] == ((148, 149), (148, 149))


def test_only_pairs_that_are_asked_for_are_measured():
    f, first, second = factors(1, [(a, b, 3) for a in range(3) for b in range(3)])
    every = analysis.decision_axes(f, first, second)
    assert len(every) == 9 and analysis.decision_axes(f, first, second, pairs=[((0, 2), (1, 2))]) == [every[5]]
    assert all(axes.n == 12 for axes in every)


@pytest.mark.parametrize("power", [-1000, 70, 1000])
def test_size_does_not_count(power):
    f, first, second = factors(2, even(5))
    assert analysis.decision_axes(np.ldexp(f, power), first, second) == analysis.decision_axes(f, first, second)


def test_what_has_no_axis_says_so():
    f, first, second = factors(3, even(5))
    missing = analysis.decision_axes(f, first, second, pairs=[((0, 1), (1, 7))])[0]
    assert missing.undefined == "no sample is in classes 0 and 7"
    empty = analysis.decision_axes(f, first, second, pairs=[((5, 6), (7, 8))])[0]
    assert empty.n == 0 and math.isnan(empty.uneven) and "no sample is in classes 5 and 7" in empty.undefined
    f[first == 0] = f[first == 1]
    (same,) = analysis.decision_axes(f, first, second)
    assert same.undefined == "classes 0 and 1 have one centre"
    f[0, 0] = math.nan
    (broken,) = analysis.decision_axes(f, first, second)
    assert broken.undefined == "features that are not finite"
    assert all(math.isnan(v) for a in (missing, empty, same, broken) for v in (a.cosine, a.bound, a.bound_any))


@pytest.mark.parametrize("offset", [0, 100, 1e6])
def test_centres_that_only_rounding_tells_apart_have_no_axis(offset):
    # In both classes of the first labelling the centre is halfway between those of the second.
    rows = np.random.default_rng(0).standard_normal((50, 3))
    f = np.concatenate([rows + 1, -1 - rows, 3 * rows + 1, -1 - 3 * rows]) + offset
    (axes,) = analysis.decision_axes(f, np.repeat([0, 1], 100), np.tile(np.repeat([0, 1], 50), 2))
    assert axes.undefined.startswith("classes 0 and 1 have one centre")


def test_what_does_not_fit_is_one_clear_line():
    f, first, second = factors(0, even(5))
    with pytest.raises(UserError, match=r"labels \(20,\) and \(3,\); \(n,\) and \(n,\) are needed"):
        analysis.ClassPairs(first, second[:3])
    with pytest.raises(UserError, match=r"features \(20, 3\) and labels \(3,\)"):
        analysis.decision_axes(f, first, second[:3])
    with pytest.raises(UserError, match="class 1 and itself; two different"):
        analysis.decision_axes(f, first, second, pairs=[((0, 1), (1, 1))])


def test_many_pairs_at_once_are_each_as_if_alone():
    f, first, second = factors(4, [(a, b, 2 + (a * b) % 3) for a in range(6) for b in range(6)])
    every, pairs = analysis.decision_axes(f, first, second), analysis.ClassPairs(first, second)
    assert len(every) == len(pairs) == 225
    for number in (0, 99, 100, 224):
        (alone,) = analysis.decision_axes(f, first, second, pairs=[pairs[number]])
        assert (alone.first, alone.second, alone.n) == (every[number].first, every[number].second, every[number].n)
        assert (alone.cosine, alone.bound_any) == pytest.approx(
            (every[number].cosine, every[number].bound_any), rel=1e-12
        )
