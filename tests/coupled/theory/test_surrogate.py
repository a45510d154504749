"""The surrogate dynamics: its step is the loss's gradient, every drift bound holds on it, and broken ones are seen."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from coupled.objectives.losses import batch_loss
from coupled.objectives.masks import pair_masks, similarity
from coupled.objectives.registry import Objective
from coupled.theory import bounds, surrogate
from coupled.theory.surrogate import denominators, simulate

pytestmark = [pytest.mark.kernels, pytest.mark.threads]
CASES = [
    ("dcl", "nscl", False),
    ("nt_xent", "nscl", False),
    ("nt_xent", "nscl", True),
]


def start_of(n, seed, d=4):
    z = torch.randn(2 * n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return similarity(F.normalize(z, dim=1)).clamp(-1, 1)


def descended(objective, sigma, labels, rate, tau):
    """One clipped step along autograd's gradient of the loss, row by row as Σ is not symmetric here."""
    sigma = sigma.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(batch_loss(objective, sigma, pair_masks(labels), tau), sigma)
    return (sigma.detach() - rate * gradient).clamp(-1, 1)


@pytest.mark.parametrize(("cl", "ns", "positive"), CASES)
@pytest.mark.parametrize("labels", [[0, 0, 1, 1, 2], [0, 0, 0, 0, 0]])
def test_a_step_is_clipped_descent_along_the_gradient_of_the_loss(cl, ns, positive, labels):
    labels, start, rates = torch.tensor(labels), start_of(5, 0), [0.5, 2.0, 1.0]
    sets = denominators(labels, cl_positive=cl == "nt_xent", ns_positive=positive)
    done = simulate(start, sets, torch.tensor(rates), 0.5, 10)
    expected = {Objective(cl): start, Objective(ns, positive_in_denominator=positive): start}
    for rate in rates:
        expected = {key: descended(key, sigma, labels, rate, 0.5) for key, sigma in expected.items()}
    for ours, sigma in zip((done.cl, done.ns), expected.values(), strict=True):
        assert torch.allclose(ours, sigma, rtol=0, atol=1e-13)
    assert done.drift[-1] == torch.dist(done.cl, done.ns) and done.moved_cl[-1] == torch.dist(done.cl, start)


def test_a_block_of_rows_is_the_same_as_those_rows_of_all():
    labels, start, rates = torch.tensor([0, 1, 1, 2]), start_of(4, 1), torch.full((5,), 1.0)
    sets, some = denominators(labels), torch.tensor([0, 3, 6])
    whole, block = (
        simulate(start, sets, rates, 0.3, 8),
        simulate(start[some], sets.rows(some), rates, 0.3, 8),
    )
    assert torch.equal(whole.cl[some], block.cl) and torch.equal(whole.ns[some], block.ns)


def test_a_batch_moves_its_own_rows_and_columns_alone():
    labels, start = torch.tensor([0, 1, 1, 2, 0]), start_of(5, 2)
    batch = torch.tensor([0, 1, 2, 5, 6, 7])  # both views of the samples 0, 1 and 2
    done = simulate(start, denominators(labels), torch.ones(1), 0.5, 6, [batch])
    inside = torch.zeros(10, dtype=torch.bool).index_fill(0, batch, True)
    block = torch.outer(inside, inside)
    assert torch.equal(done.cl[~block], start[~block]) and done.drift[-1] > 0
    small = simulate(start[batch][:, batch], denominators(labels[:3]), torch.ones(1), 0.5, 6)
    for ours, expected in ((done.cl, small.cl), (done.ns, small.ns)):
        assert torch.allclose(ours[batch][:, batch], expected, rtol=0, atol=1e-14)


@st.composite
def trials(draw):
    """A simulation with everything the bounds need: labels of any imbalance, any batches, τ, and rates up to 4τ²a."""
    n, T, tau = draw(st.integers(2, 7)), draw(st.integers(1, 8)), draw(st.sampled_from([0.1, 0.3, 0.5, 1.0]))
    labels = torch.tensor(draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)))
    size = draw(st.integers(2, n))
    cl, positive = draw(st.sampled_from([(False, False), (True, False), (True, True)]))
    a, generator = 2 * size, torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    rates = (
        torch.rand(T, generator=generator, dtype=torch.float64) * 4 * tau**2 * a * draw(st.sampled_from([0.01, 1.0]))
    )
    samples = [torch.randperm(n, generator=generator)[:size] for _ in range(T)]
    batches = [torch.cat([ids, ids + n]) for ids in samples]
    sets = denominators(labels, cl_positive=cl, ns_positive=positive)
    return start_of(n, draw(st.integers(0, 10**6)), draw(st.integers(1, 4))), sets, rates, tau, a, batches


def masses_of(sets, batches, tau):
    rows = []
    for batch in batches:
        inside = torch.isin(sets.own, batch)
        rows.append(torch.where(inside, bounds.mass_bound(*sets.counts(batch), tau), 0.0))
    return torch.stack(rows)


def broken_bounds(trial, done):
    """The names of the bounds that the drift of a simulation does not keep."""
    _, sets, rates, tau, a, batches = trial
    curves = {
        "free": bounds.free(bounds.sums(rates), tau, a),
        "rows": bounds.rows(rates, masses_of(sets, batches, tau), tau, a),
        "measured": done.bound,
        "by row": done.bound_by_rows,
    }
    return [name for name, bound in curves.items() if not (done.drift <= bound * (1 + 1e-9) + 1e-12).all()]


@settings(max_examples=60)
@given(trials())
def test_every_drift_bound_holds_on_every_simulation(trial):
    done = simulate(*trial)
    assert broken_bounds(trial, done) == []
    _, sets, rates, tau, a, batches = trial
    rows, free = bounds.rows(rates, masses_of(sets, batches, tau), tau, a), bounds.free(bounds.sums(rates), tau, a)
    assert (rows <= free * (1 + 1e-12)).all() and (done.bound_by_rows <= done.bound * (1 + 1e-9)).all()
    assert done.drift.max() <= bounds.trivial_limit(len(sets.own), surrogate=True)


@settings(max_examples=30)
@given(trials(), st.sampled_from([2.0, 5.0, 50.0]))
def test_beyond_the_largest_rate_the_measured_bounds_still_hold(trial, factor):
    start, sets, rates, tau, a, batches = trial
    trial = (start, sets, factor * rates, tau, a, batches)
    assert set(broken_bounds(trial, simulate(*trial))) <= {"rows"}


def test_the_measured_bound_is_nearly_attained():
    labels, tau = torch.arange(16) % 4, 0.5
    done = simulate(start_of(16, 3, 16), denominators(labels), torch.full((40,), 0.5), tau, 32)
    assert 0.98 < (done.drift[-1] / done.bound_by_rows[-1]).item() <= 1


def test_from_equal_similarities_the_first_step_is_known_exactly_and_attains_the_measured_bound():
    labels, tau, rate = torch.tensor([0, 0, 0, 1, 1, 2]), 0.5, 0.25
    squares = Fraction(0)
    for size in (3, 3, 3, 2, 2, 1):  # of the class of each sample, whose two anchors are alike
        same, other = 2 * (size - 1), 2 * (6 - size)
        p, q = Fraction(1, same + other), Fraction(1, other)
        squares += 2 * (same * p**2 + other * (q - p) ** 2)
    done = simulate(torch.zeros(12, 12), denominators(labels), torch.tensor([rate]), tau, 12)
    assert done.drift[1].item() == pytest.approx(rate / (tau * 12) * math.sqrt(squares), rel=1e-14)
    assert done.bound[1].item() == pytest.approx(done.drift[1].item(), rel=1e-14)


def test_the_recursion_is_its_formula():
    labels, start, tau = torch.tensor([0, 0, 1]), start_of(3, 4), 0.3
    rates, sets = torch.tensor([1.0, 9.0, 4.0], dtype=torch.float64), denominators(torch.tensor([0, 0, 1]))
    whole, by_row = 0.0, torch.zeros(6, dtype=torch.float64)
    for t, rate in enumerate(rates.tolist()):
        before, errors = simulate(start, sets, rates[:t], tau, 6), []
        for sigma in (before.cl, before.ns):
            logits = sigma / tau
            p, q = (
                torch.where(mask, logits, -torch.inf).softmax(1) for mask in (sets.cl, pair_masks(labels).different)
            )
            errors.append((p - q).norm(dim=1) / (tau * 6))
        spread = max(1.0, rate / (2 * tau**2 * 6) - 1)
        whole = spread * whole + rate * min(error.norm().item() for error in errors)
        by_row = spread * by_row + rate * torch.minimum(*errors)
    done = simulate(start, sets, rates, tau, 6)
    assert done.bound[-1].item() == pytest.approx(whole) and done.bound_by_rows[-1] == pytest.approx(by_row.norm())


def poles(tau=0.5, T=60):
    """Rows whose drift uses all that the bounds allow: one class crowds the batch, at rates at the limit."""
    labels = torch.tensor([0, 0, 0, 0, 0, 1])
    sign = torch.where(labels == 0, 1.0, -1.0).double().repeat(2)
    batches = [torch.arange(12)] * T
    rates = torch.full((T,), 4 * tau**2 * 12 * 0.02, dtype=torch.float64)
    return torch.outer(sign, sign), denominators(labels), rates, tau, 12, batches


@pytest.mark.parametrize("broken", ["temperature", "sign", "anchors", "other labels"])
def test_a_broken_bound_is_seen(broken):
    trial = poles(T=3)
    assert broken_bounds(trial, simulate(*trial)) == []
    start, sets, rates, tau, a, batches = trial
    wrong = {
        "temperature": (start, sets, rates, 4 * tau, a, batches),
        "sign": (start, sets, rates, -tau, a, batches),
        "anchors": (start, sets, rates, tau, a**2, batches),
        "other labels": (start, denominators(torch.tensor([0, 1, 2, 3, 4, 5])), rates, tau, a, batches),
    }[broken]
    assert "rows" in broken_bounds(wrong, simulate(*trial))


def test_a_forgotten_clip_is_seen(monkeypatch):
    def unclipped(sigma, softmax, positive, rate):
        moved = sigma - rate * softmax
        return moved.scatter_add(1, positive[:, None], torch.full_like(moved[:, :1], rate))

    start, sets, rates, tau, a, _ = poles(tau=1.0, T=60)
    before = simulate(start, sets, rates, tau, a)
    monkeypatch.setattr(surrogate, "descend", unclipped)
    after = simulate(start, sets, rates, tau, a)
    assert before.cl.abs().max() <= 1 < after.cl.abs().max()
    assert mass_above_bound(before, sets, tau) <= 1e-12 < mass_above_bound(after, sets, tau)
    assert math.isfinite(after.drift[-1])


def mass_above_bound(done, sets, tau):
    """How far the same-class mass of a state is above its most."""
    limit = bounds.mass_bound(*sets.counts(), tau)
    p = torch.where(sets.cl, done.ns / tau, -torch.inf).softmax(1)
    return ((p * (sets.cl & ~sets.ns)).sum(1) - limit).max().item()
