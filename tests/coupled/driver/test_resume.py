"""A run that was stopped and goes on is the run that was never stopped: equal bytes."""

import pytest
import torch
from interrupted import Crash, Stop, T, config_of, path_of, stopped
from other_inputs import OTHERS, SHARING

from coupled.arms.arm import Arm
from coupled.driver import resuming
from coupled.driver.reporter import Silent
from coupled.driver.resuming import ResumeTerms
from coupled.driver.train import resume, train
from coupled.errors import Preempted, UserError
from coupled.recording import checkpoints
from coupled.recording.layout import STREAMS
from coupled.recording.recorder import Recorder
from coupled.store import StoreError, tree_hash


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
    "other inputs": {"arms": {**SHARING, **OTHERS}, "record": {"pixels": {"every": 2}}},
    "every checkpoint": {"checkpoints": {"keep": {"steps": [2]}, "recovery": {"every": 1}}},
}  # fmt: skip


QUICK = ("adamw", "no checkpoint", "other inputs")


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
    steps = sorted(int(p.name[5:]) for p in (path_of(tmp_path) / "checkpoints").iterdir())
    assert steps == [0, 2, 5, 6]


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
    monkeypatch.setattr(Arm, "update", lambda self, rate, halted=None: update(self, rate * (1 + 1e-6), halted))
    with pytest.raises(StoreError, match="before the run was resumed"):
        resume(path, terms=ResumeTerms(from_step=4))
    with pytest.raises(StoreError, match="before the run was resumed"):  # the alarm outlives the process
        resume(path)
    monkeypatch.undo()
    assert tree_hash(resume(path)) == tree_hash(
        train(config_of(tmp_path / "b", checkpoints={"keep": {"every": 4}, "recovery": {"steps": []}}))
    )
