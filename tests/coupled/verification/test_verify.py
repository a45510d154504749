"""What `verify` proves, and that each of its checks sees what only it can see: hashes fit in all of these runs."""

import json
import re
import shutil
import signal
import struct
import zlib
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest
from helpers import commit_run_json, recommit, rewrite, tiny

from coupled import runtime
from coupled.cli import main
from coupled.data.fashion_mnist import FashionMnist
from coupled.driver.reporter import Silent
from coupled.driver.resuming import ResumeTerms
from coupled.driver.train import resume, train
from coupled.errors import Preempted, UserError
from coupled.reading.manifest_rules import first_surprise
from coupled.reading.run_json import read_run
from coupled.recording.layout import STREAMS, train_layout
from coupled.store import Entry, Manifest, StoreError, canonical_json, read_manifest
from coupled.store.manifest import parse_line
from coupled.verification import chain, verify
from coupled.verification.rebuilt import Rebuilt


def config_of(folder, **sections):
    arms = {"cl": {"objective": "dcl"}, "nscl": {"objective": "nscl"}, "twin": {"kind": "twin"}}
    base = {"arms": arms, "record": {"pixels": {"every": 2}}, "checkpoints": {"keep": {"steps": [0, 3], "last": True}}}
    return tiny(folder, **{**base, **sections})


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train(config_of(tmp_path_factory.mktemp("verify")))


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


def shard(run, stream, owner, first):
    (found,) = run.glob(f"records/{stream}/{owner}/steps-{first:09d}-*.safetensors")
    return found.relative_to(run).as_posix()


def test_a_good_run_is_verified_in_words_that_name_the_figures(run):
    found = verify(run, replay=2, stretch=2)
    said = "\n".join(found.proven)
    for words in (
        "bytes: ", "through 6 recorded steps (to step 5)", "3 saved states carry", "6 steps (0, 1, 2, 3, 4, 5)",
        "48 views of 3 steps (0, 2, 4)", "panel and surrogate", "twin is at distance 0 from cl at all 7",
        "steps 0 to 2, 3 to 5: all 297 recorded rows",
        "shards hold the",
    ):  # fmt: skip
        assert words in said, words
    assert found.finished and found.unproven == ()
    assert any("floats" in word for word in verify(run).unproven)


def test_the_command_ends_in_a_verdict(run, capsys):
    assert main(["verify", str(run)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"verified: {run} is the run that")
    (run / "records").rename(run / "gone")
    assert main(["verify", str(run)]) == 3
    assert main(["verify", str(run / "nothing")]) == 2
    assert main(["verify", str(run), "--sample", "0"]) == 2


def tensors(run, stream, owner, first, **changes):
    """Columns of a shard changed at one row: column=(row, value) or (row, function of the old row)."""

    def change(found):
        for column, (row, value) in changes.items():
            array = found[f"batch.{column}" if f"batch.{column}" in found else column]
            array[row] = value(array[row]) if callable(value) else value

    rewrite(run, shard(run, stream, owner, first), change)


def flip(values):
    return values ^ 1


def labels(run):
    tensors(run, "similarity", "shared", 3, **{"labels.size": (1, flip)})


def panel_ids(run):
    rewrite(run, shard(run, "panel", "shared", 0), lambda t: t["fixed.ids"].__setitem__(0, t["fixed.ids"][0] + 1))


def draws_of_surrogate(run):
    rewrite(run, shard(run, "surrogate", "shared", 0), lambda t: t["fixed.draws"].__setitem__((0, 0, 0), 7))


def rate(run):
    tensors(run, "scalars", "shared", 3, learning_rate=(0, 0.299))


def twin(run):
    rewrite(run, shard(run, "scalars", "twin", 3), lambda t: t["state.distance"].__setitem__(1, 1e-300))


def column(run):
    rewrite(run, shard(run, "scalars", "cl", 3), lambda t: t.pop("batch.loss"))


def row(run):
    """The last step of every column of a batch, of all arms alike."""
    for owner in ("cl", "nscl", "twin", "shared"):
        rewrite(
            run,
            shard(run, "scalars", owner, 3),
            lambda t: t.update({k: v[:-1] for k, v in t.items() if k.startswith("batch.")}),
        )


def shifted(run):
    rewrite(run, shard(run, "similarity", "cl", 3), lambda t: t["batch.step"].__iadd__(7))


def later_panel(run):
    rewrite(run, shard(run, "panel", "shared", 3), lambda t: t["fixed.labels.size"].__setitem__(2, 5))


def layer_of_twin(run):
    rewrite(run, shard(run, "layers", "twin", 0), lambda t: t["state.distance"].__setitem__((1, 0), np.nan))


def state_of_checkpoint(run, step, **changes):
    name = f"checkpoints/step-{step:09d}/state.json"
    state = json.loads((run / name).read_bytes())
    state["state"] |= changes
    recommit(run, name, canonical_json(state))


def chain_of_checkpoint(run):
    state_of_checkpoint(run, 3, chain="0" * 64)


def initial_weights(run):
    rewrite(run, "checkpoints/step-000000000/nscl.safetensors", one_ulp)


def initial_buffers(run):
    def change(found):
        next(array for name, array in found.items() if name.startswith("buffers.")).flat[0] += 1

    rewrite(run, "checkpoints/step-000000000/cl.safetensors", change)


def one_ulp(found):
    name = next(name for name in found if name.startswith("weights."))
    found[name].flat[0] = np.nextafter(found[name].flat[0], np.float32(np.inf))


def facts(run, **changes):
    """Other facts in run.json, committed so; None takes one away."""
    found = json.loads((run / "run.json").read_bytes()) | changes
    content = {name: value for name, value in found.items() if value is not None}
    (run / "run.json").write_bytes(canonical_json(content) + b"\n")
    commit_run_json(run)


def certificate(run):
    facts(run, certificate={"seed": 0, "initial_weights": "0" * 64})


def another_start(run):
    """A false digest of the initial weights, and a chain that follows from it."""
    facts(run, certificate={"seed": 0, "initial_weights": "0" * 64})
    links = [sha256(bytes(32)).digest()]

    def relink(found):
        for i, rate in enumerate(found["batch.learning_rate"]):
            digests = found["batch.ids_digest"][i].tobytes() + found["batch.draws_digest"][i].tobytes()
            links.append(sha256(links[-1] + digests + struct.pack("<d", rate)).digest())
            found["batch.chain"][i] = np.frombuffer(links[-1], np.uint8)

    for first in (0, 3):
        rewrite(run, shard(run, "scalars", "shared", first), relink)
    for step in (0, 3, 6):
        state_of_checkpoint(run, step, chain=links[step].hex())


def lost_line(run):
    name = shard(run, "layers", "nscl", 3)
    lines = [line for line in (run / "manifest.jsonl").read_bytes().splitlines() if name.encode() not in line]
    (run / name).unlink()
    renumber(run, lines)


def renumber(run, lines):
    entries = [replace(parse_line(line + b"\n"), seq=seq) for seq, line in enumerate(lines)]
    (run / "manifest.jsonl").write_bytes(b"".join(entry.line() for entry in entries))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (rate, "learning rate of step 3"),
        (lambda run: tensors(run, "scalars", "shared", 3, chain=(1, flip)), "chain breaks at step 4"),
        (lambda run: tensors(run, "scalars", "shared", 3, ids_digest=(0, flip)), "chain breaks at step 3"),
        (lambda run: tensors(run, "scalars", "shared", 0, draws_digest=(2, flip)), "chain breaks at step 2"),
        (lambda run: tensors(run, "similarity", "shared", 3, ids=(2, flip)), "batch.ids of step 5"),
        (lambda run: tensors(run, "similarity", "shared", 3, visits=(2, flip)), "batch.visits of step 5"),
        (labels, r"batch.labels.size of step 4"),
        (lambda run: tensors(run, "pixels", "shared", 3, pixels_digest=(0, flip)), "pixels of step 4"),
        (panel_ids, "fixed.ids of the panel"),
        (draws_of_surrogate, "fixed.draws of the surrogate"),
        (twin, "exact twin twin is 1e-300 from cl at step 4"),
        (layer_of_twin, "layers/twin.*exact twin twin is nan from cl at step 1"),
        (chain_of_checkpoint, "step-000000003/state.json: the state at step 3 carries another chain"),
        (lambda run: state_of_checkpoint(run, 3, fingerprint="0" * 64), "state at step 3 has the fingerprint 0000"),
        (initial_weights, "weights.* of arm nscl at step 0 is not what the seed gives"),
        (initial_buffers, "buffers.* of arm cl at step 0 is not what the seed gives"),
        (column, "scalars/cl/.*lacks the column batch.loss"),
        (row, "batch.step holds 3 4, scheduled are 3 4 5"),
        (shifted, "batch.step holds 10 11 12, scheduled are 3 4 5"),
        (later_panel, "fixed.labels.size of the panel"),
        (lambda run: facts(run, certificate=None), "run.json: its certificate is not"),
        (lambda run: facts(run, certificate={"seed": 9, "initial_weights": "0" * 64}), "its certificate is not"),
        (lambda run: facts(run, machine=["any"]), "its machine is not"),
        (lambda run: facts(run, determinism="in every way"), "its determinism is not"),
        (certificate, "state at step 0 carries another chain"),
        (another_start, "run.json: the digest of the initial weights is not that"),
        (lost_line, "the config has shard records/layers/nscl"),
    ],
)
def test_what_hashes_cannot_see_is_seen_and_named(spoil, said, run):
    spoil(run)
    with pytest.raises(StoreError, match=said):
        verify(run)


def z_row(run):
    rewrite(run, shard(run, "similarity", "nscl", 3), lambda t: t["batch.z"].__setitem__((1, 0, 0), 0.25))


def z_of_nothing(run):
    rewrite(run, shard(run, "similarity", "nscl", 3), lambda t: t["batch.z"].__setitem__(1, np.nan))


def trained_weights(run, step=3):
    rewrite(run, f"checkpoints/step-{step:09d}/nscl.safetensors", one_ulp)


def weights_of_nothing(run):
    def change(found):
        next(array for name, array in found.items() if name.startswith("weights."))[...] = np.nan

    rewrite(run, "checkpoints/step-000000003/nscl.safetensors", change)


def last_panel(run):
    rewrite(run, shard(run, "panel", "cl", 6), lambda t: t["state.h"].__setitem__((0, 0, 0), 0.25))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (z_row, "batch.z of similarity/nscl at step 4: the largest difference is"),
        (z_of_nothing, "batch.z of similarity/nscl at step 4: none of its numbers is finite in both"),
        (trained_weights, "nscl at step 3: the largest difference is"),
        (lambda run: trained_weights(run, 6), "of arm nscl at step 6: the largest difference is"),
        (weights_of_nothing, "it is not the same: state.norm of scalars/nscl at step 3|at step 3"),
        (last_panel, "state.h of panel/cl at step 6: the largest difference is"),
    ],
)
def test_only_training_again_sees_another_float(spoil, said, run):
    spoil(run)
    verify(run)
    with pytest.raises(StoreError, match=said):
        verify(run, replay=3)


def test_a_stretch_that_stops_when_trained_again_says_so(run):
    weights_of_nothing(run)
    with pytest.raises(StoreError, match="trained again from step 3, it stops: arm nscl has a non-finite loss"):
        verify(run, replay=3, stretch=1)


def test_another_library_is_named_as_what_may_be_the_cause(run):
    versions = json.loads((run / "run.json").read_bytes())["versions"]
    facts(run, versions=versions | {"torch": "1.0"})
    z_row(run)
    with pytest.raises(StoreError, match=r"other conditions: versions.torch was 1.0"):
        verify(run, replay=3)
    tensors(run, "pixels", "shared", 3, pixels_digest=(0, flip))
    said = verify(run).unproven
    assert any("pixels of step 4 differ here, under other conditions" in word for word in said)
    assert any("floats here: the run was made under other conditions" in word for word in said)


class Snapshot(Silent):
    """Copies the run as it is after 5 updates, at work."""

    def __init__(self, target):
        self.target = target

    def begin(self, run):
        self.source = run.root

    def stepped(self, step):
        if step == 5:
            shutil.copytree(self.source, self.target)


@pytest.fixture(scope="module")
def at_work(tmp_path_factory):
    """A run after 5 steps, and the same run when it was finished."""
    folder = tmp_path_factory.mktemp("work")
    whole = train(
        config_of(folder, writing={"asynchronous": False}, **WAYS["recovery"]), reporter=Snapshot(folder / "early")
    )
    return folder / "early", whole


def test_an_unfinished_run_is_verified_up_to_its_last_commit(at_work, capsys):
    found = verify(at_work[0])
    assert not found.finished and found.reached == 4
    assert main(["verify", str(at_work[0])]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert "up to step 4: it is not finished" in line and "coupled-run resume" in line


def test_what_is_there_but_not_committed_yet_is_said(at_work, tmp_path):
    run = shutil.copytree(at_work[0], tmp_path / "run")
    (run / "records/scalars/cl/steps-000000005-000000005.safetensors.tmp").write_bytes(b"half")
    assert any("is not committed" in word for word in verify(run).unproven)


def test_a_checkpoint_that_a_run_at_work_retires_meanwhile_is_no_damage(at_work, tmp_path):
    run = shutil.copytree(at_work[0], tmp_path / "run")
    newest = run / "checkpoints/step-000000005"
    assert newest.is_dir()

    def go_on(what, done, total):
        shutil.copy(at_work[1] / "manifest.jsonl", run)
        shutil.rmtree(newest, ignore_errors=True)

    verify(run, progress=go_on)
    with pytest.raises(StoreError, match="step-000000005/.*No such file"):
        shutil.copy(at_work[0] / "manifest.jsonl", run)
        verify(run)


class Leave(Silent):
    """Asks the run to stop, as a signal does, after 4 updates."""

    def stepped(self, step):
        if step == 4:
            signal.raise_signal(signal.SIGTERM)


def test_preempted_continued_under_other_conditions_and_extended_a_run_is_verified(tmp_path, monkeypatch):
    with pytest.raises(Preempted):
        train(config_of(tmp_path, optimiser={"horizon": 20}), reporter=Leave())
    path = tmp_path / "tiny"
    state = path / "preempt/step-000000004/state.json"
    good = state.read_bytes()
    assert any("3 saved states carry" in word for word in verify(path).proven)
    text = canonical_json({**json.loads(good[:-10]), "state": {**json.loads(good[:-10])["state"], "chain": "0" * 64}})
    state.write_bytes(b"%s %08x\n" % (text, zlib.crc32(text)))
    with pytest.raises(StoreError, match="preempt.*the state at step 4 carries another chain"):
        verify(path)
    state.write_bytes(good)
    real = runtime.versions()
    monkeypatch.setattr(runtime, "versions", lambda: {**real, "numpy": "9.9"})
    resume(path, terms=ResumeTerms(allow_drift=True))
    resume(path, extend=8)
    monkeypatch.undo()
    said = verify(path, replay=3)
    assert any(f"from step 3 on the run was continued under others: versions.numpy was {real['numpy']}, is 9.9" in word
               for word in said.unproven)  # fmt: skip
    rewrite(path, shard(path, "similarity", "nscl", 3), lambda t: t["batch.z"].__setitem__((2, 0, 0), 0.25))
    with pytest.raises(StoreError, match="nscl at step 5.*other conditions: versions.numpy was 9.9"):
        verify(path, replay=3)


def test_a_drift_is_where_its_step_is(run):
    """In words of the manifest alone: before the checkpoint of its step, or behind what it changed, it cannot be."""
    config, streams = read_run(run)[1], train_layout(read_run(run)[1])
    entries = read_manifest(run / "manifest.jsonl").entries
    (three,) = [entry.seq for entry in entries if entry.kind == "checkpoint" and entry.first == 3]

    def surprise(at, step):
        drift = Entry(0, "drift", step, step, f"drift/step-{step:09d}.json", 2, "0" * 64)
        return first_surprise(config, streams, Manifest((*entries[:at], drift, *entries[at:]), False, 0))

    assert surprise(three + 1, 3) == "" and surprise(three + 1, 4) == ""  # from a checkpoint, and from preempt/
    for at, step in ((three, 3), (three - 1, 3), (three + 1, 2), (three + 1, 9)):
        assert "drift" in surprise(at, step), (at, step)


WAYS = {
    "balanced": {"batches": {"stream": "balanced", "size": 8}},
    "log-spaced": {"record": {"scalars": {"every": 0, "log": 2}, "similarity": {"every": 4}},
                   "checkpoints": {"keep": {"steps": [0, 2, 5]}}},
    "nothing": {"record": {s: {"every": 0, "log": 0, "last": False} for s in STREAMS}},
    "adamw, ce": {"optimiser": {"name": "adamw", "learning_rate": 1e-3}, "arms": {"ce": {"objective": "ce"}}},
    "recovery": {"checkpoints": {"keep": {"steps": [2]}, "recovery": {"every": 1}}},
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("way", ["balanced", "adamw, ce"])
def test_whatever_is_trained_and_recorded_can_be_verified(way, tmp_path):
    assert verify(train(config_of(tmp_path, **WAYS[way])), replay=1, stretch=3).finished


def test_steps_that_are_not_recorded_are_drawn_again_to_join_chain_and_checkpoints(tmp_path, monkeypatch):
    path = train(config_of(tmp_path, **WAYS["log-spaced"]))
    said = "\n".join(verify(path, replay=1, stretch=3).proven)
    assert "through 3 recorded steps (to step 3) and 2 steps that are not recorded" in said
    assert "and 3 saved states carry" in said
    with monkeypatch.context() as patch:
        patch.setattr(chain, "_MOST_DRAWN", 0)
        unproven = verify(path).unproven
        assert any("chain: 2 steps are not recorded and were not drawn again (at most 0 are)" in w for w in unproven)
        assert any("the links that the saved states at 5 carry" in word for word in unproven)
    state_of_checkpoint(path, 5, chain="0" * 64)
    with pytest.raises(StoreError, match="state at step 5 carries another chain"):
        verify(path)


def test_a_run_that_records_nothing_has_the_chain_of_its_checkpoints(tmp_path):
    path = train(config_of(tmp_path, **WAYS["nothing"]))
    found = verify(path, replay=1, stretch=3)
    assert any("through 6 steps that are not recorded and were drawn again" in word for word in found.proven)
    assert any("trained again: steps 0 to 3: all 0 recorded rows" in word for word in found.proven)
    assert any("no step of the stream scalars" in word for word in found.unproven)
    chain_of_checkpoint(path)
    with pytest.raises(StoreError, match="state at step 3 carries another chain"):
        verify(path)


def test_the_steps_that_are_drawn_again_are_the_fingerprints_choice(run):
    found, config, manifest = read_run(run)
    assert config.train.steps == 6
    steps = np.arange(0, 3000, 3)
    chosen = [Rebuilt(run, {**found, "fingerprint": mark}, manifest).sampled(steps, 8, "batches") for mark in "aab"]
    assert chosen[0] == chosen[1] != chosen[2]
    for some in chosen:
        assert len(some) == 8 and some == sorted(set(some) & set(steps.tolist())) and (some[0], some[-1]) == (0, 2997)


def test_a_data_set_that_is_not_here_is_said_and_the_rest_still_checked(tmp_path, monkeypatch):
    config = config_of(
        tmp_path, data={"name": "fashion-mnist", "labelling": "class"}, train={"steps": 2}, views={"size": 28}
    )
    path = train(config)
    assert any(word.startswith("made again") for word in verify(path).proven)
    found = verify(path, data=str(tmp_path / "nowhere"))
    assert any("views: not made again, the data set is not here" in word for word in found.unproven)
    assert any("drawn again: ids, visits, draws of 2 steps" in word for word in found.proven)
    with pytest.raises(UserError, match="needs the data set"):
        verify(path, data=str(tmp_path / "nowhere"), replay=1)
    monkeypatch.setattr(FashionMnist, "fingerprint", lambda self: "0" * 64)
    another = r"views: not made again, the data set is not here \(another is: data.test was [0-9a-f]{64}, is 0000"
    assert any(re.search(another, word) for word in verify(path).unproven)
