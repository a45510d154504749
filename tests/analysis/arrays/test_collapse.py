"""Distances from NSCL's optimum: literal loops, stated values on a simplex ETF, and where training leads to."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import analysis
from analysis.arrays.optimum import MEASURES
from coupled.errors import UserError
from coupled.objectives.losses import loss

pytestmark = [pytest.mark.kernels, pytest.mark.threads]

NUMBERS = st.integers(0, 10**6)


def classes(seed, counts=(5, 9, 2, 14), d=6):
    rng = np.random.default_rng(seed)
    h = np.concatenate([rng.standard_normal((n, d)) + 2 * rng.standard_normal(d) for n in counts])
    order = rng.permutation(len(h))
    return h[order], np.repeat([7, 0, 3, 12][: len(counts)], counts)[order]


def simplex(C, d, n=4):
    """C unit vectors of a simplex ETF in d ≥ C − 1 dimensions, each n times, and their labels."""
    centred = np.eye(C) - 1 / C
    inside = np.linalg.svd(centred)[2][: C - 1]
    points = np.pad(centred @ inside.T, ((0, 0), (0, d - C + 1)))
    turn = np.linalg.qr(np.random.default_rng(C + d).standard_normal((d, d)))[0]
    points = points @ turn / np.linalg.norm(points, axis=1, keepdims=True)
    return np.repeat(points, n, axis=0), np.repeat(np.arange(C), n)


def centres_of(h, labels):
    return [sum(x for x, c in zip(h, labels, strict=True) if c == name) / sum(labels == name) for name in set(labels)]


def total_variance(h):
    mean = sum(h) / len(h)
    return sum(np.dot(x - mean, x - mean) for x in h) / len(h)


@pytest.mark.parametrize("chunk", [1, 1 << 22])
def test_augmentation_collapse_is_the_literal_one(monkeypatch, chunk):
    monkeypatch.setattr("analysis.arrays.classes.CHUNK", chunk)
    h, _ = classes(0)
    apart = np.random.default_rng(1).uniform(size=len(h))
    expected = sum(apart) / len(h) / (2 * total_variance(h))
    assert analysis.augmentation_collapse(apart, h) == pytest.approx(expected, rel=1e-12)


def test_views_that_are_other_samples_have_not_collapsed_at_all():
    h, _ = classes(2)
    pairs = [np.dot(x - y, x - y) for x in h for y in h]
    assert analysis.augmentation_collapse(np.array(pairs), np.repeat(h, len(h), axis=0)) == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("chunk", [1, 1 << 22])
def test_within_class_collapse_is_the_literal_one(monkeypatch, chunk):
    monkeypatch.setattr("analysis.arrays.classes.CHUNK", chunk)
    h, labels = classes(3)
    centre = dict(zip(set(labels), centres_of(h, labels), strict=True))
    within = sum(np.dot(x - centre[c], x - centre[c]) for x, c in zip(h, labels, strict=True)) / len(h)
    assert analysis.within_class_collapse(h, labels) == pytest.approx(within / total_variance(h), rel=1e-12)


def test_deviation_from_the_simplex_is_the_literal_one():
    h, labels = classes(4)
    centres = centres_of(h, labels)
    mean = sum(centres) / 4
    rays = [centre - mean for centre in centres]
    norms = [math.sqrt(np.dot(ray, ray)) for ray in rays]
    off = [np.dot(rays[i], rays[j]) / norms[i] / norms[j] + 1 / 3 for i in range(4) for j in range(i)]
    average = sum(norms) / 4
    spread = math.sqrt(sum((norm - average) ** 2 for norm in norms) / 4)
    rms = math.sqrt(sum(x * x for x in off) / 6)
    expected = (average, spread / average, math.sqrt(np.dot(mean, mean)), rms, max(map(abs, off)))
    assert analysis.simplex_deviation(h, labels) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("d", [6, 40])
def test_effective_rank_is_the_literal_one(d):
    h, _ = classes(5, d=d)
    values = np.linalg.svd(h - h.mean(0))[1] ** 2
    shares = [value / sum(values) for value in values]
    expected = math.exp(-sum(p * math.log(p) for p in shares if p > 0))
    # Eigenvalues are off by a rounding of the largest, some 40 of them; -p log p then by 37 times that.
    assert analysis.effective_rank(h) == pytest.approx(expected, rel=1e-11)


@given(seed=NUMBERS, scale=st.floats(1e-3, 1e3), shift=st.floats(-1e3, 1e3))
def test_no_shift_or_rotation_counts_and_scale_for_the_norms_alone(seed, scale, shift):
    h, labels = classes(seed)
    turn = np.linalg.qr(np.random.default_rng(seed).standard_normal((6, 6)))[0]
    before, after = (analysis.class_geometry(x, labels).values for x in (h, scale * h @ turn + shift))
    for name in set(MEASURES) - {"augmentation_collapse", "centre_offset"}:
        factor = scale if name == "centre_norm" else 1
        assert after[name] == pytest.approx(factor * before[name], rel=1e-6, abs=1e-9), name


@pytest.mark.parametrize("power", [-500, -65, 70, 500])
def test_a_power_of_two_changes_no_digit(power):
    h, labels = classes(6)
    apart = np.random.default_rng(6).uniform(1, 2, len(h))
    before = analysis.class_geometry(h, labels, apart=apart).values
    after = analysis.class_geometry(np.ldexp(h, power), labels, apart=np.ldexp(apart, 2 * power)).values
    for name in MEASURES:
        factor = 2.0**power if name in ("centre_norm", "centre_offset") else 1
        assert after[name] == factor * before[name], name


# The ETF itself is constructed to some roundings of each number.
@pytest.mark.parametrize("C, d", [(2, 1), (3, 2), (3, 7), (4, 3), (10, 9), (10, 64), (30, 29)])
def test_a_collapsed_simplex_has_the_stated_values(C, d):
    z, labels = simplex(C, d)
    geometry = analysis.class_geometry(z, labels, apart=np.zeros(len(z)))
    stated = {name: measure.at_optimum(C) for name, measure in MEASURES.items()}
    assert geometry.values == pytest.approx(stated, rel=1e-11, abs=1e-13) and not geometry.undefined
    assert stated["effective_rank"] == C - 1 and {*stated.values()} == {0, 1, C - 1}
    assert len(geometry.flags) == (C == 2)


def test_every_measure_leaves_its_value_there_as_features_do():
    z, labels = simplex(5, 8, n=6)
    rng = np.random.default_rng(0)
    way = rng.standard_normal(z.shape) + rng.standard_normal((5, 8))[labels]
    steps = []
    for r in (0, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32):
        moved = (z + r * way) / np.linalg.norm(z + r * way, axis=1, keepdims=True)
        steps.append(analysis.class_geometry(moved, labels, apart=r * np.ones(len(z))).values)
    for name, measure in MEASURES.items():
        off = [abs(step[name] - measure.at_optimum(5)) for step in steps]
        assert off == sorted(off) and off[1] > 1e-6, (name, off)


def test_each_part_of_the_optimum_is_a_number_of_its_own():
    z, labels = simplex(4, 5)
    plain = analysis.simplex_deviation(z, labels)
    shifted = analysis.simplex_deviation(z + np.eye(5)[0] / 2, labels)
    assert shifted.offset == pytest.approx(0.5, rel=1e-12)
    assert (shifted.norm_variation, shifted.cosine_largest) == pytest.approx((0, 0), abs=1e-14)
    # Two opposite pairs: equal norms, a mean of 0, other cosines.
    crossed = analysis.simplex_deviation(np.eye(5)[[0, 0, 1, 1]] * [[1], [-1], [1], [-1]], np.arange(4))
    assert (crossed.norm_variation, crossed.offset) == (0, 0) and crossed.cosine_largest == pytest.approx(2 / 3)
    assert plain.norm == pytest.approx(crossed.norm, rel=1e-12)


@given(seed=NUMBERS, C=st.integers(2, 4), d=st.integers(1, 8))
def test_shares_and_ranks_stay_in_their_ranges(seed, C, d):
    h, labels = classes(seed, (5, 9, 2, 14)[:C], d)
    values = analysis.class_geometry(h, labels).values
    assert 0 <= values["within_class_collapse"] <= 1
    assert 1 - 1e-12 <= values["effective_rank"] <= d + 1e-12
    assert 0 <= values["etf_cosine_rms"] <= values["etf_cosine_largest"] <= 1 + 1 / (C - 1)


@pytest.mark.parametrize("positive_in_denominator", [False, True])
@pytest.mark.parametrize("C, d", [(2, 3), (4, 5)])
def test_nscl_minimised_on_free_unit_vectors_arrives_there(C, d, positive_in_denominator):
    B = 4 * C
    free = torch.tensor(np.random.default_rng(0).standard_normal((2 * B, d)), requires_grad=True)
    labels = torch.arange(B) % C
    descent = torch.optim.LBFGS(
        [free], max_iter=500, history_size=20, tolerance_grad=0, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def evaluated():
        descent.zero_grad()
        z = torch.nn.functional.normalize(free)
        value = loss("nscl", z, labels, 0.5, positive_in_denominator=positive_in_denominator)
        value.backward()
        return value

    descent.step(evaluated)
    first, second = torch.nn.functional.normalize(free.detach()).chunk(2)
    geometry = analysis.class_geometry(first, labels, apart=(first - second).square().sum(1))
    # Near its minimum a loss known to 2^-53 of itself says where it lies to some 2^-26.
    assert geometry.values == pytest.approx({name: geometry.at_optimum(name) for name in MEASURES}, abs=1e-5)


def test_what_the_theorem_does_not_cover_is_flagged():
    flags = analysis.class_geometry(*classes(0, d=2)).flags
    assert flags == (
        "classes of 2 to 14 samples: the theorem about NSCL assumes equal ones",
        "d = 2 < C - 1 = 3: no simplex ETF of 4 centres exists",
    )
    assert analysis.class_geometry(*classes(0, (4, 4, 4))).flags == ()
    assert "their cosine is -1 always" in analysis.class_geometry(*classes(0, (4, 4))).flags[0]


def test_no_four_centres_in_a_plane_are_a_simplex():
    square = np.array([[1, 0], [0, 1], [-1, 0], [0, -1.0]])
    assert analysis.simplex_deviation(square, np.arange(4)).cosine_largest == pytest.approx(2 / 3)


def test_what_is_undefined_says_so_and_the_rest_has_values():
    h, labels = classes(0)
    alone = analysis.class_geometry(h, labels * 0)
    defined = {name for name in MEASURES if name not in alone.undefined}
    assert defined == {"effective_rank"} and "1 classes; at least two" in alone.undefined["etf_cosine_rms"]
    assert alone.undefined["augmentation_collapse"] == "no distances of views were given"
    together = analysis.class_geometry(np.tile(h, (2, 1)), np.repeat([3, 4], len(h)))
    assert "classes 3 and 4 have one centre" in together.undefined["cdnv"]
    assert "class 3 is the mean of all centres" in together.undefined["centre_norm"]
    assert together.values["within_class_collapse"] == pytest.approx(1, rel=1e-12)
    assert all(math.isnan(together.values[name]) for name in together.undefined)


# The mean of a thousand times .3 is rounded, and features of some 10^6 are given to some 10^-10.
@pytest.mark.parametrize("n, offset, apart", [(30, 0, 0), (1000, 0.3, 0), (30, 1e6, 2.0**-33)])
def test_samples_at_one_point_have_no_variance(n, offset, apart):
    h = np.full((n, 3), offset) + apart * (np.arange(n) % 2)[:, None]
    point = analysis.class_geometry(h, np.arange(n) % 3, apart=np.zeros(n))
    assert set(point.undefined) == set(MEASURES) and all(map(math.isnan, point.values.values()))
    assert "all samples have the same features" in point.undefined["effective_rank"]


@pytest.mark.parametrize("offset", [0, 100, 1e6])
def test_a_centre_that_only_rounding_tells_from_the_mean_has_no_cosine(offset):
    # The rows of each class and their negatives; those of class 1 are far to one side, of class 2 to the other.
    rows = np.random.default_rng(0).standard_normal((50, 3))
    h = np.concatenate([rows, -rows, rows + 5, 5 - rows, rows - 5, -5 - rows]) + offset
    with pytest.raises(UserError, match="class 0 is the mean of all centres"):
        analysis.simplex_deviation(h, np.repeat([0, 1, 2], 100))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_features_that_are_not_finite_have_no_geometry(bad):
    h, labels = classes(0)
    h[3, 1] = bad
    geometry = analysis.class_geometry(h, labels, apart=np.ones(len(h)))
    assert geometry.undefined == dict.fromkeys(MEASURES, "features that are not finite")
    assert all(map(math.isnan, geometry.values.values()))
    assert math.isnan(analysis.effective_rank(h)) and math.isnan(analysis.within_class_collapse(h, labels))


def test_single_measures_are_those_of_all():
    h, labels = classes(7)
    apart = np.random.default_rng(0).uniform(size=len(h))
    values = analysis.class_geometry(torch.tensor(h), torch.tensor(labels), apart=torch.tensor(apart)).values
    single = [analysis.cdnv(h, labels, form=form) for form in ("symmetric", "ordered", "unhalved")]
    single += [analysis.directional_cdnv(h, labels), analysis.augmentation_collapse(apart, h)]
    single += [analysis.within_class_collapse(h, labels), *analysis.simplex_deviation(h, labels)]
    assert list(values.values()) == [*single, analysis.effective_rank(h)] and list(values) == list(MEASURES)


@pytest.mark.parametrize(
    "call, said",
    [
        (lambda h, y: analysis.augmentation_collapse(y[:3], h), r"squared distances \(3,\); \(30,\) is needed"),
        (lambda h, y: analysis.augmentation_collapse(-1 - y, h), "negative squared distances"),
        (lambda h, y: analysis.augmentation_collapse(y, h * 0), "all samples have the same features"),
        (lambda h, y: analysis.within_class_collapse(h * 0, y), "same features; it is undefined at variance 0"),
        (lambda h, y: analysis.simplex_deviation(h, y * 0), "1 classes; at least two"),
        (lambda h, y: analysis.simplex_deviation(h * 0, y), "class 0 is the mean of all centres; a cosine"),
        (lambda h, y: analysis.effective_rank(h * 0 + 0.1), "same features; it is undefined"),
        (lambda h, y: analysis.class_geometry(h, y, apart=y[:3]), r"\(30,\) is needed"),
        (lambda h, y: analysis.class_geometry(h, y[:3]), "are needed"),
    ],
)
def test_what_has_no_value_is_one_clear_line(call, said):
    with pytest.raises(UserError, match=said):
        call(*classes(0))
