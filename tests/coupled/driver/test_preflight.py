"""What is refused before the first step, with nothing written."""

import shutil

import numpy as np
import pytest
from interrupted import Stop, config_of

from coupled import runtime
from coupled.arms.arm import Arm
from coupled.driver import preflight
from coupled.driver.train import train
from coupled.errors import RunStopped, UserError


def test_a_device_that_does_not_repeat_its_bytes_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    backward = Arm.backward
    noise = iter(np.random.default_rng(0).normal(size=1000))

    def noisy(self, loss, **options):
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


def test_that_the_self_check_passed_is_said_at_the_start(tmp_path):
    watched = Stop(None)
    train(config_of(tmp_path), reporter=watched)
    assert watched.notes[0] == "determinism: self-check passed (one step twice, equal bytes)"


def test_little_room_on_a_gpu_is_said_at_the_start(tmp_path, monkeypatch):
    watched = Stop(None)
    monkeypatch.setattr(runtime, "device_memory", lambda config: 1000)
    train(config_of(tmp_path), reporter=watched)
    assert sum("may choose another algorithm" in note for note in watched.notes) == 1
