"""Estimates from blocks of rows are those of the whole arrays, and the null band of sums that of the samples."""

from itertools import pairwise
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.statistics import streamed as streams
from analysis.statistics.estimates import estimates
from analysis.statistics.null import chance, chance_of
from analysis.statistics.streamed import streamed, whole
from coupled.errors import UserError
from coupled.theory.moments import Moments

pytestmark = [pytest.mark.kernels, pytest.mark.threads]

MEASURES = ("cka", "cka_biased", "rsa")
FIELDS = ("value", "low", "high", "null_low", "null_high")


def pair(seed, n=40, d=3, e=4):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=generator, dtype=torch.float64) + 1
    y = x @ torch.randn(d, e, generator=generator, dtype=torch.float64)
    return x, y + torch.randn(n, e, generator=generator, dtype=torch.float64)


def blocks(x, *cuts):
    edges = [0, *sorted(min(cut, len(x)) for cut in cuts), len(x)]
    return lambda: (x[a:b] for a, b in pairwise(edges))


def assert_equal(one, other, tolerance=1e-10):
    for measure, estimate in one.items():
        for field in FIELDS:
            a, b = getattr(estimate, field), getattr(other[measure], field)
            assert np.allclose(a, b, rtol=0, atol=tolerance, equal_nan=True), (measure, field)
        assert (estimate.interval, estimate.null) == (other[measure].interval, other[measure].null)
        assert estimate.ill_conditioned == other[measure].ill_conditioned


@settings(max_examples=30)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(4, 40),
    size=st.integers(1, 3),
    cuts=st.lists(st.integers(0, 40), max_size=3),
    others=st.lists(st.integers(0, 40), max_size=3),
)
def test_blocks_of_any_sizes_give_the_estimates_of_the_whole(seed, n, size, cuts, others):
    x, y = pair(seed, n)
    rows = blocks(x, *cuts), blocks(y, *others)
    with mock.patch.object(streams, "_BLOCK_ROWS", 4 * size):
        assert_equal(streamed(MEASURES, *rows, unit=True), estimates(MEASURES, x, y, unit=True))
        assert_equal(streamed(MEASURES[:2], *rows, groups=4), estimates(MEASURES[:2], x, y, groups=4))


@pytest.mark.parametrize("at_once", [1, 3])
def test_groups_that_do_not_fit_in_memory_take_more_passes(monkeypatch, at_once):
    x, y = pair(1)
    passes = []
    monkeypatch.setattr(streams, "SUMS_BYTES", at_once * 8 * (9 + 16 + 12))
    rows = [lambda t=t: passes.append(t) or iter((t[:7], t[7:])) for t in (x, y)]
    assert_equal(streamed(MEASURES, *rows, unit=True), estimates(MEASURES, x, y, unit=True))
    assert len(passes) == 2 * (2 + -(-16 // at_once))


@pytest.mark.parametrize("size", [1e-290, 1e-40, 1.0, 1e40, 1e290])
def test_the_size_of_features_changes_nothing(size):
    x, y = pair(2)
    for unit in (False, True):
        measures = MEASURES if unit else MEASURES[:2]
        assert_equal(
            streamed(measures, whole(x * size), whole(y), unit=unit), streamed(measures, whole(x), whole(y), unit=unit)
        )


def test_more_features_than_samples_change_nothing():
    x, y = pair(3, n=8, d=30, e=20)
    assert_equal(streamed(MEASURES, whole(x), whole(y), unit=True), estimates(MEASURES, x, y, unit=True))


def test_a_group_that_holds_nearly_all_of_a_sum_is_left_out_by_summing_anew(monkeypatch):
    x, y = pair(4)
    x[3], y[3] = 100 * x[3], 100 * y[3]
    anew, real = [], streams._without
    monkeypatch.setattr(streams, "_without", lambda rows, *of: anew.append(of) or real(rows, *of))
    assert_equal(streamed(MEASURES[:2], blocks(x, 5, 11), whole(y)), estimates(MEASURES[:2], x, y))
    assert set(anew) == {(3, 16)}


def test_a_representation_that_is_constant_has_no_estimate():
    x, y = pair(5)
    of = streamed(MEASURES, whole(torch.ones_like(x)), whole(y), unit=True)
    assert all(np.isnan(getattr(of[measure], field)) for measure in MEASURES for field in FIELDS)


@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize("n", [4, 5, 30])
def test_the_null_of_sums_is_that_of_the_samples(unit, n):
    x, y = pair(6, n)
    sums = Moments.about_mean(x, y, unit=unit)
    for measure in MEASURES if unit else MEASURES[:2]:
        rows = [t / t.norm(dim=1, keepdim=True) for t in (x, y)] if unit else (x, y)
        assert torch.allclose(torch.stack(chance_of(measure, sums)), torch.stack(chance(measure, *rows)), atol=1e-12)


def test_too_few_samples_and_unequal_numbers_are_one_line():
    x, y = pair(7)
    with pytest.raises(UserError, match="at least 4 are needed"):
        streamed(("cka",), whole(x[:3]), whole(y[:3]))
    with pytest.raises(UserError, match="40 and 39 samples"):
        streamed(("cka",), whole(x), whole(y[1:]))
