"""CDNV in its three forms and along directions, against loops over pairs of classes written down literally."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import analysis
from coupled.errors import UserError

pytestmark = [pytest.mark.kernels, pytest.mark.threads]

WEIGHTS = {"symmetric": (0.5, 0.5), "ordered": (1, 0), "unhalved": (1, 1)}


def classes(seed, counts=(5, 9, 2, 14), d=6):
    rng = np.random.default_rng(seed)
    h = np.concatenate(
        [rng.standard_normal((n, d)) * (k + 1) + 3 * rng.standard_normal(d) for k, n in enumerate(counts)]
    )
    labels = np.repeat([7, 0, 3, 12][: len(counts)], counts)
    order = rng.permutation(len(h))
    return h[order], labels[order]


def literal(h, labels, term):
    """Mean over ordered pairs of `term` (features of i, features of j)."""
    groups = [h[labels == c] for c in np.unique(labels)]
    return np.mean([term(a, b) for i, a in enumerate(groups) for j, b in enumerate(groups) if i != j])


def variance(a):
    return np.mean([np.sum((x - a.mean(0)) ** 2) for x in a])


def squared_distance(a, b):
    return np.sum((a.mean(0) - b.mean(0)) ** 2)


@pytest.mark.parametrize("form", WEIGHTS)
@pytest.mark.parametrize("seed", range(3))
def test_cdnv_is_the_literal_one(form, seed):
    own, other = WEIGHTS[form]
    h, labels = classes(seed)
    expected = literal(h, labels, lambda a, b: (own * variance(a) + other * variance(b)) / squared_distance(a, b))
    assert analysis.cdnv(h, labels, form=form) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("chunk", [1, 1 << 22])
def test_directional_cdnv_is_the_variance_along_the_line_of_centres(monkeypatch, chunk):
    monkeypatch.setattr("analysis.arrays.classes.CHUNK", chunk)
    h, labels = classes(4)

    def term(a, b):
        u = (a.mean(0) - b.mean(0)) / math.sqrt(squared_distance(a, b))
        return np.var([np.dot(x - a.mean(0), u) for x in a]) / squared_distance(a, b)

    assert analysis.directional_cdnv(h, labels) == pytest.approx(literal(h, labels, term), rel=1e-12)


@given(seed=st.integers(0, 10**6), scale=st.floats(1e-3, 1e3), shift=st.floats(-1e3, 1e3))
def test_neither_sees_scale_shift_or_rotation(seed, scale, shift):
    h, labels = classes(seed)
    turn = np.linalg.qr(np.random.default_rng(seed).standard_normal((6, 6)))[0]
    for measure in (analysis.cdnv, analysis.directional_cdnv):
        assert measure(scale * h @ turn + shift, labels) == pytest.approx(measure(h, labels), rel=1e-6)


@given(seed=st.integers(0, 10**6))
def test_the_symmetric_and_the_ordered_form_have_one_mean_and_the_direction_has_a_part_of_it(seed):
    h, labels = classes(seed)
    symmetric, ordered, unhalved = (analysis.cdnv(h, labels, form=form) for form in WEIGHTS)
    assert symmetric == pytest.approx(ordered, rel=1e-12) and unhalved == pytest.approx(2 * ordered, rel=1e-12)
    assert 0 <= analysis.directional_cdnv(h, labels) <= ordered


def test_collapsed_classes_have_none():
    h, labels = np.repeat(np.eye(4), 5, axis=0), np.repeat(np.arange(4), 5)
    assert analysis.cdnv(h, labels) == analysis.directional_cdnv(h, labels) == 0


def test_tensors_and_arrays_give_the_same():
    h, labels = classes(0)
    tensors = torch.tensor(h, dtype=torch.float32, requires_grad=True), torch.tensor(labels)
    assert analysis.cdnv(*tensors) == analysis.cdnv(h.astype(np.float32), labels)
    assert type(analysis.directional_cdnv(*tensors)) is float


def test_features_that_are_not_finite_have_none():
    h, labels = classes(0)
    h[3, 1] = np.nan
    assert math.isnan(analysis.cdnv(h, labels)) and math.isnan(analysis.directional_cdnv(h, labels))


@pytest.mark.parametrize("measure", [analysis.cdnv, analysis.directional_cdnv])
@pytest.mark.parametrize(
    "h, labels, said",
    [
        (np.ones((4, 2)), [0, 0, 1, 1], "classes 0 and 1 have one centre; it is undefined at distance 0"),
        (1e6 + np.eye(4)[[0, 1, 1, 0]] * 1e-12, [3, 3, 9, 9], "classes 3 and 9 have one centre"),
        (np.eye(4), [1, 1, 1, 1], "of 1 classes; at least two"),
        (np.eye(4), [0, 1, 1], r"features \(4, 4\) .* labels \(3,\)"),
        (np.zeros(4), [0, 1, 1, 0], "are needed"),
    ],
)
def test_what_has_no_cdnv_is_one_clear_line(measure, h, labels, said):
    with pytest.raises(UserError, match=said):
        measure(h, np.array(labels))


@pytest.mark.parametrize("offset", [0, 100, 1e6])
@pytest.mark.parametrize("measure", [analysis.cdnv, analysis.directional_cdnv])
def test_centres_that_only_rounding_tells_apart_are_one(measure, offset):
    # Both classes have their centre at the offset: rows a, b and −(a + b), and three times that.
    a, b = np.random.default_rng(0).standard_normal((2, 50, 3))
    rows = np.concatenate([a, b, -(a + b)])
    with pytest.raises(UserError, match="classes 0 and 1 have one centre"):
        measure(np.concatenate([rows, 3 * rows]) + offset, np.repeat([0, 1], 150))


def test_an_unknown_form_names_the_others():
    with pytest.raises(UserError, match=r"unknown form halved; allowed: symmetric, ordered, unhalved"):
        analysis.cdnv(*classes(0), form="halved")
