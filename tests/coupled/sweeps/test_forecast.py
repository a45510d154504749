"""What a sweep will take: counted from configs, and timed on scratch."""

from pathlib import Path

import pytest

from coupled.config import digest
from coupled.planning.plan import plan
from coupled.sweeps import forecast as module
from coupled.sweeps.forecast import forecast


def test_every_point_has_a_row_and_nothing_is_written(sweep, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    demo = sweep("[axes]\ntrain.steps = [4, 8]\nlabelling = ['size', 'shape']\n")
    before = sorted(tmp_path.rglob("*"))
    short, long = forecast(demo)
    assert sorted(tmp_path.rglob("*")) == before
    assert (short.name, short.directory, short.steps) == ("s4", Path("runs/demo/s4"), 4)
    assert short.arms == ("cl", "nscl_size", "nscl_shape") and short.digest == digest(demo.points[0].config)[:8]
    assert (long.bytes, long.why) == (plan(demo.points[1].config, 1).total, "")
    assert short.seconds and long.seconds and 0 < short.seconds < long.seconds < 60


def timed(monkeypatch):
    """The configs of which steps are timed, for a second each."""
    configs = []

    def second(config):
        configs.append(config)
        return 1.0, ""

    monkeypatch.setattr(module, "seconds_of_step", second)
    return configs


def test_one_calibration_serves_runs_of_equal_steps(sweep, monkeypatch):
    configs = timed(monkeypatch)
    never = "[set]\nrecord.panel = {}\nrecord.surrogate = {}\n"
    rows = forecast(sweep(f"{never}[axes]\nseed = [0, 1]\ntrain.steps = [2, 4]\nbatch_size = [8, 16]\n"))
    assert [config.batches.size for config in configs] == [8, 16]
    assert [row.seconds for row in rows] == [2.0, 2.0, 4.0, 4.0] * 2


def test_panels_are_a_share_of_the_time(sweep, monkeypatch):
    timed(monkeypatch)
    (row,) = forecast(sweep("[axes]\nseed = [0]\n"))
    assert row.seconds is not None and 6.0 < row.seconds < 60.0


def test_where_no_step_can_be_taken_the_reason_is_said(sweep):
    """The files are not here, and all else is told."""
    text = "[set]\ndata.name = 'cifar10'\ndata.labelling = 'class'\npaths.data = '/nowhere'\n[axes]\nseed = [0]\n"
    (row,) = forecast(sweep(text))
    assert row.seconds is None and "/nowhere" in row.why and row.bytes > 0


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_are_those_of_the_file(sweep, threads):
    (point,) = sweep(f"[set]\ntrain.threads = {threads}\n[axes]\nseed = [0]\n").points
    assert point.config.train.threads == threads
