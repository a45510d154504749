"""Every recorded column against its definition, recomputed from the checkpoint of the same step.

A new column needs a line in `ORACLES`. Float64 makes the oracles tight: where the very same computation is repeated the
bytes are equal, where a literal formula replaces it 10 digits are.
"""

import hashlib
import math
import struct
from functools import cache

import numpy as np
import pytest
import torch
from helpers import tiny
from torch.nn import functional as F

from coupled import data
from coupled.address import Purpose, words
from coupled.arms import build_arms
from coupled.driver import train
from coupled.run import train_layout
from coupled.source import Source
from coupled.store import open_tensors

CPU = torch.device("cpu")
B, STEPS = 12, 3
OBJECTIVES = {"cl": ("dcl", "size", 0.5), "nscl": ("nscl", "shape", 0.2)}
COPIED = {"cl": "cl", "nscl": "nscl", "nudged": "nscl", "independent": "cl"}
ANCHOR = {"nscl": "cl", "nudged": "nscl", "independent": "cl"}


def config_in(folder):
    # Under seed 843 all samples of the batch at step 2 have one size, so that every anchor is skipped under it.
    return tiny(
        folder,
        seed=843,
        batches={"size": B},
        train={"steps": STEPS, "precision": "float64"},
        panel={"size": 8, "surrogate_size": 4},
        checkpoints={"keep": {"every": 1}},
        record={s: {"every": 1} for s in ("scalars", "layers", "similarity", "panel", "surrogate", "pixels")},
        arms={
            **{n: {"objective": o, "labelling": y, "temperature": tau} for n, (o, y, tau) in OBJECTIVES.items()},
            "nudged": {"kind": "nudged", "of": "nscl"},
            "independent": {"kind": "independent"},
        },
    )


class Truth:
    """A finished run, and what follows from its checkpoints, its batches and the definitions."""

    def __init__(self, folder):
        config = config_in(folder)
        self.root = train(config)
        self.arms = build_arms(config, CPU)
        self.train, self.test = (data.load("shapes", split, seed=0, root="") for split in ("train", "test"))
        source = Source(config, self.train, ["size", "shape"], CPU)
        self.batch, self.forward, self.contrast = cache(source.at), cache(self.forward), cache(self.contrast)
        self.panel_ids = first_ids(Purpose.PANEL, len(self.test), config.panel.size)
        self.surrogate_ids = ids = first_ids(Purpose.SURROGATE, len(self.train), config.panel.surrogate_size)
        self.draws = torch.stack([words(0, Purpose.SURROGATE_VIEW, 32, a=ids, c=view) for view in (0, 1)])
        self.panel_pixels = source.plain(self.test.images(self.panel_ids))
        self.surrogate_pixels = source.pixels(self.train.images(ids), self.draws)

    def recorded(self, stream, owner, column):
        """[(step, row)] over all shards; of a fixed column, the row of every shard."""
        rows, group = [], column.partition(".")[0]
        for path in sorted((self.root / "records" / stream / owner).iterdir()):
            shard = open_tensors(path)
            if group == "fixed":
                rows.append((None, shard[column]))
            elif column in shard:
                rows += zip(shard[f"{group}.step"].tolist(), shard[column], strict=True)
        return rows

    def network(self, arm, step):
        """An arm's network in the state of a checkpoint."""
        saved, state = open_tensors(self.root / f"checkpoints/step-{step:09d}/{arm}.safetensors"), self.arms[arm].state
        for group, named in (("weights", state.named_weights()), ("buffers", state.named_buffers())):
            for name, tensor in named.items():
                tensor.copy_(torch.from_numpy(saved[f"{group}.{name}"].copy()))
        return self.arms[arm].network.train()

    def state(self, arm, step):
        """Parameters and buffers by name, in the network's order."""
        network = self.network(arm, step)
        tensors = [*network.named_parameters(), *network.named_buffers()]
        return {name: tensor.detach().numpy().copy() for name, tensor in tensors}

    def weights(self, arm, step):
        """One flat vector per parameter."""
        return [parameter.detach().numpy().flatten() for parameter in self.network(arm, step).parameters()]

    def moved(self, arm, step, other, then):
        return norms([w - v for w, v in zip(self.weights(arm, step), self.weights(other, then), strict=True)])

    def labels(self, labelling, step):
        return self.train.labels(labelling)[self.batch(step).ids]

    def forward(self, arm, step):
        """z, own loss, its gradient per parameter, and what every batch-norm saw, of the training forward."""
        seen, network = {}, self.network(arm, step)
        batch_norms = [(name, m) for name, m in network.named_modules() if hasattr(m, "running_mean")]
        hooks = [m.register_forward_pre_hook(lambda _, x, n=n: seen.update({n: x[0].detach()})) for n, m in batch_norms]
        _, z = network(self.batch(step).pixels)
        for hook in hooks:
            hook.remove()
        objective, labelling, temperature = OBJECTIVES[COPIED[arm]]
        loss = contrast(z, self.labels(labelling, step), temperature)[objective]
        return z.detach(), loss.item(), torch.autograd.grad(loss, list(network.parameters())), seen

    def contrast(self, arm, step, labelling, temperature):
        return contrast(self.forward(arm, step)[0], self.labels(labelling, step), temperature)

    def embedded(self, arm, step, pixels):
        with torch.no_grad():
            return self.network(arm, step).eval()(pixels)

    def link(self, step):
        """The chain before `step`."""
        if step == 0:
            return sha(sha(b"".join(n.encode() + b"\0" + v.tobytes() for n, v in self.state("cl", 0).items())))
        ids, drawn = (sha_of(value) for value in (self.batch(step - 1).ids, self.batch(step - 1).words))
        return sha(self.link(step - 1) + ids + drawn + struct.pack("<d", rate(step - 1)))


def first_ids(purpose, n, size):
    """The first `size` ids in the order of their 64-bit keys under seed 0, ascending."""
    keys = words(0, purpose, 4 * n).view(n, 4)[:, :2].tolist()
    return torch.tensor(sorted(sorted(range(n), key=keys.__getitem__)[:size]))


def rate(step):
    return 0.3 * 0.5 * (1 + math.cos(math.pi * step / STEPS))


def contrast(z, labels, temperature):
    """Both losses, their gap, same-class mass and skipped anchors: anchor by anchor as the papers define them."""
    e, nothing = (z @ z.T / temperature).exp(), z.sum() * 0
    dcl, nscl, mass = [], [], []
    for i in range(2 * B):
        others = [j for j in range(2 * B) if j % B != i % B]
        different = [j for j in others if labels[j % B] != labels[i % B]]
        positive = e[i, (i + B) % (2 * B)]
        dcl.append((e[i, others].sum() / positive).log())
        nscl.append((e[i, different].sum() / positive).log() if different else None)
        mass.append(1 - e[i, different].sum() / e[i, others].sum())
    kept = [i for i in range(2 * B) if nscl[i] is not None]
    return {
        "dcl": sum(dcl) / (2 * B),
        "nscl": sum((nscl[i] for i in kept), nothing) / (2 * B),
        "gap": sum(dcl[i] - nscl[i] for i in kept) / len(kept) if kept else math.nan,
        "mass": sum(mass[i] for i in kept) / len(kept) if kept else math.nan,
        "skipped": 2 * B - len(kept),
    }


def sha(data):
    return hashlib.sha256(data).digest()


def sha_of(values):
    return sha(np.array(values.shape, "<i8").tobytes() + values.numpy().astype("<i8").tobytes())


def octets(data):
    return np.frombuffer(data, np.uint8)


def norms(vectors):
    return np.array([math.hypot(*np.asarray(v).ravel().tolist()) for v in vectors])


def weight_gap(t, arm, step):
    names = [name for name, _ in t.arms[arm].network.named_parameters()]
    counted = [name.startswith("encoder.") and not name.endswith("bias") for name in names]
    own, anchor = norms(t.weights(arm, step)), norms(t.weights(ANCHOR[arm], step))
    return (2 * t.moved(arm, step, ANCHOR[arm], step) / (own + anchor))[counted].mean()


def angles(t, arm, step):
    """Twice the angle that half a chord of the unit sphere subtends; NaN for a layer of zeros."""
    with np.errstate(invalid="ignore"):
        own, anchor = ([w / np.linalg.norm(w) for w in t.weights(name, step)] for name in (arm, ANCHOR[arm]))
    return 2 * np.arcsin(norms([u - v for u, v in zip(own, anchor, strict=True)]) / 2)


def own(measure):
    """A measure of every labelling, at the arm's own temperature."""
    return lambda t, arm, step, labelling: t.contrast(arm, step, labelling, OBJECTIVES[COPIED[arm]][2])[measure]


def loss_of(t, arm, step, other):
    objective, labelling, temperature = OBJECTIVES[other]
    return t.contrast(arm, step, labelling, temperature)[objective]


def pixel_digests(t, step):
    digests = [hashlib.blake2b(view.tobytes(), digest_size=16).digest() for view in t.batch(step).pixels.numpy()]
    return octets(b"".join(digests)).reshape(-1, 16)


# (stream, whose, column without its labelling or arm) → the column's value, and its tolerance: the same bytes, ten
# digits, or 1e-10 radians for angles, which may be 1e-16.
BYTES, DIGITS, RADIANS = None, {"rtol": 1e-10, "atol": 0}, {"rtol": 0, "atol": 1e-10}
ORACLES = {
    ("scalars", "arm", "batch.loss"): (lambda t, arm, step: t.forward(arm, step)[1], DIGITS),
    ("scalars", "arm", "batch.loss_of"): (loss_of, DIGITS),
    ("scalars", "arm", "batch.gap"): (own("gap"), DIGITS),
    ("scalars", "arm", "batch.mass"): (own("mass"), DIGITS),
    ("scalars", "arm", "batch.skipped"): (own("skipped"), DIGITS),
    ("scalars", "arm", "state.norm"): (lambda t, arm, step: math.hypot(*norms(t.weights(arm, step))), DIGITS),
    ("scalars", "arm", "state.distance"): (
        lambda t, arm, step: math.hypot(*t.moved(arm, step, ANCHOR[arm], step)),
        DIGITS,
    ),
    ("scalars", "arm", "state.weight_gap"): (weight_gap, DIGITS),
    ("scalars", "shared", "batch.learning_rate"): (lambda t, step: rate(step), DIGITS),
    ("scalars", "shared", "batch.ids_digest"): (lambda t, step: octets(sha_of(t.batch(step).ids)), BYTES),
    ("scalars", "shared", "batch.draws_digest"): (lambda t, step: octets(sha_of(t.batch(step).words)), BYTES),
    ("scalars", "shared", "batch.chain"): (lambda t, step: octets(t.link(step + 1)), BYTES),
    ("layers", "arm", "state.norm"): (lambda t, arm, step: norms(t.weights(arm, step)), DIGITS),
    ("layers", "arm", "state.distance"): (lambda t, arm, step: t.moved(arm, step, ANCHOR[arm], step), DIGITS),
    ("layers", "arm", "state.angle"): (angles, RADIANS),
    ("layers", "arm", "batch.gradient_norm"): (lambda t, arm, step: norms(t.forward(arm, step)[2]), DIGITS),
    ("layers", "arm", "update.norm"): (lambda t, arm, step: t.moved(arm, step + 1, arm, step), DIGITS),
    ("similarity", "arm", "batch.z"): (lambda t, arm, step: t.forward(arm, step)[0], BYTES),
    ("similarity", "shared", "batch.ids"): (lambda t, step: t.batch(step).ids, BYTES),
    ("similarity", "shared", "batch.visits"): (lambda t, step: t.batch(step).visits, BYTES),
    ("similarity", "shared", "batch.labels"): (lambda t, step, y: t.labels(y, step), BYTES),
    ("panel", "arm", "state.h"): (lambda t, arm, step: t.embedded(arm, step, t.panel_pixels)[0], BYTES),
    ("panel", "arm", "state.z"): (lambda t, arm, step: t.embedded(arm, step, t.panel_pixels)[1], BYTES),
    ("panel", "shared", "fixed.ids"): (lambda t, _: t.panel_ids, BYTES),
    ("panel", "shared", "fixed.labels"): (lambda t, _, y: t.test.labels(y)[t.panel_ids], BYTES),
    ("surrogate", "arm", "state.z"): (lambda t, arm, step: t.embedded(arm, step, t.surrogate_pixels)[1], BYTES),
    ("surrogate", "shared", "fixed.ids"): (lambda t, _: t.surrogate_ids, BYTES),
    ("surrogate", "shared", "fixed.labels"): (lambda t, _, y: t.train.labels(y)[t.surrogate_ids], BYTES),
    ("surrogate", "shared", "fixed.draws"): (lambda t, _: t.draws, BYTES),
    ("pixels", "shared", "batch.pixels_digest"): (pixel_digests, BYTES),
}
COLUMNS = [(s, o, c) for s, owners in train_layout(config_in("unused")).items() for o in owners for c in owners[o]]


def oracle_of(stream, owner, column):
    """The key of a column's oracle, and the labelling or arm in its name, if any."""
    group, name, *argument = column.split(".", 2)
    return (stream, "shared" if owner == "shared" else "arm", f"{group}.{name}"), argument


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    return Truth(tmp_path_factory.mktemp("runs"))


@pytest.mark.parametrize(("stream", "owner", "column"), COLUMNS)
def test_every_recorded_column_is_what_it_is_defined_as(truth, stream, owner, column):
    key, argument = oracle_of(stream, owner, column)
    oracle, tolerance = ORACLES[key]
    rows = truth.recorded(stream, owner, column)
    steps = {"state": [0, 1, 2, 3], "batch": [0, 1, 2], "update": [0, 1, 2], "fixed": [None] * 4}
    assert [step for step, _ in rows] == steps[column.partition(".")[0]]
    for step, row in rows:
        whose = [] if owner == "shared" else [owner]
        expected = np.asarray(oracle(truth, *whose, step, *argument))
        if tolerance is BYTES:
            assert (row.dtype, row.shape, row.tobytes()) == (expected.dtype, expected.shape, expected.tobytes())
        else:
            np.testing.assert_allclose(row, expected, **tolerance, strict=row.dtype == expected.dtype)


def test_every_oracle_is_of_a_recorded_column():
    assert {oracle_of(*column)[0] for column in COLUMNS} == set(ORACLES)


def test_the_run_has_a_skipped_batch_and_samples_with_and_without_partners(truth):
    assert [truth.contrast("nscl", step, "size", 0.2)["skipped"] for step in range(3)] == [0, 0, 2 * B]
    counts = [truth.labels("shape", step).bincount() for step in range(3)]
    assert all(1 in count and count.max() > 1 for count in counts)


@pytest.mark.parametrize("arm", COPIED)
def test_running_statistics_move_a_tenth_towards_those_of_every_steps_batch(truth, arm):
    for step in range(STEPS):
        before, after = truth.state(arm, step), truth.state(arm, step + 1)
        for name, x in truth.forward(arm, step)[3].items():
            values = x.transpose(0, 1).flatten(1).numpy()
            for statistic, of in (("mean", values.mean(1)), ("var", values.var(1, ddof=1))):
                buffer = f"{name}.running_{statistic}"
                np.testing.assert_allclose(after[buffer], 0.9 * before[buffer] + 0.1 * of, rtol=1e-10, atol=1e-14)


def test_the_stems_running_mean_after_step_1_is_a_tenth_of_its_batchs(truth):
    stem = F.conv2d(truth.batch(0).pixels, torch.from_numpy(truth.state("cl", 0)["encoder.stem.weight"]), padding=1)
    expected = 0.9 * 0 + 0.1 * stem.mean((0, 2, 3)).numpy()
    # From 0: rounding is of the size of the stem's outputs, not of their mean.
    np.testing.assert_allclose(truth.state("cl", 1)["encoder.bn.running_mean"], expected, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize(
    ("name", "signs"),
    [("encoder.stem.weight", [1, -1, 1, 1, 1, -1, -1, -1]), ("projector.linear1.weight", [-1, 1, -1, -1, 1, 1, 1, -1])],
)
def test_the_signs_of_a_nudge_are_those_of_its_address(truth, name, signs):
    nudged, start = (truth.state(arm, 0)[name].ravel() for arm in ("nudged", "nscl"))
    assert np.sign(nudged - start)[:8].tolist() == signs
