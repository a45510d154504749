"""Every recorded column against its definition, recomputed from the checkpoint of the same step.

A new column needs a line in `ORACLES`; in float64 a repeated computation has equal bytes, a literal formula ten digits.
"""

import hashlib
import math
from functools import cache

import numpy as np
import pytest
import torch
from helpers import tiny
from torch.nn.modules.module import register_module_forward_pre_hook

from coupled import data
from coupled.address import Purpose, words
from coupled.arms.initial import build_arms
from coupled.driver.train import train
from coupled.inputs.source import Source
from coupled.recording.layout import STREAMS, train_layout
from coupled.store import open_tensors

pytestmark = pytest.mark.kernels
CPU, B, STEPS = torch.device("cpu"), 12, 3
ARMS = ("cl", "nscl", "positive", "ce", "nudged", "independent", "placebo")
OBJECTIVE = dict(zip(ARMS, ("dcl", "nscl", "nscl_positive", "ce", "nscl", "dcl", "nscl"), strict=True))
LABELLING = dict(zip(ARMS, ("size", "shape", "shape", "size", "shape", "size", "shape"), strict=True))
TEMPERATURE = dict(zip(ARMS, (0.5, 0.2, 0.3, 0.5, 0.2, 0.5, 0.2), strict=True))
REFERENCE = dict(zip(ARMS[1:], ("cl", "cl", "cl", "nscl", "cl", "cl"), strict=True))
RATES = [0.3 * 0.5 * (1 + math.cos(math.pi * step / STEPS)) for step in range(STEPS)]


def config_in(folder):
    own = {
        arm: {"objective": OBJECTIVE[arm].split("_")[0], "labelling": LABELLING[arm], "temperature": TEMPERATURE[arm]}
        for arm in ("cl", "nscl", "positive", "ce")
    }
    own["positive"]["positive_in_denominator"] = True
    return tiny(
        folder,
        seed=843,  # all samples of the batch at step 2 have one size: every anchor is skipped there
        batches={"size": B},
        panel={"size": 16, "surrogate_size": 4, "stages": True},
        train={"steps": STEPS, "precision": "float64"},
        checkpoints={"keep": {"every": 1}},
        record={stream: {"every": 1} for stream in STREAMS if stream != "ledger"},
        arms={
            **own,
            "nudged": {"kind": "nudged", "of": "nscl"},
            "independent": {"kind": "independent"},
            "placebo": {"kind": "placebo", "of": "nscl", "draw": 2},
        },
    )


class Truth:
    """A finished run, and what its checkpoints, its batches and the definitions say of a step (and arm, and name)."""

    def __init__(self, folder):
        config = config_in(folder)
        self.root, self.arms = train(config), build_arms(config, CPU)
        self.train, self.test = (data.load("shapes", split, seed=0, root="") for split in ("train", "test"))
        source = Source(config, self.train, ["size", "shape"], CPU)
        self.batch, self.forward, self.contrast = cache(source.at), cache(self.forward), cache(self.contrast)
        self.panel_ids = first_ids(Purpose.PANEL, len(self.test), config.panel.size)
        self.surrogate_ids = ids = first_ids(Purpose.SURROGATE, len(self.train), config.panel.surrogate_size)
        self.draws = torch.stack([words(0, Purpose.SURROGATE_VIEW, 32, a=ids, c=view) for view in (0, 1)])
        self.panel_pixels = source.plain(self.test, self.panel_ids)
        self.surrogate_pixels = source.pixels(ids, self.draws)

    def recorded(self, stream, owner, column):
        """[(step, row)] over all shards; a fixed column has a row in every shard, of no step."""
        folder, group = self.root / "records" / stream / owner, column.partition(".")[0]
        shards = [open_tensors(path) for path in sorted(folder.iterdir())]
        if group == "fixed":
            return [(None, shard[column]) for shard in shards]
        return [row for s in shards if column in s for row in zip(s[f"{group}.step"].tolist(), s[column], strict=True)]

    def network(self, arm, step):
        """An arm's network in the state of a checkpoint, in training mode."""
        saved = open_tensors(self.root / f"checkpoints/step-{step:09d}/{arm}.safetensors")
        named = {name.partition(".")[2]: torch.from_numpy(saved[name].copy()) for name in saved if name[:5] != "optim"}
        self.arms[arm].network.load_state_dict(named)
        return self.arms[arm].network.train()

    def state(self, arm, step):
        """Parameters, then buffers, by name."""
        network = self.network(arm, step)
        return {n: t.detach().numpy().copy() for n, t in [*network.named_parameters(), *network.named_buffers()]}

    def weights(self, arm, step):
        return [parameter.detach().numpy().flatten() for parameter in shared(self.network(arm, step)).values()]

    def moved(self, arm, step, other, then):
        return norms([w - v for w, v in zip(self.weights(arm, step), self.weights(other, then), strict=True)])

    def cosine(self, arm, step):
        """Of w_t − w_0 of an arm and of its reference; NaN at step 0, where neither has moved."""
        own, other = (
            np.concatenate(self.weights(name, step)) - np.concatenate(self.weights(name, 0))
            for name in (arm, REFERENCE[arm])
        )
        return own @ other / (np.linalg.norm(own) * np.linalg.norm(other)) if step else math.nan

    def weight_gap(self, arm, step):
        """Mean of ‖w−v‖ / ½(‖w‖+‖v‖) over the encoder's convolutions and batch-norm scales."""
        names = shared(self.network(arm, step))
        counted = [name.startswith("encoder.") and not name.endswith("bias") for name in names]
        own, reference = (norms(self.weights(name, step))[counted] for name in (arm, REFERENCE[arm]))
        return (self.moved(arm, step, REFERENCE[arm], step)[counted] / ((own + reference) / 2)).mean()

    @np.errstate(invalid="ignore", divide="ignore")
    def angles(self, arm, step):
        """Twice the angle that half a chord of the unit sphere subtends; NaN for a layer of zeros."""
        pairs = zip(self.weights(arm, step), self.weights(REFERENCE[arm], step), strict=True)
        return 2 * np.arcsin(norms([w / norms([w]) - v / norms([v]) for w, v in pairs]) / 2)

    def labels(self, step, labelling):
        return self.train.labels(labelling)[self.batch(step).ids]

    def permuted(self, step):
        """The placebo's labels of a batch: the k-th sample has that of the one with the k-th smallest 64-bit key."""
        keys = words(843, Purpose.PLACEBO, 4 * B, a=step, b=2).view(B, 4)[:, :2].tolist()
        return self.labels(step, "shape")[sorted(range(B), key=keys.__getitem__)]

    def under_permuted(self, arm, step):
        return contrast(self.forward(arm, step)[0], self.permuted(step), TEMPERATURE[arm])

    def forward(self, arm, step):
        """z, own loss, its gradient by parameter, and the input of every module, of the training forward."""
        seen, network = {}, self.network(arm, step)
        with register_module_forward_pre_hook(lambda module, given: seen.update({module: given[0].detach()})):
            _, z = network(self.batch(step).pixels)
        labels = self.permuted(step) if arm == "placebo" else self.labels(step, LABELLING[arm])
        if arm == "ce":
            scores = (z @ network.head.weight.T + network.head.bias).exp()
            loss = -sum((scores[i, labels[i % B]] / scores[i].sum()).log() for i in range(2 * B)) / (2 * B)
        else:
            loss = contrast(z, labels, TEMPERATURE[arm])[OBJECTIVE[arm]]
        return z.detach(), loss.item(), torch.autograd.grad(loss, list(shared(network).values())), seen

    def contrast(self, arm, step, labelling, other):
        """What one arm's z says under a labelling and another arm's temperature."""
        return contrast(self.forward(arm, step)[0], self.labels(step, labelling), TEMPERATURE[other])

    def embedded(self, arm, step, pixels):
        return [value.detach() for value in self.network(arm, step).eval()(pixels)]

    def stage(self, arm, step, number):
        """The spatial mean of what a stage gives."""
        network, seen = self.network(arm, step).eval(), []
        hook = network.encoder.stages[int(number)].register_forward_hook(lambda _module, _given, out: seen.append(out))
        network(self.panel_pixels)
        hook.remove()
        return seen[0].detach().mean((2, 3))

    def signs(self, arm, step):
        """Which inputs of every activation are above 0, place by place."""
        network, seen = self.network(arm, step).eval(), []
        activations = [module for module in network.modules() if type(module).__name__ == "Activation"]
        hooks = [m.register_forward_pre_hook(lambda m, given: seen.append((m, given[0] > 0))) for m in activations]
        network(self.panel_pixels)
        for hook in hooks:
            hook.remove()
        return [torch.cat([on.flatten() for module, on in seen if module is each]) for each in activations]

    def flipped(self, arm, step):
        pairs = zip(self.signs(arm, step), self.signs(REFERENCE[arm], step), strict=True)
        return np.array([int((own != other).sum()) for own, other in pairs])

    def chain(self, step):
        initial = b"".join(name.encode() + b"\0" + tensor.tobytes() for name, tensor in self.state("cl", 0).items())
        before, batch = self.chain(step - 1) if step else sha(sha(initial)), self.batch(step)
        return sha(before + sha_of(batch.ids) + sha_of(batch.words) + np.array(RATES[step], "<f8").tobytes())

    def pixel_digests(self, step):
        return b"".join(hashlib.blake2b(v.tobytes(), digest_size=16).digest() for v in self.batch(step).pixels.numpy())


def shared(network):
    """The parameters that every arm has: all but a head's."""
    return {name: parameter for name, parameter in network.named_parameters() if not name.startswith("head.")}


def first_ids(purpose, n, size):
    """The first `size` ids in the order of their 64-bit keys under seed 0, ascending."""
    keys = words(0, purpose, 4 * n).view(n, 4)[:, :2].tolist()
    return torch.tensor(sorted(sorted(range(n), key=keys.__getitem__)[:size]))


def contrast(z, labels, temperature):
    """Both losses, their gap, same-class mass and skipped anchors: anchor by anchor: docs/theory.md (4) to (13)."""
    e, A = (z @ z.T / temperature).exp(), 2 * B
    dcl, nscl, gap, mass, nscl_positive, gap_positive, mass_positive = [], [], [], [], [], [], []
    for i in range(A):
        others = [j for j in range(A) if j % B != i % B]
        same = [j for j in others if labels[j % B] == labels[i % B]]
        different = [j for j in others if j not in same]
        positive = e[i, (i + B) % A]
        dcl.append((e[i, others].sum() / positive).log())
        nscl_positive.append(((e[i, different].sum() + positive) / positive).log())
        gap_positive.append(((e[i, others].sum() + positive) / positive).log() - nscl_positive[i])
        mass_positive.append(e[i, same].sum() / (e[i, others].sum() + positive))
        if different:
            nscl.append((e[i, different].sum() / positive).log())
            gap.append(dcl[i] - nscl[-1])
            mass.append(e[i, same].sum() / e[i, others].sum())
    kept = len(nscl) or math.nan
    means = {"dcl": sum(dcl) / A, "nscl": sum(nscl) / A, "gap": sum(gap) / kept, "mass": sum(mass) / kept}
    whole = {"nscl_positive": nscl_positive, "gap_with_positive": gap_positive, "mass_with_positive": mass_positive}
    return {**means, **{name: sum(values) / A for name, values in whole.items()}, "skipped": A - len(nscl)}


def norms(vectors):
    return np.array([np.sqrt((np.asarray(v) ** 2).sum()) for v in vectors])


def sha(data):
    return hashlib.sha256(data).digest()


def sha_of(values):
    return sha(np.array(values.shape, "<i8").tobytes() + values.numpy().astype("<i8").tobytes())


# Stream, whose, column without the labelling or arm in its name → value and tolerance; some angles are 1e-16.
BYTES, DIGITS, RADIANS = None, {"rtol": 1e-10, "atol": 0}, {"rtol": 0, "atol": 1e-10}
ORACLES = {
    "scalars arm batch.loss": (lambda t, arm, step: t.forward(arm, step)[1], DIGITS),
    "scalars arm batch.loss_of": (lambda t, arm, step, o: t.contrast(arm, step, LABELLING[o], o)[OBJECTIVE[o]], DIGITS),
    "scalars arm batch.gap": (lambda t, arm, step, y: t.contrast(arm, step, y, arm)["gap"], DIGITS),
    "scalars arm batch.mass": (lambda t, arm, step, y: t.contrast(arm, step, y, arm)["mass"], DIGITS),
    "scalars arm batch.gap_with_positive": (
        lambda t, arm, step, y: t.contrast(arm, step, y, arm)["gap_with_positive"],
        DIGITS,
    ),
    "scalars arm batch.mass_with_positive": (
        lambda t, arm, step, y: t.contrast(arm, step, y, arm)["mass_with_positive"],
        DIGITS,
    ),
    "scalars arm batch.skipped": (lambda t, arm, step, y: t.contrast(arm, step, y, arm)["skipped"], DIGITS),
    **{
        f"scalars arm batch.permuted_{name}": (
            lambda t, arm, step, name=name: t.under_permuted(arm, step)[name],
            DIGITS,
        )
        for name in ("gap", "mass", "skipped", "gap_with_positive", "mass_with_positive")
    },
    "scalars arm state.norm": (lambda t, arm, step: math.hypot(*norms(t.weights(arm, step))), DIGITS),
    "scalars arm state.distance": (lambda t, arm, step: math.hypot(*t.moved(arm, step, REFERENCE[arm], step)), DIGITS),
    "scalars arm state.weight_gap": (Truth.weight_gap, DIGITS),
    "scalars shared batch.learning_rate": (lambda t, step: RATES[step], DIGITS),
    "scalars shared batch.ids_digest": (lambda t, step: sha_of(t.batch(step).ids), BYTES),
    "scalars shared batch.draws_digest": (lambda t, step: sha_of(t.batch(step).words), BYTES),
    "scalars shared batch.chain": (Truth.chain, BYTES),
    "layers arm state.norm": (lambda t, arm, step: norms(t.weights(arm, step)), DIGITS),
    "layers arm state.distance": (lambda t, arm, step: t.moved(arm, step, REFERENCE[arm], step), DIGITS),
    "layers arm state.angle": (Truth.angles, RADIANS),
    "layers arm batch.gradient_norm": (lambda t, arm, step: norms(t.forward(arm, step)[2]), DIGITS),
    "layers arm update.norm": (lambda t, arm, step: t.moved(arm, step + 1, arm, step), DIGITS),
    "motion arm state.moved": (lambda t, arm, step: math.hypot(*t.moved(arm, step, arm, 0)), DIGITS),
    "motion arm state.layer_moved": (lambda t, arm, step: t.moved(arm, step, arm, 0), DIGITS),
    "motion arm state.cosine": (Truth.cosine, DIGITS),
    "similarity arm batch.z": (lambda t, arm, step: t.forward(arm, step)[0], BYTES),
    "similarity shared batch.ids": (lambda t, step: t.batch(step).ids, BYTES),
    "similarity shared batch.visits": (lambda t, step: t.batch(step).visits, BYTES),
    "similarity shared batch.labels": (Truth.labels, BYTES),
    "panel arm state.h": (lambda t, arm, step: t.embedded(arm, step, t.panel_pixels)[0], BYTES),
    "panel arm state.z": (lambda t, arm, step: t.embedded(arm, step, t.panel_pixels)[1], BYTES),
    "panel arm state.stage": (Truth.stage, DIGITS),
    "panel shared fixed.ids": (lambda t, _: t.panel_ids, BYTES),
    "panel shared fixed.labels": (lambda t, _, y: t.test.labels(y)[t.panel_ids], BYTES),
    "surrogate arm state.z": (lambda t, arm, step: t.embedded(arm, step, t.surrogate_pixels)[1], BYTES),
    "surrogate shared fixed.ids": (lambda t, _: t.surrogate_ids, BYTES),
    "surrogate shared fixed.labels": (lambda t, _, y: t.train.labels(y)[t.surrogate_ids], BYTES),
    "surrogate shared fixed.draws": (lambda t, _: t.draws, BYTES),
    "flips arm state.flipped": (Truth.flipped, BYTES),
    "flips shared fixed.units": (lambda t, _: np.array([len(on) // 16 for on in t.signs("cl", 0)]), BYTES),
    "pixels shared batch.pixels_digest": (Truth.pixel_digests, BYTES),
}
RECORDED_AT = {"state": [0, 1, 2, 3], "batch": [0, 1, 2], "update": [0, 1, 2], "fixed": [None] * 4}
# Those of the ledger are in test_ledger.
LAYOUT = {stream: owners for stream, owners in train_layout(config_in("unused")).items() if stream != "ledger"}
COLUMNS = [(s, o, c) for s, owners in LAYOUT.items() for o in owners for c in owners[o]]


def oracle_of(stream, owner, column):
    """The key of a column's oracle, and the labelling or arm in the column's name, if any."""
    group, name, *argument = column.split(".", 2)
    return f"{stream} {'shared' if owner == 'shared' else 'arm'} {group}.{name}", argument


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    made = Truth(tmp_path_factory.mktemp("runs"))
    assert [made.contrast("cl", step, "size", "cl")["skipped"] for step in range(STEPS)] == [0, 0, 2 * B]
    return made


@pytest.mark.parametrize(("stream", "owner", "column"), COLUMNS)
def test_every_recorded_column_is_what_it_is_defined_as(truth, stream, owner, column):
    key, argument = oracle_of(stream, owner, column)
    oracle, tolerance = ORACLES[key]
    rows = truth.recorded(stream, owner, column)
    assert [step for step, _ in rows] == RECORDED_AT[column.partition(".")[0]]
    for step, row in rows:
        value = oracle(truth, *([] if owner == "shared" else [owner]), step, *argument)
        expected = np.frombuffer(value, "u1").reshape(row.shape) if isinstance(value, bytes) else np.asarray(value)
        if tolerance is BYTES:
            assert (row.dtype, row.shape, row.tobytes()) == (expected.dtype, expected.shape, expected.tobytes())
        else:
            np.testing.assert_allclose(row, expected, **tolerance)


def test_every_oracle_is_of_a_recorded_column():
    assert {oracle_of(*column)[0] for column in COLUMNS} == set(ORACLES)


@pytest.mark.parametrize("arm", OBJECTIVE)
def test_running_statistics_start_at_0_and_1_and_move_a_tenth_towards_those_of_every_steps_batch(truth, arm):
    for step in range(STEPS):
        before, after, seen = truth.state(arm, step), truth.state(arm, step + 1), truth.forward(arm, step)[3]
        for name, module in [(n, m) for n, m in truth.arms[arm].network.named_modules() if hasattr(m, "running_mean")]:
            values = seen[module].transpose(0, 1).flatten(1).numpy()
            for buffer, of, start in (("mean", values.mean(1), 0), ("var", values.var(1, ddof=1), 1)):
                old, new = (state[f"{name}.running_{buffer}"] for state in (before, after))
                assert step or (old == start).all()
                np.testing.assert_allclose(new, 0.9 * old + 0.1 * of, rtol=1e-10, atol=1e-14)  # sums that may cancel


def test_the_signs_of_a_nudge_are_those_of_its_address(truth):
    nudged, start = (truth.state(arm, 0) for arm in ("nudged", "nscl"))
    signs = {name: np.sign(nudged[name] - start[name]).ravel()[:8].tolist() for name in start}
    assert signs["encoder.stem.weight"] == [1, -1, 1, 1, 1, -1, -1, -1]  # Philox: purpose 6, a = the name, b = 1
    assert signs["projector.linear1.weight"] == [-1, 1, -1, -1, 1, 1, 1, -1]
