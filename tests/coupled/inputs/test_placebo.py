"""Permuted labels: what they keep exactly, what they share by chance, and that nothing else of a run moves.

Each claim was seen to fail: labels permuted view by view, drawn with replacement, without the step or the draw in the
address, across the run by place in the batch, a placebo whose loss looks at the true labels.
"""

import itertools
import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
import torch
from helpers import tiny
from hypothesis import given
from hypothesis import strategies as st

from coupled.address import Purpose, permutation
from coupled.config.traits import Permuted
from coupled.driver.assembly import build, start_run
from coupled.driver.loop import lockstep
from coupled.driver.reporter import Silent
from coupled.driver.train import train
from coupled.inputs import placebo
from coupled.inputs.placebo import overlap_by_chance, permuted
from coupled.objectives.losses import batch_loss
from coupled.objectives.masks import pair_masks
from coupled.objectives.registry import Objective
from coupled.store import open_tensors

pytestmark = pytest.mark.kernels
BATCH, RUN = Permuted("size", "batch", 1), Permuted("size", "run", 1)
ARMS = {
    "cl": {"objective": "dcl"},
    "nscl": {"objective": "nscl"},
    "placebo": {"kind": "placebo", "of": "nscl"},
    "relabelled": {"kind": "placebo", "of": "nscl", "across": "run"},
    "other": {"kind": "placebo", "of": "nscl", "draw": 2},
}
INSIDE = {
    "cl": {"objective": "nt_xent"},
    "nscl": {"objective": "nscl", "positive_in_denominator": True},
    "placebo": {"kind": "placebo", "of": "nscl"},
}


def test_golden_permutations():
    """These integers define every placebo: if this fails, old runs can no longer be replayed."""
    labels, ids = torch.arange(100, 120), torch.tensor([3, 0, 7, 19, 11])
    assert permuted(BATCH, labels, seed=0, step=2, ids=ids).tolist() == [111, 107, 100, 119, 103]
    assert permuted(RUN, labels, seed=0, step=2, ids=ids).tolist() == [112, 117, 116, 119, 103]


def test_the_addresses_are_those_of_the_format_page():
    labels, ids = torch.arange(50), torch.arange(20, 30)
    order = permutation(5, Purpose(21), 10, a=7, b=3)
    assert permuted(Permuted("size", "batch", 3), labels, seed=5, step=7, ids=ids).tolist() == (20 + order).tolist()
    whole = permutation(5, Purpose(22), 50, a=3)
    assert torch.equal(permuted(Permuted("size", "run", 3), labels, seed=5, step=7, ids=ids), whole[ids])


@given(
    st.lists(st.integers(0, 3), min_size=2, max_size=12), st.integers(0, 9), st.integers(0, 9), st.integers(1, 3)
)  # fmt: skip
def test_a_batch_keeps_how_many_samples_each_anchor_has_beside_it(labels, seed, step, draw):
    true, ids = torch.tensor(labels), torch.arange(len(labels))
    given = pair_masks(true)
    other = pair_masks(permuted(Permuted("size", "batch", draw), true, seed=seed, step=step, ids=ids))
    for name in ("same", "different"):
        counts = [getattr(masks, name).sum(1).sort().values for masks in (given, other)]
        assert torch.equal(*counts)
    assert Counter(other.labels.tolist()) == Counter(labels)
    assert given.kept.sum() == other.kept.sum()


def test_both_views_of_a_sample_have_one_label(tmp_path):
    batch = build(tiny(tmp_path, arms=ARMS)).source.at(1)
    masks = batch.pairs[BATCH]
    B = len(batch.ids)
    quarters = [masks.different[a : a + B, b : b + B] for a in (0, B) for b in (0, B)]
    assert all(torch.equal(quarter, quarters[0]) for quarter in quarters)
    assert torch.equal(quarters[0], masks.labels[:, None] != masks.labels[None, :])


def test_steps_seeds_and_draws_permute_otherwise():
    labels, ids = torch.arange(64), torch.arange(64)
    orders = {
        tuple(permuted(Permuted("size", across, draw), labels, seed=seed, step=step, ids=ids).tolist())
        for across in ("batch", "run") for draw in (1, 2) for seed in (0, 1) for step in (0, 1)
    }  # fmt: skip
    assert len(orders) == 8 + 4  # across the run the step does not matter


def test_across_the_run_counts_of_the_data_set_stay_and_a_sample_keeps_its_label(tmp_path):
    source = build(tiny(tmp_path, arms=ARMS, data={"per_class": 10})).source
    true, seen = source.labels["size"], {}
    everywhere = permuted(RUN, true, seed=0, step=0, ids=torch.arange(len(true)))
    assert torch.equal(everywhere.bincount(), true.bincount()) and not torch.equal(everywhere, true)
    for step in range(12):
        batch = source.at(step)
        for i, label in zip(batch.ids.tolist(), batch.pairs[RUN].labels.tolist(), strict=True):
            assert seen.setdefault(i, label) == label == everywhere[i]
    assert int(batch.visits.min()) > 0  # samples were met again


@given(st.lists(st.integers(0, 2), min_size=2, max_size=6))
def test_the_overlap_by_chance_is_the_mean_over_all_permutations(labels):
    shares = [overlap(labels, order) for order in itertools.permutations(labels)]
    exact = overlap_by_chance(torch.tensor(labels).bincount())
    if shares[0] is None:
        assert math.isnan(exact)
    else:
        # A quotient of integers: one rounding.
        assert exact == pytest.approx(float(sum(shares) / len(shares)), rel=1e-15)


def overlap(true, other):
    """The share of the pairs of one permuted class that are of one true class; None without such pairs."""
    pairs = [(i, j) for i, j in itertools.combinations(range(len(true)), 2) if other[i] == other[j]]
    return Fraction(sum(true[i] == true[j] for i, j in pairs), len(pairs)) if pairs else None


def test_the_overlap_of_drawn_permutations_is_that_by_chance():
    labels, ids, n = torch.arange(12) % 2, torch.arange(12), 2000
    drawn = (permuted(BATCH, labels, seed=1, step=step, ids=ids).tolist() for step in range(n))
    mean = sum(float(overlap(labels.tolist(), order)) for order in drawn) / n
    # Hoeffding for shares in [0, 1]: further away once in 10⁹ addresses.
    assert abs(mean - overlap_by_chance(labels.bincount())) < math.sqrt(math.log(2e9) / (2 * n))
    assert overlap_by_chance(labels.bincount()) == 5 / 11  # two classes: near one half


def test_the_loss_of_a_placebo_is_that_of_its_arm_under_its_labels(tmp_path):
    parts = build(tiny(tmp_path, arms=ARMS))
    batch = parts.source.at(0)
    for name, key in (("placebo", BATCH), ("relabelled", RUN), ("other", Permuted("size", "batch", 2))):
        arm = parts.arms[name]
        arm.forward_backward(batch)
        labels = permuted(key, parts.source.labels["size"], seed=0, step=0, ids=batch.ids)
        assert arm.loss == batch_loss(Objective("nscl"), arm.sigma, pair_masks(labels), 0.5)
        assert arm.loss != batch_loss(Objective("nscl"), arm.sigma, batch.pairs["size"], 0.5)


@pytest.mark.slow
def test_the_inputs_of_a_run_do_not_know_of_its_placebos(tmp_path):
    two = {name: ARMS[name] for name in ("cl", "nscl")}
    runs = [train(tiny(tmp_path / str(len(arms)), arms=arms)) for arms in (two, ARMS)]
    for stream in ("scalars", "similarity"):
        files = [tensors(run, f"records/{stream}/shared") for run in runs]
        assert files[0] == files[1]
    for arm in two:
        assert tensors(runs[0], "checkpoints", f"{arm}.safetensors") == tensors(
            runs[1], "checkpoints", f"{arm}.safetensors"
        )


def tensors(run, folder, name="*.safetensors"):
    return {
        f"{path.relative_to(run)}/{key}": array.tobytes()
        for path in sorted((run / folder).rglob(name))
        for key, array in open_tensors(path).items()
    }


def saved(run, arm):
    """All checkpoints of an arm, their bytes."""
    return [path.read_bytes() for path in sorted(run.glob(f"checkpoints/*/{arm}.safetensors"))]


@pytest.mark.parametrize("across", ["batch", "run"])
def test_an_identity_permutation_is_the_arm_bitwise(across, tmp_path, monkeypatch):
    monkeypatch.setattr(placebo, "permutation", lambda seed, purpose, n, **fields: torch.arange(n))
    placebo._order.cache_clear()
    arms = {**{name: ARMS[name] for name in ("cl", "nscl")}, "p": {"kind": "placebo", "of": "nscl", "across": across}}
    run = train(tiny(tmp_path, arms=arms))
    placebo._order.cache_clear()
    assert saved(run, "p") == saved(run, "nscl") != saved(run, "cl")
    (scalars,) = (tensors(run, "records/scalars/p").items(),)
    for name, values in scalars:
        if "permuted_" in name:
            assert values == dict(scalars)[name.replace("permuted_", "") + ".size"]


@pytest.mark.parametrize("arms", [{k: ARMS[k] for k in ("cl", "nscl", "placebo")}, INSIDE], ids=["without", "with"])
def test_where_all_labels_are_distinct_cl_nscl_and_placebo_are_one(arms, tmp_path):
    parts = build(tiny(tmp_path, arms=arms))
    parts.source.labels = {"size": torch.arange(len(parts.source.split))}
    run = start_run(parts)
    assert run is not None
    with run:
        lockstep(run, Silent())
    gradients = [arm.state.gradient for arm in run.arms.values()]
    assert all(torch.equal(gradient, gradients[0]) and gradient.any() for gradient in gradients)
    assert saved(run.root, "cl") == saved(run.root, "nscl") == saved(run.root, "placebo")
    assert len(saved(run.root, "cl")) == 3


def test_gap_and_mass_are_recorded_under_true_and_permuted_labels(tmp_path):
    run = train(tiny(tmp_path, arms=ARMS))
    scalars, shared = (one(run, f"records/scalars/{name}") for name in ("placebo", "shared"))
    z, samples = (one(run, f"records/similarity/{name}") for name in ("placebo", "shared"))
    assert "batch.permuted_gap" not in one(run, "records/scalars/nscl") and "batch.chain" in shared
    for row, step in enumerate(scalars["batch.step"].tolist()):
        labels = torch.tensor(samples["batch.labels.size"][row])
        order = permutation(0, Purpose.PLACEBO, 8, a=step, b=1)
        for column, of in (("batch.gap.size", labels), ("batch.permuted_gap", labels[order])):
            # float32 similarities, one by one: a few roundings of numbers of order 1/τ.
            assert scalars[column][row] == pytest.approx(literal_gap(z["batch.z"][row], of.tolist()), abs=1e-5)


def one(run, folder):
    """The columns of a stream and owner, of all its shards."""
    files = [open_tensors(path) for path in sorted((run / folder).iterdir())]
    return {key: np.concatenate([file[key] for file in files if key in file]) for key in files[0]}


def literal_gap(z, labels, tau=0.5):
    """docs/theory.md (11), (13), anchor by anchor."""
    z, B = z.astype(np.float64), len(labels)
    gaps = []
    for i in range(2 * B):
        others = [j for j in range(2 * B) if j % B != i % B]
        weights = {j: math.exp(z[i] @ z[j] / tau) for j in others}
        different = sum(w for j, w in weights.items() if labels[j % B] != labels[i % B])
        if different:
            gaps.append(math.log(sum(weights.values()) / different))
    return sum(gaps) / len(gaps) if gaps else math.nan
