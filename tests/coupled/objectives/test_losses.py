import math
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coupled.objectives import losses, registry
from coupled.objectives.losses import (
    batch_loss,
    evaluate,
    loss,
    masked_logsumexp,
    per_anchor,
    similarity,
)
from coupled.objectives.masks import pair_masks
from coupled.objectives.registry import Objective

pytestmark = [pytest.mark.kernels, pytest.mark.threads]
DCL, NT_XENT, SCL = Objective("dcl"), Objective("nt_xent"), Objective("scl")
NSCL, NSCL_POSITIVE = Objective("nscl"), Objective("nscl", positive_in_denominator=True)
HOMOTOPIES = [Objective("homotopy", flag, lam) for flag in (False, True) for lam in (0.0, 1e-8, 0.3, 1.0)]
ALL = [DCL, NT_XENT, NSCL, NSCL_POSITIVE, SCL, *HOMOTOPIES]
TEMPERATURES = st.sampled_from([0.05, 0.1, 0.5, 1.0, 3.0])


def unit_rows(seed, rows, d):
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(rows, d, generator=generator, dtype=torch.float64)
    return z / z.norm(dim=1, keepdim=True)


def random_labels(seed, B, classes):
    return torch.randint(classes, (B,), generator=torch.Generator().manual_seed(seed))


def value_of(objective, z, labels, temperature):
    options = {"positive_in_denominator": objective.positive_in_denominator, "lam": objective.lam}
    return loss(objective.name, z, labels, temperature, **options)


def literal_anchor(objective, z, labels, temperature, i):
    """ℓ_i word for word from docs/theory.md (4) to (8), over single pairs."""
    A, B = len(z), len(z) // 2
    partner = (i + B) % A
    s = [(z[i] * z[j]).sum() / temperature for j in range(A)]
    others = [j for j in range(A) if j % B != i % B]
    same = [j for j in others if labels[j % B] == labels[i % B]]
    different = [j for j in others if labels[j % B] != labels[i % B]]
    if objective.name == "scl":
        denominator = sum(torch.exp(s[a]) for a in range(A) if a != i)
        return sum(-s[p] + torch.log(denominator) for p in [partner, *same]) / (1 + len(same))
    terms = {"dcl": others, "nt_xent": [partner, *others], "nscl": different, "homotopy": different}[objective.name]
    total = sum(torch.exp(s[j]) for j in terms)
    if objective.positive_in_denominator:
        total = total + torch.exp(s[partner])
    if objective.lam:
        total = total + objective.lam * sum(torch.exp(s[j]) for j in same)
    return -s[partner] + torch.log(total) if isinstance(total, torch.Tensor) else 0 * s[partner]


def literal_loss(objective, z, labels, temperature):
    return sum(literal_anchor(objective, z, labels, temperature, i) for i in range(len(z))) / len(z)


# seed, B, d, classes, τ: three classes of two, uneven ones, every label different, one class alone, sharp logits.
CASES = [(0, 6, 3, 3, 0.5), (1, 7, 5, 3, 0.1), (2, 4, 8, 4, 1.0), (3, 2, 2, 1, 0.3), (4, 5, 3, 2, 0.01)]


@pytest.mark.parametrize("objective", ALL, ids=str)
@pytest.mark.parametrize(("seed", "B", "d", "classes", "temperature"), CASES)
def test_objectives_equal_literal_loops_in_value_and_gradient(objective, seed, B, d, classes, temperature):
    labels, values, gradients = torch.arange(B) % classes, [], []
    for function in (value_of, literal_loss):
        z = unit_rows(seed, 2 * B, d).requires_grad_()
        value = function(objective, z, labels, temperature)
        gradients.append(torch.autograd.grad(value, z)[0])
        values.append(value.detach())
    # Both run in float64 on numbers of at most 2/τ = 200: 1e-10 leaves room for the order of sums alone.
    assert abs(values[0] - values[1]) < 1e-10
    assert (gradients[0] - gradients[1]).abs().max() < 1e-10


@pytest.mark.parametrize("objective", ALL, ids=str)
def test_single_anchors_equal_literal_ones(objective):
    z, labels = unit_rows(5, 12, 4), torch.tensor([0, 1, 1, 2, 1, 0])
    losses = per_anchor(objective, similarity(z), pair_masks(labels), 0.2)
    literal = torch.stack([literal_anchor(objective, z, labels, 0.2, i) for i in range(12)])
    assert (losses - literal).abs().max() < 1e-12


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_nt_xent_is_lightlys(temperature):
    with warnings.catch_warnings(action="ignore"):
        from lightly.loss import NTXentLoss
    z = unit_rows(6, 64, 16)
    # It averages over all 2B anchors as well. Float64 on both sides; its norms are clamped, not exactly 1.
    assert abs(loss("nt_xent", z, None, temperature) - NTXentLoss(temperature)(z[:32], z[32:])) < 1e-12


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-6)])
def test_scl_is_pytorch_metric_learnings(dtype, tolerance):
    with warnings.catch_warnings(action="ignore"):
        from pytorch_metric_learning.losses import SupConLoss
    z, labels = unit_rows(7, 64, 16).to(dtype), random_labels(7, 32, 5)
    # It averages over the anchors of positive loss: all of them, as a positive is one term of its own denominator.
    # Float32: the loss is about 7, half a unit in the last place of which is 2.4e-7, and logits reach 10.
    assert abs(loss("scl", z, labels, 0.1) - SupConLoss(0.1)(z, labels.repeat(2))) < tolerance


@given(seed=st.integers(0, 2**31), B=st.integers(2, 10), classes=st.integers(1, 5), temperature=TEMPERATURES)
def test_the_homotopy_ends_at_dcl_and_nscl(seed, B, classes, temperature):
    sigma, masks = similarity(unit_rows(seed, 2 * B, 4)), pair_masks(random_labels(seed, B, classes))
    for flag, lam, end in [(False, 1.0, DCL), (True, 1.0, NT_XENT), (False, 0.0, NSCL), (True, 0.0, NSCL_POSITIVE)]:
        ours, wanted = (per_anchor(o, sigma, masks, temperature) for o in (Objective("homotopy", flag, lam), end))
        assert torch.equal(ours, wanted)


@given(seed=st.integers(0, 2**31), flag=st.booleans(), lams=st.lists(st.floats(0, 1), min_size=2, max_size=2))
def test_the_homotopy_grows_with_lam(seed, flag, lams):
    sigma, masks = similarity(unit_rows(seed, 16, 4)), pair_masks(random_labels(seed, 8, 3))
    low, high = (per_anchor(Objective("homotopy", flag, lam), sigma, masks, 0.3) for lam in sorted(lams))
    # Without negatives of another class λ → 0 falls to −∞, and λ = 0 is skipped: no order there.
    ordered = masks.kept | torch.tensor(flag)
    # 1e-14: a λ below the rounding of the sum changes nothing, but may round otherwise.
    assert ((high - low)[ordered] > -1e-14).all()


def test_the_homotopy_of_one_class_is_dcl_shifted():
    sigma, masks = similarity(unit_rows(8, 10, 3)), pair_masks(torch.zeros(5, dtype=torch.int64))
    value = batch_loss(Objective("homotopy", lam=0.01), sigma, masks, 0.5)
    assert abs(value - batch_loss(DCL, sigma, masks, 0.5) - math.log(0.01)) < 1e-14


def test_with_every_label_different_supervision_changes_nothing():
    sigma, masks = similarity(unit_rows(9, 10, 3)), pair_masks(torch.arange(5))
    values = evaluate(sigma, masks, 0.5, ALL)
    assert values.gap == values.mass == values.gap_with_positive == values.mass_with_positive == 0
    for objective, value in values.losses.items():
        holds_positive = registry.positive_gap(objective) or objective == SCL
        assert abs(value - values.losses[NT_XENT if holds_positive else DCL]) < 1e-14


@pytest.mark.parametrize("objective", [NSCL, NSCL_POSITIVE], ids=str)
def test_an_anchor_without_negatives_adds_exactly_nothing(objective):
    sigma = similarity(unit_rows(10, 6, 3)).requires_grad_()
    value = per_anchor(objective, sigma, pair_masks(torch.zeros(3, dtype=torch.int64)), 0.5)
    assert torch.equal(value, torch.zeros(6, dtype=torch.float64))
    assert torch.equal(torch.autograd.grad(value.sum(), sigma)[0], torch.zeros(6, 6, dtype=torch.float64))


def test_an_empty_row_has_logsumexp_minus_infinity_and_no_gradient_and_nan_stays():
    logits = torch.tensor([[1.0, 2.0], [3.0, 4.0], [math.nan, 0.0]]).requires_grad_()
    mask = torch.tensor([[True, False], [False, False], [True, True]])
    values = masked_logsumexp(logits, mask)
    assert values[0] == 1 and values[1] == -math.inf and values[2].isnan()
    assert torch.autograd.grad(values[:2].sum(), logits)[0].tolist()[:2] == [[1, 0], [0, 0]]


def antipodes(B):
    """Each label at one of two opposite points: logits of ±1/τ."""
    return torch.tensor([1.0, -1.0]).repeat(B)[:, None] * torch.eye(3)[:1]


EDGES = {
    "two samples": (unit_rows(11, 4, 3).float(), [0, 1]),
    "two samples of one class": (unit_rows(11, 4, 3).float(), [1, 1]),
    "one class": (unit_rows(12, 10, 3).float(), [0] * 5),
    "one sample of its class, the others of another": (unit_rows(13, 10, 3).float(), [0, 1, 1, 1, 1]),
    "all classes different": (unit_rows(14, 10, 3).float(), [0, 1, 2, 3, 4]),
    "identical rows": (torch.ones(8, 4) / 2, [0, 0, 1, 2]),
    "identical rows of one class": (torch.ones(8, 4) / 2, [0, 0, 0, 0]),
    "antipodes": (antipodes(4), [0, 1, 0, 1]),
    "antipodes in one class": (antipodes(4), [0, 0, 1, 1]),
}


@pytest.mark.parametrize("objective", [*ALL, Objective("homotopy", lam=5e-324)], ids=str)
@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("temperature", [0.01, 1.0])
def test_value_and_gradient_are_finite_at_every_edge(objective, edge, temperature):
    z, labels = EDGES[edge][0].clone().requires_grad_(), torch.tensor(EDGES[edge][1])
    value = value_of(objective, z, labels, temperature)
    # Anomaly mode also sees a NaN that a later mask would hide.
    with torch.autograd.set_detect_anomaly(True):
        value.backward()
    assert value.isfinite() and z.grad.isfinite().all()
    loss_value = evaluate(similarity(z.detach()), pair_masks(labels), temperature, [objective]).losses[objective]
    # float32 rounds a loss about four times (λ, logsumexp and its logarithm, the positive) and the mean of A of them as
    # often again as there are, each time by 2⁻²⁴ of what may be as large as this.
    largest = 2 / temperature + math.log(len(z)) - math.log(objective.lam or 1)
    assert abs(loss_value - value) < (4 + len(z)) * 2**-24 * largest


@pytest.mark.parametrize("objective", ALL, ids=str)
def test_float32_agrees_with_float64(objective):
    labels, values = random_labels(15, 64, 7), []
    for dtype in (torch.float64, torch.float32):
        z = unit_rows(15, 128, 16).to(dtype).requires_grad_()
        value = value_of(objective, z, labels, 0.1)
        assert value.dtype == dtype
        values.append((value.detach().double(), torch.autograd.grad(value, z)[0].double()))
    # Rounding z and Σ (6e-8 each) moves logits by some 1e-6 at τ = .1; gradients, a mean over anchors, by less.
    assert abs(values[0][0] - values[1][0]) < 3e-6
    assert (values[0][1] - values[1][1]).abs().max() < 1e-6


def gap_losses(sigma, masks, temperature):
    return [per_anchor(o, sigma, masks, temperature) for o in (DCL, NSCL, NT_XENT, NSCL_POSITIVE)]


@given(seed=st.integers(0, 2**31), B=st.integers(2, 12), classes=st.integers(1, 6), temperature=TEMPERATURES)
def test_each_gap_is_exactly_the_difference_of_its_losses(seed, B, classes, temperature):
    sigma, masks = similarity(unit_rows(seed, 2 * B, 4)), pair_masks(random_labels(seed, B, classes))
    values, kept = evaluate(sigma, masks, temperature, []), masks.kept
    dcl, nscl, nt_xent, bracket = gap_losses(sigma, masks, temperature)
    assert int(values.skipped) == int((~kept).sum())
    # Losses are at most 2/τ + log A ≈ 43 here: 1e-12 is about 200 of their roundings.
    assert abs(values.gap_with_positive - (nt_xent - bracket).mean()) < 1e-12
    if kept.any():
        assert abs(values.gap - (dcl - nscl)[kept].mean()) < 1e-12
        assert values.gap >= 0 and 0 <= values.mass <= 1
    else:
        assert math.isnan(values.gap) and math.isnan(values.mass)
    assert values.gap_with_positive >= 0 and 0 <= values.mass_with_positive <= 1


@given(seed=st.integers(0, 2**31), B=st.integers(2, 10), classes=st.integers(1, 5), temperature=TEMPERATURES)
def test_evaluation_gives_the_losses_that_arms_minimise(seed, B, classes, temperature):
    labels, z = random_labels(seed, B, classes), unit_rows(seed, 2 * B, 4)
    values = evaluate(similarity(z), pair_masks(labels), temperature, [*ALL, DCL])
    assert list(values.losses) == ALL
    for objective, value in values.losses.items():
        assert value.dtype == torch.float64 and value.ndim == 0
        # 1e-12: as above, and e^{−8 log 10} = λ of the smallest homotopy adds its logarithm, 18.
        assert abs(value - value_of(objective, z, labels, temperature)) < 1e-12


@given(seed=st.integers(0, 2**31), B=st.integers(2, 12), classes=st.integers(2, 5), temperature=TEMPERATURES)
def test_the_gap_of_an_anchor_obeys_its_bounds(seed, B, classes, temperature):
    sigma, masks = similarity(unit_rows(seed, 2 * B, 3)), pair_masks(random_labels(seed, B, classes))
    dcl, nscl, nt_xent, bracket = gap_losses(sigma, masks, temperature)
    same, different = masks.same.sum(1).double(), masks.different.sum(1).double()
    growth = math.exp(2 / temperature)
    # Attained at the edge of the box: 1e-12 is rounding.
    assert ((nt_xent - bracket) <= torch.log1p(same * growth / (1 + different)) + 1e-12).all()
    assert ((nt_xent - bracket) >= -1e-12).all()
    highest = sigma.masked_fill(~masks.same, -1.0).amax(1)
    mean = (sigma * masks.different).sum(1) / different
    tighter = torch.log1p(same / different * torch.exp((highest - mean) / temperature))
    for bound in (torch.log1p(same * growth / different), tighter):
        assert ((dcl - nscl)[masks.kept] <= bound[masks.kept] + 1e-12).all()
    assert ((dcl - nscl)[masks.kept] >= -1e-12).all()


def test_the_bound_of_the_gap_is_attained_by_opposite_classes():
    z, labels = antipodes(4).double(), torch.tensor([0, 1, 0, 1])
    values = evaluate(similarity(z), pair_masks(labels), 0.5, [])
    assert abs(values.gap - math.log(1 + 2 * math.exp(4) / 4)) < 1e-14


@pytest.mark.parametrize(("labels", "same"), [([0, 0, 1, 1], 2), ([0, 0, 0, 1, 1, 1], 4)])
def test_equal_similarities_leave_the_gap_to_the_counts(labels, same):
    B = len(labels)
    values = evaluate(torch.full((2 * B, 2 * B), 0.7).double(), pair_masks(torch.tensor(labels)), 0.1, [])
    different = 2 * B - 2 - same
    assert abs(values.gap - math.log(1 + same / different)) < 1e-14
    assert abs(values.gap_with_positive - math.log(1 + same / (1 + different))) < 1e-14


def test_same_class_masses_are_the_shares_of_same_class_weight():
    labels = torch.tensor([0, 0, 1, 2])
    sigma, masks = similarity(unit_rows(16, 8, 3)), pair_masks(labels)
    weights = torch.exp(sigma / 0.5)
    same, other = (weights * masks.same).sum(1), (weights * masks.different).sum(1)
    positive = weights[torch.arange(8), (torch.arange(8) + 4) % 8]
    values = evaluate(sigma, masks, 0.5, [])
    assert abs(values.mass - (same / (same + other)).mean()) < 1e-12
    assert abs(values.mass_with_positive - (same / (same + other + positive)).mean()) < 1e-12


@settings(max_examples=30)
@given(seed=st.integers(0, 2**31), B=st.integers(2, 10), order=st.randoms(use_true_random=False))
def test_order_of_samples_views_and_class_numbers_is_nothing_to_a_loss(seed, B, order):
    z, labels = unit_rows(seed, 2 * B, 4), random_labels(seed, B, 3)
    shuffled = torch.tensor(order.sample(range(B), B))
    moved = torch.cat([z[B:][shuffled], z[:B][shuffled]])
    for objective in ALL:
        both = value_of(objective, z, labels, 0.3), value_of(objective, moved, 7 - 2 * labels[shuffled], 0.3)
        assert abs(both[0] - both[1]) < 1e-13


def test_evaluation_costs_two_logsumexps_over_sigma(monkeypatch):
    calls, original = [], losses.masked_logsumexp
    monkeypatch.setattr(losses, "masked_logsumexp", lambda *given: (calls.append(1), original(*given))[1])
    evaluate(similarity(unit_rows(17, 8, 3)), pair_masks(torch.tensor([0, 0, 1, 2])), 0.5, ALL)
    assert len(calls) == 2


def test_loss_uses_z_as_given():
    z, labels = unit_rows(18, 8, 3), torch.tensor([0, 1, 0, 1])
    for objective in ALL:
        assert abs(value_of(objective, 2 * z, labels, 4.0) - value_of(objective, z, labels, 1.0)) < 1e-12


def test_half_precision_features_are_compared_in_float32():
    z = unit_rows(19, 12, 5).bfloat16()
    assert loss("dcl", z, None, 0.1) == loss("dcl", z.float(), None, 0.1)
