"""Work in processes gives what work in this one gives, and ends as it would."""

import multiprocessing
import os
import signal
import time

import pytest
import torch

import analysis
from analysis.bounds import bounds
from analysis.curves import curves
from analysis.report import gather
from analysis.runs import processes
from coupled.errors import RunStopped, UserError
from coupled.store import StoreError
from coupled.terminal.entry import guarded


@pytest.fixture
def two_workers():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def python_handles_ctrl_c():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a launcher of ranks leaves its own
    yield
    signal.signal(signal.SIGINT, before)


def test_results_come_in_the_order_of_the_items_from_other_processes(two_workers):
    results = processes.in_processes(range(5), lambda item: (item, os.getpid(), torch.get_num_threads()))
    assert [item for item, _, _ in results] == list(range(5))
    assert os.getpid() not in {pid for _, pid, _ in results}
    assert {threads for _, _, threads in results} == {1}


def test_one_item_needs_no_process(two_workers):
    assert processes.in_processes([1], lambda item: os.getpid()) == [os.getpid()]
    assert processes.in_processes([], lambda item: item) == []


@pytest.mark.parametrize(
    "error", [UserError("given", "allowed", "do"), StoreError("run/x", "damaged", "copy it"), ValueError("a fault")]
)
def test_an_error_in_a_process_is_raised_here(two_workers, error):
    def work(item):
        if item == 1:
            raise error
        return item

    with pytest.raises(type(error)) as raised:
        processes.in_processes(range(3), work)
    assert str(raised.value) == str(error)
    assert {name: value for name, value in vars(raised.value).items() if name != "__notes__"} == vars(error)


def test_a_killed_process_ends_the_command_with_one_line(two_workers, capsys):
    def body():
        processes.in_processes(range(3), lambda item: os.kill(os.getpid(), signal.SIGKILL))
        return 0

    assert guarded("coupled-analyze", body) == RunStopped.exit_code
    assert "free memory" in capsys.readouterr().err


def test_ctrl_c_ends_the_processes_too_and_prints_nothing_of_them(two_workers, python_handles_ctrl_c, capfd):
    def work(item):
        if item == 0:
            os.kill(os.getppid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(600)

    with pytest.raises(KeyboardInterrupt):
        processes.in_processes(range(2), work)
    assert multiprocessing.active_children() == []
    assert capfd.readouterr().err == ""


@pytest.mark.slow
def test_curves_and_bounds_are_the_same_bytes_here_and_in_processes(trained, two_workers, monkeypatch):
    here = [curves(analysis.open_run(trained)), bounds(analysis.open_run(trained))]
    monkeypatch.setattr(processes, "_LEAST_BYTES", 0)
    there = [curves(analysis.open_run(trained)), bounds(analysis.open_run(trained))]
    part = gather(analysis.open_run(trained))
    for those in (there, [part.curves, part.bounds]):
        for mine, its in zip(here, those, strict=True):
            assert [_bytes(curve) for curve in mine] == [_bytes(curve) for curve in its]


def _bytes(curve):
    bands = [(band.low.tobytes(), band.high.tobytes()) for band in (curve.interval, curve.null) if band is not None]
    arrays = (curve.steps.tobytes(), curve.values.tobytes(), *bands)
    return curve.measure, curve.arm, curve.reference, curve.source, curve.bound, curve.flags, arrays
