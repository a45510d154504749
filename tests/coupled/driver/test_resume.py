"""A run that was stopped and goes on is the run that was never stopped: equal bytes, or one line that says why not."""

import gzip
import json
import shutil
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import tiny

from coupled import runtime
from coupled.arms.arm import Arm
from coupled.driver import preflight, resuming
from coupled.driver.reporter import Silent
from coupled.driver.resuming import ResumeTerms
from coupled.driver.train import resume, train
from coupled.errors import Preempted, RunStopped, UserError
from coupled.recording import checkpoints
from coupled.recording.layout import STREAMS
from coupled.recording.recorder import Recorder
from coupled.recording.writer import Writer
from coupled.store import StoreError, read_manifest, tree_hash

# Whatever a step gave to be written is on disk before the next.
AT_ONCE = {"asynchronous": False}
T = 8  # two epochs of 32 images in batches of 8


def config_of(folder, **sections):
    base = {
        "data": {"per_class": 16},
        "train": {"steps": T},
        "batches": {"size": 8},
        "record": {"panel": {"every": 3}},
        "checkpoints": {"keep": {"steps": [0], "last": True}, "recovery": {"steps": [3, 5]}},
        "optimiser": {"horizon": 20},
        "arms": {"cl": {"objective": "dcl"}, "nscl": {"objective": "nscl"}},
    }
    merged = {
        key: {**base.get(key, {}), **sections.get(key, {})} if key != "arms" else sections.get(key, base[key])
        for key in base.keys() | sections.keys()
    }
    return tiny(folder, **merged)


class Stop(Silent):
    """Asks the run to stop, as a signal does, after `step` updates."""

    def __init__(self, step, number=signal.SIGTERM):
        self.step, self.number, self.notes = step, number, []

    def note(self, text):
        self.notes.append(text)

    def begin(self, run):
        self.stepped(run.start)

    def stepped(self, step):
        if step == self.step:
            signal.raise_signal(self.number)


class Crash(Silent):
    """Ends the run as a kill does: no checkpoint, nothing that waits is written."""

    def __init__(self, step):
        self.step = step

    def begin(self, run):
        self.stepped(run.start)

    def stepped(self, step):
        if step == self.step:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def golden(tmp_path_factory):
    return tree_hash(train(config_of(tmp_path_factory.mktemp("golden"))))


def stopped(config, reporter):
    with pytest.raises((Preempted, KeyboardInterrupt)):
        train(config, reporter=reporter)
    return config


def path_of(folder):
    return folder / "tiny"


@pytest.mark.parametrize("step", range(T))
def test_a_run_preempted_after_any_step_goes_on_to_the_golden_bytes(step, golden, tmp_path):
    stopped(config_of(tmp_path), Stop(step))
    assert tree_hash(resume(path_of(tmp_path))) == golden
    assert not (path_of(tmp_path) / "preempt").exists()


@pytest.mark.parametrize("step", range(T + 1))
def test_a_run_killed_after_any_step_goes_on_to_the_golden_bytes(step, golden, tmp_path):
    stopped(config_of(tmp_path), Crash(step))
    assert tree_hash(resume(path_of(tmp_path))) == golden


def test_a_run_preempted_after_every_single_step_gets_there_too(golden, tmp_path):
    stopped(config_of(tmp_path), Stop(0))
    for step in range(1, T):
        with pytest.raises(Preempted, match=f"step {step}.*coupled-run resume"):
            resume(path_of(tmp_path), reporter=Stop(step))
    assert tree_hash(resume(path_of(tmp_path))) == golden


def test_preempted_then_killed_before_the_next_checkpoint_goes_on_from_the_preempted_state(golden, tmp_path):
    stopped(config_of(tmp_path), Stop(6))
    with pytest.raises(KeyboardInterrupt):
        resume(path_of(tmp_path), reporter=Crash(7))
    watched = Stop(None)
    assert tree_hash(resume(path_of(tmp_path), reporter=watched)) == golden
    assert any("resumed at step 6" in note for note in watched.notes)


def test_a_request_that_comes_with_the_last_step_lets_the_run_finish(golden, tmp_path):
    assert tree_hash(train(config_of(tmp_path), reporter=Stop(T))) == golden


def test_training_an_unfinished_run_again_goes_on_with_it(golden, tmp_path):
    stopped(config_of(tmp_path), Crash(4))
    assert tree_hash(train(config_of(tmp_path))) == golden


@pytest.mark.parametrize("step", [0, 3, 4, 8])
def test_a_finished_run_taken_back_to_an_earlier_step_is_made_again(step, golden, tmp_path):
    path = train(config_of(tmp_path, checkpoints={"keep": {"every": 1}}))
    before = tree_hash(path)
    assert tree_hash(resume(path, terms=ResumeTerms(from_step=step))) == before


WAYS = {
    "lars": {"optimiser": {"name": "lars", "momentum": 0.9}},
    "adamw": {"optimiser": {"name": "adamw", "learning_rate": 1e-3}},
    "no momentum": {"optimiser": {"momentum": 0.0}},
    "float64, separate": {"train": {"precision": "float64", "views_forward": "separate"}},
    "bf16": {"train": {"precision": "bf16"}},
    "balanced": {"batches": {"stream": "balanced"}, "data": {"per_class": 17}},
    "ce": {"arms": {"ce": {"objective": "ce"}, "cl": {"objective": "nt_xent"}}},
    "vit": {"model": {"encoder": "vit", "width": 8, "patch": 4, "depth": 2, "heads": 2}},
    "nothing recorded": {"record": {s: {"every": 0, "log": 0, "last": False} for s in STREAMS}},
    "log-spaced": {"record": {"scalars": {"every": 0, "log": 2}, "similarity": {"every": 3}, "layers": {"every": 2}}},
    "no checkpoint": {"checkpoints": {"keep": {"steps": [], "last": False}, "recovery": {"steps": []}}},
    "every checkpoint": {"checkpoints": {"keep": {"steps": [2]}, "recovery": {"every": 1}}},
}  # fmt: skip


QUICK = ("adamw", "no checkpoint")


@pytest.mark.parametrize("way", [way if way in QUICK else pytest.param(way, marks=pytest.mark.slow) for way in WAYS])
def test_whatever_is_trained_and_recorded_preempted_and_killed_runs_go_on_to_equal_bytes(way, tmp_path):
    expected = tree_hash(train(config_of(tmp_path / "golden", **WAYS[way])))
    stopped(config_of(tmp_path, **WAYS[way]), Stop(2))
    with pytest.raises(KeyboardInterrupt):
        resume(path_of(tmp_path), reporter=Crash(6))
    assert tree_hash(resume(path_of(tmp_path))) == expected


def test_bytes_do_not_depend_on_asynchronous_writing(golden, tmp_path):
    assert tree_hash(train(config_of(tmp_path, writing={"asynchronous": False}))) == golden
    assert tree_hash(train(config_of(tmp_path / "small", writing={"queue_mib": 1}))) == golden


def test_a_run_at_work_is_not_resumed(tmp_path):
    class Try(Silent):
        def stepped(self, step):
            if step == 4:
                with pytest.raises(UserError, match="in use by process"):
                    resume(path_of(tmp_path))
                raise KeyboardInterrupt

    stopped(config_of(tmp_path), Try())


def test_two_recovery_checkpoints_are_on_disk_beside_the_permanent_ones(tmp_path):
    config = config_of(tmp_path, checkpoints={"keep": {"steps": [0, 2]}, "recovery": {"every": 1}})
    stopped(config, Stop(6))
    found = sorted(int(p.name[5:]) for p in (path_of(tmp_path) / "checkpoints").iterdir())
    assert found == [0, 2, 5, 6]


def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_it_is_taken(golden, tmp_path):
    stopped(config_of(tmp_path, writing=AT_ONCE), Crash(7))
    file = path_of(tmp_path) / "checkpoints/step-000000005/nscl.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    watched = Stop(None)
    assert tree_hash(resume(path_of(tmp_path), reporter=watched)) == golden
    assert any("step-000000005" in note for note in watched.notes)
    assert any("resumed at step 3" in note for note in watched.notes)


def test_a_damaged_shard_is_named_with_the_step_from_which_it_is_made_again(golden, tmp_path):
    stopped(config_of(tmp_path, writing=AT_ONCE), Crash(7))
    (shard,) = path_of(tmp_path).glob("records/similarity/nscl/steps-000000003-*")
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    before = tree_hash(path_of(tmp_path))
    with pytest.raises(StoreError, match=r"steps-000000003.*sha256.*resume .* --from 0 makes again"):
        resume(path_of(tmp_path))  # step 3 is no permanent checkpoint: by now it has gone
    assert tree_hash(path_of(tmp_path)) == before
    assert tree_hash(resume(path_of(tmp_path), terms=ResumeTerms(from_step=0))) == golden


def test_a_run_whose_saved_states_are_all_damaged_is_refused_with_the_way_out(golden, tmp_path):
    stopped(config_of(tmp_path, writing=AT_ONCE), Crash(7))
    for file in path_of(tmp_path).glob("checkpoints/*/nscl.safetensors"):
        file.write_bytes(b"")
    with pytest.raises(StoreError, match=r"no state to go on from is left.*--from 0"):
        resume(path_of(tmp_path))
    assert tree_hash(resume(path_of(tmp_path), terms=ResumeTerms(from_step=0))) == golden


def test_a_finished_run_has_no_preempted_state_left_even_without_a_checkpoint(tmp_path):
    never = {"checkpoints": {"keep": {"steps": [], "last": False}, "recovery": {"steps": []}}}
    stopped(config_of(tmp_path, **never), Stop(4))
    assert (path_of(tmp_path) / "preempt").exists()
    assert not (resume(path_of(tmp_path)) / "preempt").exists()


# -- what must be restored: each breakage turns the golden hash red


def test_a_resume_that_forgets_a_part_of_the_state_is_seen(golden, tmp_path, monkeypatch):
    def forget_optimiser(arm, file, step):
        real(arm, file, step)
        arm.optimiser.load({name: torch.zeros_like(t) for name, t in arm.optimiser.tensors().items()}, step)

    def forget_buffers(arm, file, step):
        kept = arm.state.buffers.clone()
        real(arm, file, step)
        arm.state.buffers.copy_(kept)

    def one_ulp(arm, file, step):
        real(arm, file, step)
        arm.state.weights[0] = torch.nextafter(arm.state.weights[0], torch.tensor(torch.inf))

    real = checkpoints.restore
    for number, broken in enumerate((forget_optimiser, forget_buffers, one_ulp)):
        folder = tmp_path / str(number)
        stopped(config_of(folder), Stop(6))
        monkeypatch.setattr(resuming, "restore", broken)
        assert tree_hash(resume(path_of(folder))) != golden
        monkeypatch.undo()


def test_a_resume_that_forgets_the_open_rows_is_seen(golden, tmp_path, monkeypatch):
    stopped(config_of(tmp_path), Stop(6))
    monkeypatch.setattr(Recorder, "load_open_rows", lambda self, owner, file: None)
    monkeypatch.setattr(Recorder, "begin_shards", lambda self, path, first: self.begin_at(6))
    assert tree_hash(resume(path_of(tmp_path))) != golden


def test_a_replay_that_is_not_the_same_computation_is_an_alarm_and_overwrites_nothing(tmp_path, monkeypatch):
    config = config_of(tmp_path, checkpoints={"keep": {"every": 4}, "recovery": {"steps": []}})
    path = train(config)
    update = Arm.update
    monkeypatch.setattr(Arm, "update", lambda self, rate: update(self, rate * (1 + 1e-6)))
    with pytest.raises(StoreError, match="before the run was resumed"):
        resume(path, terms=ResumeTerms(from_step=4))
    with pytest.raises(StoreError, match="before the run was resumed"):  # the alarm outlives the process
        resume(path)
    monkeypatch.undo()
    assert tree_hash(resume(path)) == tree_hash(
        train(config_of(tmp_path / "b", checkpoints={"keep": {"every": 4}, "recovery": {"steps": []}}))
    )


# -- a longer run


LONG = {"train": {"steps": 12}}


@pytest.mark.parametrize("step", [None, 2, 6])
def test_an_extended_run_is_the_run_of_that_length(step, tmp_path):
    expected = tree_hash(train(config_of(tmp_path / "long", **LONG)))
    if step is None:
        train(config_of(tmp_path))
    else:
        stopped(config_of(tmp_path), Stop(step))
    path = resume(path_of(tmp_path), extend=12)
    assert tree_hash(path) == expected
    assert json.loads((path / "run.json").read_bytes())["config"]["train"]["steps"] == 12


def test_an_extended_run_replays_no_more_than_it_must(tmp_path):
    """The last checkpoint is one of the longer run too."""
    sections = {"checkpoints": {"keep": {"every": 4, "last": False}, "recovery": {"steps": []}}}
    train(config_of(tmp_path, **sections))
    watched = Stop(None)
    path = resume(path_of(tmp_path), extend=12, reporter=watched)
    assert any("resumed at step 8" in note for note in watched.notes)
    assert tree_hash(path) == tree_hash(train(config_of(tmp_path / "long", **sections, **LONG)))


def test_an_extension_survives_a_kill_in_it(tmp_path):
    train(config_of(tmp_path))
    with pytest.raises(KeyboardInterrupt):
        resume(path_of(tmp_path), extend=12, reporter=Crash(9))
    assert tree_hash(resume(path_of(tmp_path))) == tree_hash(train(config_of(tmp_path / "long", **LONG)))


@pytest.mark.parametrize(("steps", "message"), [(8, "more than the 8"), (7, "more than"), (21, "horizon = 20")])
def test_an_extension_that_cannot_be_is_refused_and_leaves_the_run_as_it_was(steps, message, tmp_path):
    path = train(config_of(tmp_path))
    before = tree_hash(path)
    with pytest.raises(UserError, match=message):
        resume(path, extend=steps)
    assert tree_hash(path) == before


# -- what may differ between stop and resume


def test_another_identity_field_is_refused_with_both_sides(tmp_path):
    stopped(config_of(tmp_path), Stop(4))
    with pytest.raises(UserError, match=r"optimiser\.learning_rate is 0\.3 in this run, 0\.7 was given"):
        resume(path_of(tmp_path), overrides=["optimiser.learning_rate=0.7"])


def test_a_recorded_field_stays_with_a_note_and_an_elastic_one_is_taken_and_logged(golden, tmp_path):
    stopped(config_of(tmp_path), Stop(4))
    watched = Stop(None)
    path = resume(
        path_of(tmp_path),
        overrides=["panel.size=32", "writing.asynchronous=false", "optimiser.learning_rate=0.3"],
        reporter=watched,
    )
    assert tree_hash(path) == golden
    assert [note for note in watched.notes if "panel" in note] == [
        "panel.size stays 16, as this run records; 32 was given"
    ]
    events = [json.loads(line) for line in (path / "log/events.jsonl").read_text().splitlines()]
    assert [e["writing"]["asynchronous"] for e in events if e["event"] in ("start", "resume")] == [True, False]


@pytest.mark.parametrize("override", ["name=other", "paths.runs=elsewhere", "nonsense=1", "train.nonsense=1"])
def test_an_override_that_makes_no_sense_at_resume_is_refused(override, tmp_path):
    stopped(config_of(tmp_path), Stop(4))
    with pytest.raises(UserError):
        resume(path_of(tmp_path), overrides=[override])


def other_library(monkeypatch, version="9.9"):
    real = runtime.versions()
    monkeypatch.setattr(runtime, "versions", lambda: {**real, "numpy": version})
    return real["numpy"]


def test_another_library_is_refused_with_both_sides_and_leaves_everything(golden, tmp_path, monkeypatch):
    stopped(config_of(tmp_path), Stop(4))
    before = tree_hash(path_of(tmp_path))
    was = other_library(monkeypatch)
    with pytest.raises(UserError, match=rf"versions\.numpy was {was}, is 9\.9.*--allow-drift"):
        resume(path_of(tmp_path))
    with pytest.raises(UserError, match="--allow-drift"):
        train(config_of(tmp_path))
    assert tree_hash(path_of(tmp_path)) == before
    monkeypatch.undo()
    assert tree_hash(resume(path_of(tmp_path))) == golden


def test_allowed_drift_is_part_of_the_run_from_then_on(golden, tmp_path, monkeypatch):
    stopped(config_of(tmp_path), Stop(4))
    was = other_library(monkeypatch)
    with pytest.raises(Preempted):
        resume(path_of(tmp_path), terms=ResumeTerms(allow_drift=True), reporter=Stop(6))
    path = resume(path_of(tmp_path))  # allowed once, it is the run's
    assert tree_hash(path) != golden
    (line,) = [entry for entry in read_manifest(path / "manifest.jsonl").entries if entry.kind == "drift"]
    facts = json.loads((path / line.name).read_bytes())
    assert line.first == 4 and facts["changes"] == [{"name": "versions.numpy", "then": was, "now": "9.9"}]


def test_another_data_set_is_refused_with_both_sides(tmp_path):
    """The same labels and, as far as is checked, the same pixels: one bit of an image of each split differs."""
    source = Path("/usr/share/datasets/fashion-mnist")
    (tmp_path / "data").mkdir()
    for file in source.iterdir():
        data = bytearray(gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes())
        data[-1] ^= "images" in file.name
        (tmp_path / "data" / file.name.removesuffix(".gz")).write_bytes(data)
    fashion = {"name": "fashion-mnist", "labelling": "class"}
    stopped(config_of(tmp_path, data=fashion, views={"size": 12}), Stop(4))
    overrides = [f"paths.data={tmp_path}/data"]
    with pytest.raises(UserError, match=r"data\.test was [0-9a-f]{64}, is [0-9a-f]{64}; data\.train was"):
        resume(path_of(tmp_path), overrides=overrides)
    resume(path_of(tmp_path), overrides=overrides, terms=ResumeTerms(allow_drift=True))


def test_another_python_is_noted_only(golden, tmp_path, monkeypatch):
    stopped(config_of(tmp_path), Stop(4))
    real = runtime.versions()
    monkeypatch.setattr(runtime, "versions", lambda: {**real, "python": "3.99"})
    path = resume(path_of(tmp_path))
    assert tree_hash(path) == golden and "versions.python was" in (path / "log/events.jsonl").read_text()


# -- before the first step


def test_a_device_that_does_not_repeat_its_bytes_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    backward = Arm.backward
    noise = iter(np.random.default_rng(0).normal(size=1000))

    def noisy(self, loss):
        backward(self, loss)
        self.state.gradient[0] += next(noise)

    monkeypatch.setattr(Arm, "backward", noisy)
    with pytest.raises(RunStopped, match=r"one step taken twice.*cl's gradient"):
        train(config_of(tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()


def test_a_disk_that_is_too_small_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(UserError, match=r"1\.0 kB are free.*the run needs"):
        train(config_of(tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()


def test_the_level_of_determinism_is_said_at_the_start(tmp_path):
    watched = Stop(None)
    train(config_of(tmp_path), reporter=watched)
    assert any("bitwise on one machine type" in note for note in watched.notes)


# -- a disk that fails


@pytest.mark.parametrize("asynchronous", [True, False])
def test_a_write_that_fails_stops_the_run_within_a_step_and_it_goes_on_later(
    asynchronous, golden, tmp_path, monkeypatch
):
    from coupled.store import RunDirectory

    steps, commit, fail, failed = [], RunDirectory.append_checkpoint, Writer._fail, threading.Event()

    def failing(self, step, files, state):
        if step == 3:
            raise StoreError(self.root, "No space left on device")
        return commit(self, step, files, state)

    def told(self, error):
        fail(self, error)
        failed.set()

    class Watch(Silent):
        def stepped(self, step):
            steps.append(step)
            if step == 3:  # the thread that writes may not have come to it
                assert failed.wait(60)

    monkeypatch.setattr(RunDirectory, "append_checkpoint", failing)
    monkeypatch.setattr(Writer, "_fail", told)
    with pytest.raises(StoreError, match="No space left"):
        train(config_of(tmp_path, writing={"asynchronous": asynchronous}), reporter=Watch())
    monkeypatch.undo()
    assert max(steps) <= 3  # the step after the failure is not made
    assert tree_hash(resume(path_of(tmp_path))) == golden
