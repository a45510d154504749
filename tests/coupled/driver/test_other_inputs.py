"""Arms with other inputs train beside the others, and change nothing of theirs."""

import hashlib
import json

import numpy as np
import pytest
from other_inputs import KINDS, OTHERS, SHARING, config_of

from coupled.config.traits import Inputs
from coupled.driver.assembly import build
from coupled.driver.resuming import restored
from coupled.driver.train import train
from coupled.reading.checkpoints import checkpoints_of
from coupled.recording.layout import Cause, cause, train_layout
from coupled.store import StoreError, open_tensors, read_manifest, read_saved
from coupled.verification.rebuilt import Rebuilt

pytestmark = [pytest.mark.kernels, pytest.mark.slow]
STEPS = 6


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(config_of(tmp_path_factory.mktemp("others")))


@pytest.fixture(scope="module")
def without(tmp_path_factory):
    """The same run without the arms that see other inputs."""
    return train(config_of(tmp_path_factory.mktemp("without"), SHARING))


def column(run, stream, owner, name):
    files = sorted(run.glob(f"records/{stream}/{owner}/*.safetensors"))
    return np.concatenate([file[name] for path in files if name in (file := open_tensors(path))])


def tensors(run, arm, step):
    return dict(open_tensors(run / f"checkpoints/step-{step:09d}/{arm}.safetensors"))


def test_all_begin_with_the_same_weights_and_see_something_else_at_once(run):
    start = tensors(run, "cl", 0)
    for arm in OTHERS:
        assert all(array.tobytes() == start[name].tobytes() for name, array in tensors(run, arm, 0).items())
        assert column(run, "scalars", arm, "state.distance")[0] == 0
    losses = {arm: column(run, "scalars", arm, "batch.loss")[0] for arm in (*SHARING, *OTHERS)}
    assert losses["other"] != losses["cl"] and losses["views"] != losses["nscl"]


def test_a_twin_of_an_arm_with_other_inputs_stays_at_exactly_0(run):
    assert not any(column(run, "scalars", "twin", "state.distance").tobytes())
    assert (
        column(run, "scalars", "twin", "batch.loss").tobytes()
        == column(run, "scalars", "other", "batch.loss").tobytes()
    )
    assert column(run, "scalars", "other", "state.distance")[-1] > 0


def test_what_the_others_leave_is_what_they_leave_alone(run, without):
    """Every shard of theirs and of what they share, and every checkpoint: all but the fingerprint, byte for byte."""
    names = [path.relative_to(without) for path in without.rglob("*.safetensors")]
    assert len(names) > 40
    for name in names:
        alone, beside = open_tensors(without / name), open_tensors(run / name)
        assert alone.keys() == beside.keys(), name
        assert all(alone[key].tobytes() == beside[key].tobytes() for key in alone), name


def test_a_run_without_them_has_one_chain_and_their_columns_nowhere(run, without):
    layout, alone = (train_layout(build_config(path)) for path in (run, without))
    assert list(alone["pixels"]) == ["shared"] and list(layout["pixels"]) == [*OTHERS, "shared"]
    for stream, owners in alone.items():
        assert all(layout[stream][owner] == columns for owner, columns in owners.items())
    states = [
        json.loads((path / "checkpoints/step-000000003/state.json").read_bytes())["state"] for path in (run, without)
    ]
    assert sorted(states[0]["chains"]) == list(KINDS) and "chains" not in states[1]
    assert states[0]["chain"] == states[1]["chain"] not in states[0]["chains"].values()
    certificates = [json.loads((path / "run.json").read_bytes())["certificate"] for path in (run, without)]
    assert certificates[0].pop("inputs") == {"batches-1": ["other", "twin"], "views-3": ["views"]}
    assert certificates[0] == certificates[1]


def build_config(path):
    facts = json.loads((path / "run.json").read_bytes())
    return Rebuilt(path, facts, read_manifest(path / "manifest.jsonl")).config


def test_an_arm_has_on_record_the_batch_that_it_saw(run, tmp_path):
    source = build(config_of(tmp_path)).source
    for arm, inputs in {"other": Inputs("batches", 1), "views": Inputs("views", 3), "shared": None}.items():
        link = hashlib.sha256(
            bytes.fromhex(json.loads((run / "run.json").read_bytes())["certificate"]["initial_weights"])
        )
        link = link.digest()
        for step in range(STEPS):
            batch = source.at(step).of(inputs)
            ids, visits, labels = (column(run, "similarity", arm, f"batch.{name}")[step] for name in COLUMNS)
            assert ids.tobytes() == batch.ids.numpy().tobytes() and visits.tobytes() == batch.visits.numpy().tobytes()
            assert labels.tobytes() == batch.labels["size"].numpy().tobytes()
            digests = [column(run, "scalars", arm, f"batch.{name}_digest")[step].tobytes() for name in ("ids", "draws")]
            assert digests == [digest(values.numpy()) for values in (batch.ids, batch.words)]
            rate = column(run, "scalars", "shared", "batch.learning_rate")[step]
            link = hashlib.sha256(link + b"".join(digests) + rate.astype("<f8").tobytes()).digest()
            assert column(run, "scalars", arm, "batch.chain")[step].tobytes() == link
        pixels = source.at(4).of(inputs).pixels.numpy()
        expected = b"".join(hashlib.blake2b(view.tobytes(), digest_size=16).digest() for view in pixels)
        assert column(run, "pixels", arm, "batch.pixels_digest")[2].tobytes() == expected


COLUMNS = ("ids", "visits", "labels.size")


def digest(values):
    return hashlib.sha256(np.array(values.shape, "<i8").tobytes() + values.astype("<i8").tobytes()).digest()


def test_loss_gap_and_mass_are_of_the_arms_own_batch(run, tmp_path):
    parts = build(config_of(tmp_path))
    batch = parts.source.at(0)
    for name in ("other", "views"):
        arm = parts.arms[name]
        loss = arm.forward(batch).double().item()
        arm.forward_backward(batch)
        assert column(run, "scalars", name, "batch.loss")[0] == loss
        assert column(run, "similarity", name, "batch.z")[0].tobytes() == arm.z.numpy().tobytes()
        assert column(run, "scalars", name, "batch.loss")[0] == arm.loss.double().item()
        own = column(run, "scalars", name, f"batch.loss_of.{'cl' if name == 'other' else 'nscl'}")[0]
        assert own == pytest.approx(arm.loss.item(), rel=1e-5)


def test_a_state_without_the_chains_of_its_kinds_is_refused(run, tmp_path):
    parts = build(config_of(tmp_path))
    entry = checkpoints_of(run, read_manifest(run / "manifest.jsonl"))[3]
    fingerprint = parts.facts["fingerprint"]
    for chains in (
        {},
        {"batches-1": "0" * 64},
        dict.fromkeys((*KINDS, "views-4"), "0" * 64),
        [1],
        dict.fromkeys(KINDS, 0),
    ):
        saved = read_saved(run, entry)
        saved.state["chains"] = chains
        with pytest.raises(StoreError, match="not a state of a run"):
            restored(run, saved, parts.arms, parts.ledger, parts.config, fingerprint)


def test_what_an_arm_sees_is_an_input_where_runs_are_compared():
    for stream, name in (("scalars", "ids_digest"), ("similarity", "labels.size"), ("pixels", "pixels_digest")):
        assert cause(stream, "other", f"batch.{name}") == Cause.INPUTS
    assert cause("scalars", "other", "batch.gap.size") == Cause.OBJECTIVE
    assert cause("scalars", "other", "batch.chain") == Cause.PAST
