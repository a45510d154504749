"""What `verify` proves of a good run, of one at work, and of one that was continued or extended."""

import json
import re
import shutil
import signal
import zlib

import numpy as np
import pytest
from helpers import rewrite
from spoilt import chain_of_checkpoint, config_of, shard, state_of_checkpoint

from coupled import runtime
from coupled.cli import main
from coupled.data.fashion_mnist import FashionMnist
from coupled.driver.reporter import Silent
from coupled.driver.resuming import ResumeTerms
from coupled.driver.train import resume, train
from coupled.errors import Preempted
from coupled.reading.manifest_rules import surprises
from coupled.reading.run_json import read_run
from coupled.recording.layout import STREAMS, train_layout
from coupled.store import Entry, Manifest, StoreError, canonical_json, read_manifest
from coupled.verification import chain, verify
from coupled.verification.rebuilt import Rebuilt


def test_a_good_run_is_verified_in_words_that_name_the_figures(run):
    findings = verify(run, replay=2, stretch=2)
    proven = "\n".join(findings.proven)
    for words in (
        "bytes: ", "through 6 recorded steps (to step 5)", "3 saved states carry", "6 steps (0, 1, 2, 3, 4, 5)",
        "48 views of 3 steps (0, 2, 4)", "panel and surrogate", "twin is at distance 0 from cl at all 7",
        "steps 0 to 2, 3 to 5: all 297 recorded rows",
        "shards hold the",
    ):  # fmt: skip
        assert words in proven, words
    assert findings.finished and findings.unproven == ()
    assert any("floats" in word for word in verify(run).unproven)


def test_the_command_ends_in_a_verdict(run, capsys):
    assert main(["verify", str(run)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"verified: {run} is the run that")
    (run / "records").rename(run / "gone")
    assert main(["verify", str(run)]) == 3
    assert main(["verify", str(run / "nothing")]) == 2
    assert main(["verify", str(run), "--sample", "0"]) == 2


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
    findings = verify(at_work[0])
    assert not findings.finished and findings.reached == 4
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


@pytest.mark.slow
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
    monkeypatch.setattr(runtime, "versions", lambda *_: {**real, "numpy": "9.9"})
    resume(path, terms=ResumeTerms(allow_drift=True))
    resume(path, extend=8)
    monkeypatch.undo()
    findings = verify(path, replay=3)
    assert any(f"from step 3 on the run was continued under others: versions.numpy was {real['numpy']}, is 9.9" in word
               for word in findings.unproven)  # fmt: skip
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
        found = surprises(config, streams, Manifest((*entries[:at], drift, *entries[at:]), False, 0))
        return next((one.reason for one in found), "")

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
    proven = "\n".join(verify(path, replay=1, stretch=3).proven)
    assert "through 3 recorded steps (to step 3) and 2 steps that are not recorded" in proven
    assert "and 3 saved states carry" in proven
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
    findings = verify(path, replay=1, stretch=3)
    assert any("through 6 steps that are not recorded and were drawn again" in word for word in findings.proven)
    assert any("trained again: steps 0 to 3: all 0 recorded rows" in word for word in findings.proven)
    assert any("no step of the stream scalars" in word for word in findings.unproven)
    chain_of_checkpoint(path)
    with pytest.raises(StoreError, match="state at step 3 carries another chain"):
        verify(path)


def test_the_steps_that_are_drawn_again_are_the_fingerprints_choice(run):
    run_json, config, manifest = read_run(run)
    assert config.train.steps == 6
    steps = np.arange(0, 3000, 3)
    chosen = [Rebuilt(run, {**run_json, "fingerprint": mark}, manifest).sampled(steps, 8, "batches") for mark in "aab"]
    assert chosen[0] == chosen[1] != chosen[2]
    for some in chosen:
        assert len(some) == 8 and some == sorted(set(some) & set(steps.tolist())) and (some[0], some[-1]) == (0, 2997)


def test_a_data_set_that_is_not_here_is_said_and_the_rest_still_checked(tmp_path, monkeypatch):
    config = config_of(
        tmp_path, data={"name": "fashion-mnist", "labelling": "class"}, train={"steps": 2}, views={"size": 28}
    )
    path = train(config)
    assert any(word.startswith("made again") for word in verify(path).proven)
    findings = verify(path, data=str(tmp_path / "nowhere"))
    assert any("views: not made again, the data set is not here" in word for word in findings.unproven)
    assert any("drawn again: ids, visits, draws of 2 steps" in word for word in findings.proven)
    stopped = verify(path, data=str(tmp_path / "nowhere"), replay=1).stopped
    assert findings.again == (" --data FOLDER", " --set paths.data=FOLDER")
    assert [*stopped] == ["trained again"] and "needs the data set" in str(stopped["trained again"])
    monkeypatch.setattr(FashionMnist, "fingerprint", lambda self: "0" * 64)
    another = r"views: not made again, the data set is not here \(another is: data.test was [0-9a-f]{64}, is 0000"
    assert any(re.search(another, word) for word in verify(path).unproven)
