"""Losses, gaps and bounds over whole splits and over mini-batches, against literal loops over pairs of anchors."""

import math
from dataclasses import asdict

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from analysis.arrays import row_blocks, split_losses
from analysis.arrays.split_losses import DCL, NSCL, NSCL_POSITIVE, NT_XENT, OBJECTIVES, SCL
from coupled.objectives import registry
from coupled.objectives.losses import evaluate
from coupled.objectives.masks import pair_masks, similarity
from coupled.objectives.registry import Objective
from coupled.theory.bounds import gap_bounds

pytestmark = [pytest.mark.kernels, pytest.mark.threads]

HOMOTOPIES = tuple(Objective("homotopy", flag, lam) for flag in (False, True) for lam in (0.0, 0.3, 1.0))
ALL = OBJECTIVES + HOMOTOPIES
TAUS = st.sampled_from([0.003, 0.1, 0.5, 1.0])
# Classes of several sizes, one sample alone; every label different; one class; two samples.
LABELS = {"classes": [4, 0, 0, 9, 4, 0, 4, 0], "distinct": [3, 1, 2, 5], "one": [7, 7, 7], "two": [0, 1]}


def unit_rows(seed, n, d=3, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(2 * n, d, generator=generator, dtype=torch.float64), dim=1).to(dtype)


def log_sum(terms):
    top = max(terms, default=-math.inf)
    return top + math.log(math.fsum(math.exp(t - top) for t in terms)) if terms else -math.inf


def literal_sets(labels, i):
    """N_i⁻, S_i and the positive of anchor i."""
    n = len(labels)
    others = [j for j in range(2 * n) if j % n != i % n]
    same = [j for j in others if labels[j % n] == labels[i % n]]
    return [j for j in others if j not in same], same, (i + n) % (2 * n)


def literal_loss(objective, s, different, same, positive):
    """docs/theory.md (4) to (8) of one anchor with the logits s."""
    inside = [s[j] for j in different]
    if objective == SCL:
        every = [s[j] for j in [positive, *different, *same]]
        return log_sum(every) - math.fsum(s[j] for j in [positive, *same]) / (1 + len(same))
    weight = {"dcl": 1, "nt_xent": 1, "nscl": 0, "homotopy": objective.lam}[objective.name]
    if objective == NT_XENT or objective.positive_in_denominator:
        inside.append(s[positive])
    if weight:
        inside += [s[j] + math.log(weight) for j in same]
    return log_sum(inside) - s[positive] if inside else 0.0


def literal_gap(s, inside, same, tau):
    """docs/theory.md (11), (12), (15) to (17) of one anchor: gap, mass, equal, per anchor, tighter."""
    x = log_sum([s[j] for j in same]) - log_sum([s[j] for j in inside])
    ratio = len(same) / len(inside)
    tight = max((s[j] for j in same), default=0) - math.fsum(s[j] for j in inside) / len(inside)
    exponents = [x, *(math.log(ratio) + e if same else -math.inf for e in (0, 2 / tau, tight))]
    values = [max(e, 0) + math.log1p(math.exp(-abs(e))) for e in exponents]
    return [values[0], 1 / (1 + math.exp(-x)) if same else 0.0, *values[1:]]


def literal(z, labels, tau):
    """Per anchor: losses by objective, and both gaps with what goes with them, None where the denominator is empty."""
    rows = []
    for i in range(len(z)):
        s = [math.fsum(a * b for a, b in zip(z[i].tolist(), other.tolist(), strict=True)) / tau for other in z]
        different, same, positive = literal_sets(labels, i)
        losses = {objective: literal_loss(objective, s, different, same, positive) for objective in ALL}
        gaps = [literal_gap(s, inside, same, tau) if inside else None for inside in (different, [*different, positive])]
        rows.append((losses, gaps))
    return rows


def assert_is_literal(losses, rows):
    """All values of `losses` are those of literal rows, to 1e-10 of themselves where they are large."""
    for objective in ALL:
        expected = math.fsum(row[objective] for row, _ in rows) / len(rows)
        assert losses.losses[objective] == pytest.approx(expected, abs=1e-10, rel=1e-12)
    for form, gap in enumerate((losses.gap, losses.gap_with_positive)):
        kept = [gaps[form] for _, gaps in rows if gaps[form] is not None]
        assert gap.skipped == len(rows) - len(kept)
        for k, name in enumerate(("gap", "mass", "equal", "per_anchor", "tighter")):
            expected = math.fsum(each[k] for each in kept) / len(kept) if kept else math.nan
            assert getattr(gap, name) == pytest.approx(expected, abs=1e-10, rel=1e-12, nan_ok=True)
        slack = min((each[4] - each[0] for each in kept), default=math.nan)
        assert gap.slack == pytest.approx(slack, abs=1e-10, rel=1e-12, nan_ok=True)


@pytest.mark.parametrize("tau", [0.003, 0.1, 1.0])
@pytest.mark.parametrize("name", LABELS)
def test_a_split_is_a_literal_double_loop(name, tau):
    z, labels = unit_rows(1, len(LABELS[name])), torch.tensor(LABELS[name])
    losses = split_losses.split_losses(z, labels, tau, ALL)
    assert_is_literal(losses, literal(z, LABELS[name], tau))
    assert losses.anchors == len(z) and losses.batches is None


@pytest.mark.parametrize("tau", [0.003, 0.1, 1.0])
@pytest.mark.parametrize("batches", [[[0, 3, 4, 1], [7, 5, 2, 6]], [[1, 2], [3, 5], [0, 4]], [[1, 2, 5, 7]]], ids=str)
def test_batches_are_literal_double_loops(batches, tau):
    # Classes are absent, and batches of one class have no anchor to keep.
    z, labels, n = unit_rows(2, 8), LABELS["classes"], 8
    losses = split_losses.batch_losses(z, torch.tensor(labels), tau, torch.tensor(batches), ALL)
    rows = [row for b in batches for row in literal(z[[*b, *(j + n for j in b)]], [labels[j] for j in b], tau)]
    assert_is_literal(losses, rows)
    assert losses.anchors == len(rows) and losses.batches == len(batches)
    assert losses.gap.data_set is None and losses.gap_with_positive.data_set is None


@pytest.mark.parametrize("tau", [0.01, 0.1, 1.0])
def test_one_batch_of_all_is_what_the_engine_computes(tau):
    z, labels = unit_rows(3, 40, 8), torch.arange(40) % 7 // 2
    sigma, masks = similarity(z), pair_masks(labels)
    expected = evaluate(sigma, masks, tau, ALL)
    for losses in (
        split_losses.split_losses(z, labels, tau, ALL),
        split_losses.batch_losses(z, labels, tau, torch.randperm(40)[None], ALL),
    ):
        assert losses.losses == pytest.approx({o: v.item() for o, v in expected.losses.items()}, rel=1e-12)
        assert losses.gap.mass == pytest.approx(expected.mass.item(), rel=1e-10)
        assert losses.gap_with_positive.mass == pytest.approx(expected.mass_with_positive.item(), rel=1e-10)
        for gap, positive in ((losses.gap, False), (losses.gap_with_positive, True)):
            of_sigma = gap_bounds(sigma, masks, tau, positive_in_denominator=positive)
            names = ("gap", "equal", "per_anchor", "tighter")
            means = [of_sigma.mean(getattr(of_sigma, name)) for name in names]
            assert [getattr(gap, name) for name in names] == pytest.approx(means, rel=1e-10)
            assert gap.slack == pytest.approx(of_sigma.slack(of_sigma.tighter), rel=1e-10)


@pytest.mark.parametrize("tau", [0.003, 0.5])
def test_values_do_not_depend_on_the_rows_of_a_block(monkeypatch, tau):
    z, labels = unit_rows(4, 30), torch.arange(30) % 4
    whole = row_blocks.reduce_rows(z, labels, tau)
    monkeypatch.setattr(row_blocks, "_LEAST_ROWS", 7)
    monkeypatch.setattr(row_blocks, "_BLOCK_BYTES", 1)
    for name, values in asdict(row_blocks.reduce_rows(z, labels, tau)).items():
        assert torch.allclose(values.double(), getattr(whole, name).double(), rtol=1e-13, atol=1e-12)


@given(seed=st.integers(0, 10**6), tau=TAUS)
def test_the_order_of_samples_changes_nothing(seed, tau):
    z, labels = unit_rows(seed, 12), torch.arange(12) % 5 % 3
    order = torch.randperm(12, generator=torch.Generator().manual_seed(seed))
    anchors = torch.cat([order, order + 12])
    rows, moved = row_blocks.reduce_rows(z, labels, tau), row_blocks.reduce_rows(z[anchors], labels[order], tau)
    assert torch.allclose(rows.different[anchors], moved.different, rtol=1e-13, atol=1e-12)


@given(
    seed=st.integers(0, 10**6), tau=TAUS, labels=st.lists(st.integers(0, 3), min_size=2, max_size=12),
    spread=st.sampled_from([0.0, 0.1, 3.0]),
)  # fmt: skip
def test_no_gap_is_above_its_bounds(seed, tau, labels, spread):
    n, labels = len(labels), torch.tensor(labels)
    z = F.normalize(unit_rows(seed, 4, 2)[labels].repeat(2, 1) + spread * unit_rows(seed + 1, n, 2), dim=1)
    of_split = split_losses.split_losses(z, labels, tau)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    of_batches = split_losses.batch_losses(z, labels, tau, order[: n // 2 * 2].view(2, -1) if n >= 4 else order[None])
    for gap in (of_split.gap, of_split.gap_with_positive, of_batches.gap, of_batches.gap_with_positive):
        if gap.skipped < 2 * n and not math.isnan(gap.gap):
            room = 1e-12 * gap.per_anchor
            assert gap.slack >= -1e-12 * max(1, 2 / tau) and 0 <= gap.gap <= gap.tighter + room
            assert gap.tighter <= gap.per_anchor + room
            assert gap.data_set is None or gap.per_anchor <= gap.data_set + room


def poles(labels):
    """z of two views where the first class is at one pole and all others are at the other."""
    return torch.where(labels == labels[0], 1.0, -1.0).double().repeat(2)[:, None]


def test_the_data_set_bound_fails_for_a_uniform_mini_batch():
    labels = torch.arange(18) // 9
    z, batch = poles(labels), torch.arange(10)[None]
    whole, uneven = split_losses.split_losses(z, labels, 1.0), split_losses.batch_losses(z, labels, 1.0, batch)
    for of_split, of_batch in ((whole.gap, uneven.gap), (whole.gap_with_positive, uneven.gap_with_positive)):
        assert of_split.gap <= of_split.data_set < of_batch.gap - 0.1
        assert of_batch.gap <= of_batch.tighter and of_batch.data_set is None
    balanced = split_losses.batch_losses(z, labels, 1.0, torch.tensor([[0, 1, 9, 10], [2, 3, 11, 12]]))
    assert balanced.gap.gap <= whole.gap.data_set


@pytest.mark.parametrize(("dtype", "room"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
@pytest.mark.parametrize("tau", [0.003, 0.05, 0.5, 1.0])
def test_the_identity_of_the_gap_leaves_rounding_alone(dtype, room, tau):
    labels = torch.arange(300) % 7 % 5
    centres = unit_rows(5, 5, 8)[labels].repeat(2, 1)
    z = F.normalize(centres + 0.3 * unit_rows(6, 300, 8), dim=1).to(dtype)
    batches = torch.randperm(300, generator=torch.Generator().manual_seed(0)).view(6, 50)
    for losses in (split_losses.split_losses(z, labels, tau), split_losses.batch_losses(z, labels, tau, batches)):
        assert losses.gap.residual <= room and losses.gap_with_positive.residual <= room


def test_the_residual_sees_a_loss_that_is_off(monkeypatch):
    of_rows = split_losses._of_rows
    monkeypatch.setattr(split_losses, "_of_rows", lambda of, rows: of_rows(of, rows) + 1e-6 * (of == NSCL))
    losses = split_losses.split_losses(unit_rows(7, 12), torch.arange(12) % 3, 0.5)
    assert losses.gap.residual == pytest.approx(1e-6, rel=1e-6) and losses.gap_with_positive.residual < 1e-12


def test_float32_is_float64_to_its_rounding():
    labels = torch.arange(400) % 6
    z = F.normalize(unit_rows(5, 6, 8)[labels].repeat(2, 1) + unit_rows(6, 400, 8), dim=1)
    whole, single = (split_losses.split_losses(x, labels, 0.1) for x in (z, z.float()))
    # Logits are at most 10 and each is off by a few roundings of 2^-24 of them.
    assert single.losses == pytest.approx(whole.losses, abs=1e-6)
    half = z.bfloat16()
    assert split_losses.split_losses(half, labels, 0.1) == split_losses.split_losses(half.float(), labels, 0.1)


def test_one_class_has_no_gap_and_says_so():
    losses = split_losses.split_losses(unit_rows(0, 5), torch.zeros(5, dtype=torch.int32), 0.5)
    assert losses.losses[NSCL] == losses.losses[NSCL_POSITIVE] == 0
    gap = losses.gap
    assert gap.skipped == 10 and gap.data_set == math.inf
    assert all(math.isnan(value) for value in (gap.gap, gap.mass, gap.tighter, gap.slack, gap.residual))
    assert losses.gap_with_positive.skipped == 0 and losses.gap_with_positive.residual < 1e-12


def test_what_is_not_finite_is_no_number():
    z, labels = unit_rows(0, 6), torch.arange(6) % 2
    z[3, 1] = math.nan
    for losses in (
        split_losses.split_losses(z, labels, 0.5),
        split_losses.batch_losses(z, labels, 0.5, torch.arange(6)[None]),
    ):
        assert all(math.isnan(value) for value in losses.losses.values())
        assert math.isnan(losses.gap.gap) and math.isnan(losses.gap.tighter) and math.isnan(losses.gap.slack)


def test_a_registered_objective_is_evaluated_on_batches_alone():
    registry.register_objective("spread")(lambda sigma, labels, temperature: sigma.mean(1) / temperature)
    try:
        z, labels, spread = unit_rows(8, 6), torch.arange(6) % 2, Objective("spread")
        of_batch = split_losses.batch_losses(z, labels, 0.5, torch.arange(6)[None], (DCL, spread))
        assert of_batch.losses[spread] == pytest.approx(similarity(z).mean().item() / 0.5, rel=1e-12)
        assert math.isnan(split_losses.split_losses(z, labels, 0.5, (DCL, spread)).losses[spread])
    finally:
        registry.forget("spread")
