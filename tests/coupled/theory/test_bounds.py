"""Bounds on the loss gap, drift and corollaries: each against a literal loop, as a property, and broken on purpose."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from coupled.objectives.losses import batch_loss
from coupled.objectives.masks import pair_masks, similarity
from coupled.objectives.registry import Objective
from coupled.theory import bounds

pytestmark = pytest.mark.kernels
TAUS = st.sampled_from([0.05, 0.1, 0.5, 1.0, 3.0])


@st.composite
def batches(draw):
    """(Σ (2B, 2B), labels (B,)) of unit z, spread out or nearly collapsed, and labels of any imbalance."""
    B, classes, d = draw(st.integers(2, 9)), draw(st.integers(2, 4)), draw(st.integers(1, 5))
    labels = torch.tensor(draw(st.lists(st.integers(0, classes - 1), min_size=B, max_size=B)))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    centres = torch.randn(classes, d, generator=generator, dtype=torch.float64) * draw(
        st.sampled_from([0.0, 1.0, 100.0])
    )
    z = centres[labels].repeat(2, 1) + torch.randn(2 * B, d, generator=generator, dtype=torch.float64)
    return similarity(F.normalize(z, dim=1)).clamp(-1, 1), labels


def antipodal(labels):
    """Σ of a batch whose first class is at one pole and all others at the other: same 1, different −1."""
    sign = torch.where(labels == labels[0], 1.0, -1.0).double().repeat(2)
    return torch.outer(sign, sign)


def literal(sigma, labels, tau, positive):
    """Gap, per anchor, tighter and equal-similarity value of every anchor: docs/theory.md (11), (15) to (17)."""
    A, rows = len(sigma), []
    names = labels.repeat(2).tolist()
    for i in range(A):
        partner = (i + A // 2) % A
        others = [j for j in range(A) if j not in (i, partner)]
        same = [j for j in others if names[j] == names[i]]
        inside = [j for j in others if names[j] != names[i]] + ([partner] if positive else [])
        s = [float(v) for v in sigma[i]]
        if not inside:
            rows.append([math.nan] * 4)
            continue
        total = sum(math.exp(s[j] / tau) for j in inside)
        ratio = len(same) / len(inside)
        highest = max((s[j] for j in same), default=0.0)
        mean = sum(s[j] for j in inside) / len(inside)
        gap = math.log((total + sum(math.exp(s[j] / tau) for j in same)) / total)
        per_anchor, tighter = (math.log(1 + ratio * math.exp(x / tau)) for x in (2, highest - mean))
        rows.append([gap, per_anchor, tighter, math.log(1 + ratio)])
    return torch.tensor(rows, dtype=torch.float64).T


@given(batches(), TAUS, st.booleans())
def test_the_gap_and_its_bounds_are_those_of_a_literal_loop(batch, tau, positive):
    sigma, labels = batch
    gaps = bounds.gap_bounds(sigma, pair_masks(labels), tau, positive_in_denominator=positive)
    values = torch.stack([gaps.gap, gaps.per_anchor, gaps.tighter, gaps.equal])
    expected = literal(sigma, labels, tau, positive)
    assert torch.equal(gaps.kept, ~expected[0].isnan())
    assert torch.allclose(values, expected, rtol=1e-9, atol=1e-12, equal_nan=True)


@given(batches(), TAUS, st.booleans())
def test_no_anchor_of_any_batch_has_a_gap_above_its_bounds(batch, tau, positive):
    sigma, labels = batch
    gaps = bounds.gap_bounds(sigma, pair_masks(labels), tau, positive_in_denominator=positive)
    gap, tighter, per_anchor = (values[gaps.kept] for values in (gaps.gap, gaps.tighter, gaps.per_anchor))
    assert (gap <= tighter * (1 + 1e-12) + 1e-12).all()
    assert (tighter <= per_anchor * (1 + 1e-12) + 1e-12).all()
    assert not gaps.kept.any() or gaps.slack(gaps.per_anchor) >= -1e-10


@given(batches(), TAUS)
def test_the_gap_is_the_difference_of_the_two_losses(batch, tau):
    sigma, labels = batch
    masks = pair_masks(labels)
    gaps = bounds.gap_bounds(sigma, masks, tau, positive_in_denominator=True)
    cl = batch_loss(Objective("nt_xent"), sigma, masks, tau)
    ns = batch_loss(Objective("nscl", positive_in_denominator=True), sigma, masks, tau)
    assert gaps.mean(gaps.gap) == pytest.approx((cl - ns).item(), rel=1e-9, abs=1e-9)


def test_with_every_similarity_equal_the_gap_is_the_equal_similarity_value():
    labels = torch.tensor([0, 0, 0, 1, 2])
    gaps = bounds.gap_bounds(torch.full((10, 10), 0.3), pair_masks(labels), 0.2)
    assert torch.allclose(gaps.gap, gaps.equal, rtol=1e-6) and torch.allclose(gaps.tighter, gaps.equal, rtol=1e-6)


@pytest.mark.parametrize("positive", [False, True])
def test_poles_attain_the_bound_of_their_anchors(positive):
    labels = torch.tensor([0, 0, 0, 1, 1])
    gaps = bounds.gap_bounds(antipodal(labels), pair_masks(labels), 0.5, positive_in_denominator=positive)
    attained = torch.allclose(gaps.per_anchor[:3], gaps.gap[:3], rtol=1e-12)
    assert attained is not positive  # the positive is at the anchor's own pole, so its denominator is larger


@pytest.mark.parametrize("broken", ["sign", "temperature", "own views", "mean for max"])
def test_a_broken_gap_bound_is_seen_at_the_poles(broken):
    labels = torch.tensor([0, 0, 0, 1, 1])
    masks, tau = pair_masks(labels), 0.5
    gaps = bounds.gap_bounds(antipodal(labels), masks, tau)
    same, other = masks.same.sum(1).double(), masks.different.sum(1).double()
    x = {"sign": -2 / tau, "temperature": 2 / (2 * tau), "own views": 2 / tau, "mean for max": 0.0}[broken]
    count = same + 2 if broken == "own views" else same
    wrong = torch.log1p(count / other * math.exp(x))
    # Too small a bound breaks; one too large is not attained where the right one is.
    assert gaps.slack(wrong) < -1e-3 or (wrong - gaps.gap)[:3].min() > 1e-3


def test_no_anchor_kept_is_nan_and_not_a_plausible_number():
    gaps = bounds.gap_bounds(torch.ones(6, 6), pair_masks(torch.zeros(3, dtype=torch.int64)), 0.5)
    assert math.isnan(gaps.mean(gaps.gap)) and math.isnan(gaps.slack(gaps.tighter))


def test_the_data_set_bound_is_that_of_p1():
    assert bounds.data_set_gap(50, 500, 1.0) == pytest.approx(math.log(1 + math.exp(2) / 9), rel=1e-14)
    assert bounds.data_set_gap(30, 100, 0.5) == pytest.approx(math.log(1 + 30 * math.exp(4) / 70), rel=1e-14)
    with_positive = bounds.data_set_gap(30, 100, 0.5, positive_in_denominator=True)
    assert with_positive == pytest.approx(math.log(1 + 60 * math.exp(4) / 141), rel=1e-14)
    assert bounds.data_set_gap(5, 5, 0.5) == math.inf and math.isfinite(bounds.data_set_gap(1, 9, 1e-3))


@given(st.integers(2, 4), st.integers(2, 4), TAUS, st.integers(0, 10**6), st.booleans())
def test_exactly_balanced_batches_satisfy_the_data_set_bound(classes, each, tau, seed, positive):
    labels = torch.arange(classes).repeat_interleave(each)
    z = torch.randn(2 * len(labels), 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    for sigma in (similarity(F.normalize(z, dim=1)), antipodal(labels)):
        gaps = bounds.gap_bounds(sigma, pair_masks(labels), tau, positive_in_denominator=positive)
        limit = bounds.data_set_gap(each * 100, classes * each * 100, tau, positive_in_denominator=positive)
        assert gaps.gap.max() <= limit * (1 + 1e-12)


def test_a_uniform_batch_breaks_the_data_set_bound():
    labels = torch.tensor([0, 0, 0, 0, 0, 0, 1])  # drawn from ten balanced classes
    gaps = bounds.gap_bounds(antipodal(labels), pair_masks(labels), 0.5)
    assert gaps.mean(gaps.gap) > bounds.data_set_gap(500, 5000, 0.5)


def test_the_papers_bound_is_its_formula():
    paper = bounds.Paper(0.5, anchors=64, batch_size=400, largest_share=0.1, steps=10, delta=0.05)
    epsilon = math.sqrt(math.log(10 * 64 / 0.05) / 800)
    delta = 2 * math.exp(4) * (0.1 + epsilon) / (0.9 - epsilon)
    S = torch.tensor([0.0, 0.3, 7.0], dtype=torch.float64)
    expected = [math.exp(s / (2 * 0.25 * 64)) * s / (0.5 * 8) * delta for s in S.tolist()]
    assert paper.curve(S).tolist() == pytest.approx(expected, rel=1e-12)
    assert bounds.exponential(7.0, 0.5, 64) == pytest.approx(math.exp(7 / 32), rel=1e-14)


def test_a_vacuous_paper_bound_is_infinite_from_the_first_step():
    paper = bounds.Paper(0.5, anchors=64, batch_size=4, largest_share=0.5, steps=10)
    assert paper.share >= 1
    assert paper.curve(torch.tensor([0.0, 1e-9, 1.0])).tolist() == [0.0, math.inf, math.inf]
    tiny = bounds.Paper(1e-3, anchors=64, batch_size=4000, largest_share=0.1, steps=10)
    assert tiny.curve(torch.tensor([0.0, 1.0])).tolist() == [0.0, math.inf]  # e^{2/τ} beyond float64, and no NaN


@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 10**6))
def test_rows_is_the_formula_and_never_above_free(T, R, seed):
    generator = torch.Generator().manual_seed(seed)
    rates, masses = (torch.rand(*shape, generator=generator, dtype=torch.float64) for shape in ((T,), (T, R)))
    tau, curve = 0.3, bounds.rows(rates, masses, 0.3, R)
    for t in range(T + 1):
        totals = [sum(float(rates[s] * masses[s, i]) for s in range(t)) for i in range(R)]
        expected = math.sqrt(2) / (tau * R) * math.sqrt(sum(total**2 for total in totals))
        assert curve[t].item() == pytest.approx(expected, rel=1e-12)
    assert (curve <= bounds.free(bounds.sums(rates), tau, R) * (1 + 1e-12)).all()
    same = bounds.rows(rates, masses[:1].expand(T, R), tau, R)
    assert torch.allclose(bounds.rows(rates, masses[0], tau, R), same, rtol=1e-12)


@given(st.lists(st.integers(1, 20), min_size=2, max_size=5), TAUS)
def test_rows_is_below_the_papers_bound_where_shares_are_as_it_assumes(counts, tau):
    n, S = sum(counts), bounds.sums(torch.full((5,), 0.1, dtype=torch.float64))
    own = torch.tensor(counts).repeat_interleave(torch.tensor(counts)).repeat(2)
    masses = bounds.mass_bound(2 * (own - 1), 2 * (n - own), tau)
    paper = bounds.Paper(tau, 2 * n, n, max(counts) / n, 5)
    rows = bounds.rows(torch.full((5,), 0.1), masses, tau, 2 * n)
    assert (rows <= paper.curve(S) * (1 + 1e-9)).all()


def test_the_mass_bound_is_a_over_one_plus_a():
    a = math.exp(2 / 0.7) * 6 / 4
    assert bounds.mass_bound(torch.tensor(6), torch.tensor(4), 0.7).item() == pytest.approx(a / (1 + a), rel=1e-14)
    edge = bounds.mass_bound(torch.tensor([0, 6, 6]), torch.tensor([4, 0, 4]), 1e-4)
    assert edge.tolist() == [0.0, 1.0, 1.0]


def test_both_trivial_limits_are_attained():
    n, ones, sign = 6, torch.ones(6, dtype=torch.float64), torch.tensor([1.0, 1, 1, -1, -1, -1]).double()
    true = torch.dist(torch.outer(ones, ones), torch.outer(sign, sign)).item()
    assert true == pytest.approx(bounds.trivial_limit(n), rel=1e-14)
    box = torch.dist(torch.ones(n, n), -torch.ones(n, n)).item()
    assert box == pytest.approx(bounds.trivial_limit(n, surrogate=True), rel=1e-6)


def test_the_vacuity_step_is_the_first_above_the_limit():
    curve = torch.tensor([0.0, 1.0, 2.0, 3.0])
    assert bounds.vacuity_step(curve, 1.0) == 2 and bounds.vacuity_step(curve, 3.0) is None
    assert bounds.too_large(torch.tensor([1.0, 5.0]), 0.5, 4) == 1 and bounds.too_large(curve, 0.5, 4) is None
    assert bounds.expansion(1.0, 0.5, 4) == 1 and bounds.expansion(5.0, 0.5, 4) == 1.5


def test_the_corollaries_have_the_values_of_the_papers_example():
    drift = torch.tensor([0.21, 0.0, 1.0, 3.0, math.nan], dtype=torch.float64)
    assert bounds.p2_cka(drift)[0].item() == pytest.approx(0.79 / 1.21)
    assert bounds.sharp_cka(drift)[0].item() == pytest.approx(math.sqrt(1 - 0.21**2), rel=1e-14)
    assert bounds.p2_cka(drift)[1:4].tolist() == [1.0, 0.0, -0.5] and bounds.p2_rsa(drift)[1:4].tolist() == [1, 0, -1]
    assert bounds.sharp_cka(drift)[1:4].tolist() == [1, 0, 0] and bounds.sharp_rsa(drift)[1:4].tolist() == [1, -1, -1]
    assert all(f(drift)[4].isnan() for f in (bounds.p2_cka, bounds.p2_rsa, bounds.sharp_cka, bounds.sharp_rsa))


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("tau", [0.001, 0.5])
def test_many_batches_at_once_have_the_bytes_of_one_by_one(positive, tau):
    """0.001: the exponents are too large for one exponential. The fourth batch has anchors without negatives."""
    generator = torch.Generator().manual_seed(0)
    z = F.normalize(torch.randn(5, 12, 3, generator=generator, dtype=torch.float64), dim=2)
    labels = torch.randint(0, 3, (5, 6), generator=generator)
    labels[3] = 1
    sigma = torch.stack([similarity(of_batch) for of_batch in z]).clamp(-1, 1)
    together = bounds.gap_bounds(sigma, pair_masks(labels), tau, positive_in_denominator=positive)
    for index in range(5):
        alone = bounds.gap_bounds(sigma[index], pair_masks(labels[index]), tau, positive_in_denominator=positive)
        for name, values in vars(alone).items():
            assert torch.equal(getattr(together.of_batch(index), name).nan_to_num(-1.0), values.nan_to_num(-1.0)), name
