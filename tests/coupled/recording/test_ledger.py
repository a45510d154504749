"""The ledger against gradients that are taken again from checkpoints, and sums that share no code with it."""

import itertools
import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from helpers import tiny

from coupled import data
from coupled.arms.audits import Audits
from coupled.arms.initial import build_arms
from coupled.driver.train import train
from coupled.errors import UserError
from coupled.inputs.source import Source
from coupled.models import ledger_passes
from coupled.planning.plan import plan
from coupled.recording import ledger as recording
from coupled.store import open_tensors

pytestmark = [pytest.mark.kernels, pytest.mark.slow]
CPU, B, RATE, KEEP, DECAY, WARMUP = torch.device("cpu"), 8, 0.2, 0.9, 5e-3, 3
ARMS = {
    "base": {"objective": "nscl", "labelling": "size"},
    "other": {"objective": "homotopy", "lam": 0.5, "labelling": "shape", "temperature": 0.3},
    "nudged": {"kind": "nudged", "scale": 1e-3},
    "ce": {"objective": "ce", "labelling": "shape"},
}
COMPARED = ("other", "nudged", "ce")


def config_in(folder, steps, **sections):
    given = {
        "train": {"steps": steps, "precision": "float64"},
        "batches": {"size": B},
        "optimiser": {"learning_rate": RATE, "momentum": KEEP, "weight_decay": DECAY, "warmup": WARMUP},
        "record": {"ledger": {"every": 1}},
        "ledger": {"contrast": ["other"]},
        "checkpoints": {"keep": {"every": 1}},
        "arms": ARMS,
    }
    return tiny(folder, **{**given, **sections})


class Truth:
    """A run whose every state is kept: its weights, and gradients of any arm's loss at any arm's weights."""

    def __init__(self, folder, steps):
        config = config_in(folder, steps)
        self.steps, self.root, self.arms = steps, train(config), build_arms(config, CPU)
        self.split = data.load("shapes", "train", seed=0, root="")
        self.batch = cache(Source(config, self.split, ["size", "shape"], CPU).at)
        self.gradient, self.weights = cache(self.gradient), cache(self.weights)
        self.segments = next(iter(self.arms.values())).state.shared_segments

    def file(self, name, step):
        return open_tensors(self.root / f"checkpoints/step-{step:09d}/{name}.safetensors")

    def weights(self, arm, step):
        """Layer by layer, of what all arms have."""
        file = self.file(arm, step)
        return np.concatenate([np.ravel(file[f"weights.{segment.name}"]) for segment in self.segments])

    def flat(self, array):
        """A flat vector of a checkpoint without its padding."""
        return np.concatenate([array[segment.start : segment.stop] for segment in self.segments])

    def gradient(self, at, of, step):
        """Of the loss of `of` at the weights that `at` has."""
        file, network = self.file(at, step), self.arms[at].network
        named = {n.partition(".")[2]: torch.from_numpy(file[n].copy()) for n in file if not n.startswith("optimiser.")}
        network.load_state_dict(named)
        _, z = network.train()(self.batch(step).pixels)
        loss = self.loss(of, z, self.split.labels(ARMS.get(of, {}).get("labelling", "size"))[self.batch(step).ids])
        names = {segment.name for segment in self.segments}
        parameters = [parameter for name, parameter in network.named_parameters() if name in names]
        return np.concatenate([each.numpy().ravel() for each in torch.autograd.grad(loss, parameters)])

    def loss(self, of, z, labels):
        """docs/theory.md (1) to (8), anchor by anchor."""
        labels = labels.repeat(2)
        if of == "ce":
            return torch.nn.functional.cross_entropy(self.arms["ce"].network.head(z), labels)
        temperature, lam = (0.3, 0.5) if of == "other" else (0.5, 0.0)
        e, losses = (z @ z.T / temperature).exp(), []
        for i in range(2 * B):
            others = [j for j in range(2 * B) if j % B != i % B]
            weights = torch.tensor([lam if labels[j] == labels[i] else 1.0 for j in others], dtype=torch.float64)
            if bool((weights == 1).any()):
                losses.append(((weights * e[i, others]).sum() / e[i, (i + B) % (2 * B)]).log())
        return torch.stack(losses).mean()

    def rate(self, step):
        """Warm-up, then a half cosine to 0."""
        if step < WARMUP:
            return RATE * (step + 1) / WARMUP
        return RATE * 0.5 * (1 + math.cos(math.pi * (step - WARMUP) / (self.steps - WARMUP)))

    def apart(self, arm, step):
        return self.weights("base", step) - self.weights(arm, step)

    def instability(self, arm, step):
        return self.gradient("base", "base", step) - self.gradient(arm, "base", step)

    def objective(self, arm, step):
        return self.gradient(arm, "base", step) - self.gradient(arm, arm, step)

    def summed(self, pushes):
        """− Σ_s η_s Σ_{r≤s} μ^{s−r} push_r: what updates by these pushes come to after each step."""
        parts, total = [np.zeros_like(pushes[0])], np.zeros_like(pushes[0])
        for s in range(len(pushes)):
            velocity = sum(KEEP ** (s - r) * pushes[r] for r in range(s + 1))
            total = total - self.rate(s) * velocity
            parts.append(total)
        return parts

    def parts(self, arm, steps):
        """D_a and D_b after each of so many steps."""
        pushes = [self.instability(arm, s) + DECAY * self.apart(arm, s) for s in range(steps)]
        return self.summed(pushes), self.summed([self.objective(arm, s) for s in range(steps)])

    def layers(self, values):
        """Sums by layer."""
        ends = np.cumsum([0, *(segment.stop - segment.start for segment in self.segments)])
        return np.array([values[a:b].sum() for a, b in itertools.pairwise(ends)])


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    return Truth(tmp_path_factory.mktemp("runs"), 10)


def column(root, arm, name):
    """All recorded rows of a column."""
    files = [open_tensors(path) for path in sorted((root / "records/ledger" / arm).iterdir())]
    return np.concatenate([file[name] for file in files if name in file])


def split_is_right(truth, root, arm, steps, tolerance=1e-10):
    """The accumulators of every checkpoint, and the norms that are recorded, are those of sums taken one by one."""
    by_instability, by_objective = truth.parts(arm, steps)
    norms = [column(root, arm, f"state.from_{part}") for part in ("instability", "objective")]
    for step in range(steps + 1):
        file = open_tensors(root / f"checkpoints/step-{step:09d}/{arm}.ledger.safetensors")
        held = [truth.flat(file[f"distance.{part}"]) for part in ("instability", "objective")]
        for own, expected, recorded in zip(held, (by_instability, by_objective), norms, strict=True):
            if np.abs(own - expected[step]).max() > tolerance:
                return False
            if np.abs(np.sqrt(truth.layers(expected[step] ** 2)) - recorded[step]).max() > tolerance:
                return False
        d = truth.apart(arm, 0) + by_instability[step] + by_objective[step]
        assert np.abs(d - truth.apart(arm, step)).max() <= tolerance
    return True


@pytest.mark.parametrize("arm", COMPARED)
def test_gradients_taken_again_and_summed_one_by_one_give_the_split(truth, arm):
    assert split_is_right(truth, truth.root, arm, truth.steps)


@pytest.mark.slow
def test_a_hundred_steps_give_it_too(tmp_path):
    truth = Truth(tmp_path, 100)
    assert all(split_is_right(truth, truth.root, arm, 100) for arm in COMPARED)


@pytest.mark.parametrize("arm", COMPARED)
def test_every_column_of_a_batch_is_what_it_is_defined_as(truth, arm):
    for step in range(truth.steps):
        d, a, b = (of(arm, step) for of in (truth.apart, truth.instability, truth.objective))
        v = np.zeros_like(d)
        if step:
            own, other = (truth.flat(truth.file(n, step)["optimiser.momentum_buffer"]) for n in (arm, "base"))
            v = other - own
        norms = {"instability": a, "objective": b}
        products = {"instability_distance": a * d, "objective_distance": b * d, "instability_objective": a * b}
        products |= {"instability_momentum": a * v, "objective_momentum": b * v}
        expected = {name: np.sqrt(truth.layers(of**2)) for name, of in norms.items()}
        expected |= {name: truth.layers(of) for name, of in products.items()}
        for name, values in expected.items():
            np.testing.assert_allclose(column(truth.root, arm, f"batch.{name}")[step], values, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("arm", COMPARED)
def test_every_column_of_a_state_is_what_it_is_defined_as(truth, arm):
    by_instability, by_objective = truth.parts(arm, truth.steps)
    for step in range(truth.steps + 1):
        d, start, d_a, d_b = truth.apart(arm, step), truth.apart(arm, 0), by_instability[step], by_objective[step]
        expected = {
            "distance": np.sqrt(truth.layers(d**2)),
            "from_start": np.sqrt(truth.layers(start**2)),
            "from_both": truth.layers(d_a * d_b),
            "objective_along": truth.layers(d_b * d),
            "from_moves": np.zeros(len(truth.segments)),
            "from_rounding": np.zeros(len(truth.segments)),
        }
        for name, values in expected.items():
            np.testing.assert_allclose(column(truth.root, arm, f"state.{name}")[step], values, rtol=1e-9, atol=1e-10)


def test_the_buffers_difference_is_the_sum_of_both_momenta(truth):
    for arm, step in itertools.product(COMPARED, range(1, truth.steps + 1)):
        own, other = (truth.flat(truth.file(n, step)["optimiser.momentum_buffer"]) for n in (arm, "base"))
        kept = open_tensors(truth.root / f"checkpoints/step-{step:09d}/{arm}.ledger.safetensors")
        total = truth.flat(kept["momentum.instability"]) + truth.flat(kept["momentum.objective"])
        np.testing.assert_allclose(total, other - own, rtol=0, atol=1e-12)


def test_a_contrast_is_of_gradients_at_the_references_weights(truth):
    for step in range(truth.steps):
        gap = truth.gradient("base", "base", step) - truth.gradient("base", "other", step)
        recorded = column(truth.root, "other", "batch.objective_at_reference")[step]
        np.testing.assert_allclose(recorded, np.sqrt(truth.layers(gap**2)), rtol=1e-9, atol=1e-12)


def _swapped(vectors, rates):
    own, other = vectors.gradient, vectors.gradient_of_reference
    return vectors._replace(gradient=other, gradient_of_reference=own), rates


def _without_decay(vectors, rates):
    return vectors, rates._replace(decay=0.0)


def _of_the_sum(vectors, rates):
    """O ← μ(I + O) + b, I ← a + λD: what they come to together is still V."""
    vectors.sum_of_objective.add_(vectors.sum_of_instability)
    vectors.sum_of_instability.zero_()
    return vectors, rates


@pytest.mark.parametrize("mutant", [_swapped, _without_decay, _of_the_sum])
def test_what_is_wrong_with_the_sums_is_seen(truth, monkeypatch, tmp_path, mutant):
    def broken(layers, vectors, about, rates):
        if about.gradients:
            vectors, rates = mutant(vectors, rates)
        return ledger_passes.ledger_pass(layers, vectors, about, rates)

    monkeypatch.setattr(recording, "ledger_pass", broken)
    root = train(config_in(tmp_path, truth.steps))
    assert not split_is_right(truth, root, "other", truth.steps)


def test_a_references_loss_under_the_arms_own_labelling_is_seen(truth, monkeypatch, tmp_path):
    gradients = Audits.forward_backward

    def relabelled(self, step, arms, batch):
        (term,), (own,), kept = self._terms["base"], self._terms["other"], self._terms
        self._terms = {**kept, "base": (replace(term, labels=own.labels),)}
        gradients(self, step, arms, batch)
        self._terms = kept

    monkeypatch.setattr(Audits, "forward_backward", relabelled)
    monkeypatch.setattr(Audits, "gradient", lambda self, at, of: self._gradients[at, of])
    root = train(config_in(tmp_path, truth.steps))
    assert not split_is_right(truth, root, "other", truth.steps)


SAME = {
    "cl": {"objective": "dcl"},
    "nscl": {"objective": "nscl"},
    "limit": {"objective": "homotopy", "lam": 1.0},
    "twin": {"kind": "twin"},
    "nudged": {"kind": "nudged"},
    "independent": {"kind": "independent"},
    "of_nscl": {"kind": "twin", "of": "nscl"},
}


@pytest.fixture(scope="module", params=["float32", "float64"])
def same(request, tmp_path_factory):
    precision = {"steps": 4, "precision": request.param}
    return train(config_in(tmp_path_factory.mktemp("runs"), 4, arms=SAME, train=precision, ledger={}))


def test_instability_is_bitwise_0_while_the_weights_are_one(same):
    for arm in ("twin", "of_nscl"):
        assert not column(same, arm, "state.distance").any() and not column(same, arm, "batch.instability").any()
    for arm in ("nscl", "limit"):
        assert not column(same, arm, "batch.instability")[0].any()
    assert column(same, "nudged", "batch.instability")[0].any()


def test_the_objectives_part_is_bitwise_0_where_there_is_one_objective(same):
    for arm in ("twin", "nudged", "independent", "of_nscl"):
        for name in ("batch.objective", "batch.objective_distance", "state.from_objective"):
            assert not column(same, arm, name).any()
    assert column(same, "nscl", "batch.objective").any()


def test_the_homotopys_end_has_the_reference_s_gradient_to_rounding(same):
    part, whole = column(same, "limit", "batch.objective"), column(same, "nscl", "batch.objective")
    rounding = 1e-13 if "float64" in (same / "run.json").read_text() else 1e-4
    assert np.linalg.norm(part) <= rounding * np.linalg.norm(whole)


@pytest.mark.parametrize(
    ("optimiser", "precision", "schedule"),
    [
        ({"name": "lars"}, "float32", {"every": 1}),
        ({"name": "adamw", "learning_rate": 1e-3}, "float32", {"every": 1}),
        ({"clip_norm": 0.1}, "float32", {"every": 1}),
        ({}, "bf16", {"every": 1}),
        ({}, "float32", {"every": 2}),
        ({"momentum": 0.0}, "float64", {"every": 1}),
    ],
)
def test_what_cannot_be_split_exactly_has_the_gradients_alone(tmp_path, optimiser, precision, schedule):
    train_ = {"steps": 4, "precision": precision}
    given = config_in(tmp_path, 4, optimiser=optimiser, train=train_, record={"ledger": schedule})
    root, exact = train(given), precision == "float64"
    file = open_tensors(min((root / "records/ledger/other").iterdir()))
    assert ("state.from_objective" in file) == exact and "batch.objective_distance" in file
    assert ("state.momentum" in file) == (optimiser.get("name") is None and optimiser.get("momentum") != 0.0)
    files = {path.name for path in (root / "checkpoints/step-000000002").glob("*.ledger.*")}
    assert files == ({f"{arm}.ledger.safetensors" for arm in COMPARED} if exact else set())
    if exact:
        assert np.abs(column(root, "other", "state.from_rounding")).max() < 1e-12


def test_plan_counts_backwards_and_accumulators(tmp_path):
    with_ledger, without = (
        plan(config_in(tmp_path, 10, **sections)) for sections in ({}, {"record": {}, "ledger": {}})
    )
    assert with_ledger.ledger.audits == 10
    assert dict(with_ledger.ledger.backwards) == {"base": 1, "other": 1, "nudged": 0, "ce": 1}
    vector = with_ledger.vector
    assert with_ledger.checkpoints[1] - without.checkpoints[1] == 3 * 4 * vector
    assert with_ledger.memory - without.memory == (3 * 4 + 3 + 2) * vector


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"arms": {"ce": {"objective": "ce"}, "cl": {"objective": "dcl"}}, "ledger": {}}, "the reference ce; its obj"),
        ({"arms": {"cl": {"objective": "dcl"}}, "ledger": {}}, "an arm with a reference"),
        ({"record": {}}, "it only counts with a schedule in record.ledger"),
        ({"ledger": {"contrast": ["othre"]}}, "did you mean other"),
        ({"ledger": {"contrast": ["base"]}}, "names base; an arm with a ledger: other, nudged, ce"),
        ({"ledger": {"contrast": ["ce"]}}, "names ce; its objective, ce, cannot"),
        ({"ledger": {"contrast": ["other", "other"]}}, "every arm once"),
    ],
)
def test_what_has_no_ledger_is_refused(tmp_path, sections, message):
    with pytest.raises(UserError, match=message):
        config_in(tmp_path, 4, **sections)
