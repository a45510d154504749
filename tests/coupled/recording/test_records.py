"""What a run wrote, against what it can be recomputed from."""

import hashlib
import json
import struct

import numpy as np
import pytest
import torch
from helpers import tiny

from coupled import data, views
from coupled.address import Purpose, words
from coupled.arms.initial import build_arms
from coupled.arms.network import meta_network
from coupled.driver.assembly import assemble
from coupled.driver.train import train
from coupled.inputs.source import Source
from coupled.planning.plan import plan
from coupled.recording import schedule
from coupled.recording.layout import train_layout
from coupled.recording.run_json import describe
from coupled.store import open_tensors
from coupled.theory.learning_rate import learning_rate

pytestmark = pytest.mark.kernels
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return tiny(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def run(config):
    return train(config)


def shards(run, stream, owner):
    return [open_tensors(p) for p in sorted((run / "records" / stream / owner).glob("*.safetensors"))]


def column(run, stream, owner, name):
    return np.concatenate([shard[name] for shard in shards(run, stream, owner) if name in shard])


def integers_sha(values):
    return hashlib.sha256(np.array(values.shape, "<i8").tobytes() + values.astype("<i8").tobytes()).digest()


def test_the_chain_can_be_recomputed_from_ids_addresses_and_rates(run, config):
    facts = json.loads((run / "run.json").read_text())
    link = hashlib.sha256(bytes.fromhex(facts["certificate"]["initial_weights"])).digest()
    ids, visits = (column(run, "similarity", "shared", f"batch.{name}") for name in ("ids", "visits"))
    for step in range(6):
        drawn = [
            words(
                config.seed, Purpose.VIEW, 32, a=torch.tensor(ids[step]), b=torch.tensor(visits[step]), c=view
            ).numpy()
            for view in (0, 1)
        ]
        rate = learning_rate(config.optimiser, step, config.batches.size)
        link = hashlib.sha256(
            link + integers_sha(ids[step]) + integers_sha(np.stack(drawn)) + struct.pack("<d", rate)
        ).digest()
        assert column(run, "scalars", "shared", "batch.chain")[step].tobytes() == link
        assert column(run, "scalars", "shared", "batch.learning_rate")[step] == rate


def test_initial_weights_digest_is_that_of_the_checkpoint_at_step_0(run):
    facts = json.loads((run / "run.json").read_text())
    start, sha = open_tensors(run / "checkpoints/step-000000000/cl.safetensors"), hashlib.sha256()
    names = [f"weights.{layer['name']}" for layer in facts["layers"]]
    for name in [*names, *(n for n in model_order() if n not in names)]:
        sha.update(name.partition(".")[2].encode() + b"\0" + start[name].tobytes())
    assert sha.hexdigest() == facts["certificate"]["initial_weights"]


def model_order():
    network = meta_network(tiny("unused"))
    return [f"weights.{n}" for n, _ in network.named_parameters()] + [
        f"buffers.{n}" for n, _ in network.named_buffers()
    ]


def test_a_checkpoint_is_whole_panel_features_follow_from_it(run, config):
    arm = build_arms(config, CPU)["nscl"]
    saved = open_tensors(run / "checkpoints/step-000000003/nscl.safetensors")
    for group, named in (("weights", arm.state.named_weights()), ("buffers", arm.state.named_buffers())):
        for name, tensor in named.items():
            tensor.copy_(torch.from_numpy(saved[f"{group}.{name}"].copy()))
    test = data.load("shapes", "test", seed=0, root="")
    source = Source(config, data.load("shapes", "train", seed=0, root=""), ["size"], CPU)
    fixed = shards(run, "panel", "shared")[0]
    h, z = arm.embed(source.plain(test, torch.from_numpy(fixed["fixed.ids"].copy())))
    steps = column(run, "panel", "nscl", "state.step").tolist()
    assert column(run, "panel", "nscl", "state.h")[steps.index(3)].tobytes() == h.numpy().tobytes()
    assert column(run, "panel", "nscl", "state.z")[steps.index(3)].tobytes() == z.numpy().tobytes()
    assert (
        fixed["fixed.labels.size"].tolist() == test.labels("size")[torch.from_numpy(fixed["fixed.ids"].copy())].tolist()
    )


def test_recorded_similarity_is_that_of_the_training_forward(run, config):
    made = assemble(tiny(run.parent / "again"))
    assert made is not None
    with made:
        batch = made.source.at(0)
        made.arms["cl"].forward_backward(batch)
    assert column(run, "similarity", "cl", "batch.z")[0].tobytes() == made.arms["cl"].z.numpy().tobytes()
    assert column(run, "scalars", "cl", "batch.loss")[0] == float(made.arms["cl"].loss)


def test_pixel_digests_are_of_each_view_in_batch_order(run, config):
    source = Source(config, data.load("shapes", "train", seed=0, root=""), ["size"], CPU)
    pixels = source.at(1).pixels.numpy()
    steps = column(run, "pixels", "shared", "batch.step").tolist()
    expected = [hashlib.blake2b(view.tobytes(), digest_size=16).digest() for view in pixels]
    assert column(run, "pixels", "shared", "batch.pixels_digest")[steps.index(1)].tobytes() == b"".join(expected)


def test_weight_gap_distance_and_angle_are_those_of_the_checkpoints(run):
    facts = json.loads((run / "run.json").read_text())
    own, reference = (open_tensors(run / f"checkpoints/step-000000006/{arm}.safetensors") for arm in ("nscl", "cl"))
    ratios, squares, angles = [], 0.0, []
    for layer in facts["layers"]:
        w, v = (np.float64(t[f"weights.{layer['name']}"]).ravel() for t in (own, reference))
        squares += ((w - v) ** 2).sum()
        if layer["in_weight_gap"]:
            ratios.append(np.linalg.norm(w - v) / ((np.linalg.norm(w) + np.linalg.norm(v)) / 2))
        angles.append(np.arccos(np.clip(w @ v / np.linalg.norm(w) / np.linalg.norm(v), -1, 1)))
    # Float64 sums in another order; acos itself is good to 1e-8 near 1.
    assert abs(column(run, "scalars", "nscl", "state.weight_gap")[6] - np.mean(ratios)) < 1e-12
    assert abs(column(run, "scalars", "nscl", "state.distance")[6] - squares**0.5) < 1e-12
    assert np.abs(column(run, "layers", "nscl", "state.angle")[6] - angles).max() < 1e-6


def test_the_weight_gap_counts_convolutions_and_bn_scales_of_the_encoder(config):
    counted = {x["name"] for x in describe(config, "", {}, CPU)["layers"] if x["in_weight_gap"]}
    assert {"encoder.stem.weight", "encoder.bn.weight", "encoder.stages.1.shortcut.0.weight"} <= counted
    assert not any(name.startswith("projector") or name.endswith("bias") for name in counted)


def test_panels_are_the_same_for_every_seed_and_their_views_have_addresses(run, tmp_path):
    other = train(tiny(tmp_path, seed=5, train={"steps": 0}))
    for stream in ("panel", "surrogate"):
        a, b = (shards(r, stream, "shared")[0] for r in (run, other))
        assert {n: a[n].tobytes() for n in a} == {n: b[n].tobytes() for n in b}
    fixed = shards(run, "surrogate", "shared")[0]
    ids = torch.from_numpy(fixed["fixed.ids"].copy())
    assert (
        fixed["fixed.draws"][1].tolist() == words(0, Purpose.SURROGATE_VIEW, views.WORDS_PER_VIEW, a=ids, c=1).tolist()
    )


def test_plan_names_the_bytes_that_a_run_writes(run, config):
    made = plan(config)
    for stream, expected in made.streams.items():
        written = sum(
            shard[name].nbytes
            for folder in (run / "records" / stream).glob("*")
            for shard in shards(run, stream, folder.name)
            for name in shard
            if not name.endswith(".step") and not name.startswith("fixed.")
        )
        assert written == expected, stream
    sizes = [sum(f.stat().st_size for f in folder.glob("*.safetensors")) for folder in (run / "checkpoints").iterdir()]
    # Names and offsets of some fifty tensors an arm; the checkpoint of step 0 has no momentum yet.
    assert 0 < max(sizes) - made.checkpoints[1] < 8192 * len(config.arms)
    assert len(sizes) == made.checkpoints[0]


def test_shards_also_close_when_full(monkeypatch, tmp_path, run):
    monkeypatch.setattr(schedule, "SHARD_BYTES", 2 * 2 * 8 * 8 * 4)
    path = train(tiny(tmp_path))
    names = sorted(p.name for p in (path / "records/similarity/cl").iterdir())
    ranges = [(0, 1), (2, 2), (3, 4), (5, 5)]
    assert names == [f"steps-{a:09d}-{b:09d}.safetensors" for a, b in ranges]
    assert column(path, "similarity", "cl", "batch.z").tobytes() == column(run, "similarity", "cl", "batch.z").tobytes()


def test_every_columns_dtype_and_shape_are_those_of_the_layout(run, config):
    for stream, owners in train_layout(config).items():
        for owner, columns in owners.items():
            for shard in shards(run, stream, owner) if columns else []:
                for name in shard:
                    if not name.endswith(".step"):
                        spec, array = columns[name], shard[name]
                        shape = array.shape if name.startswith("fixed.") else array.shape[1:]
                        assert (str(array.dtype), shape) == (spec.dtype, spec.shape)
