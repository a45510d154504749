"""Steps made ahead: the same bytes for any number of workers, errors in one line, no process left behind."""

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from coupled import views
from coupled.address import Purpose
from coupled.data import folders
from coupled.data.workers import Ahead, AheadThread
from coupled.errors import RunStopped, UserError

STEPS = 6
SLOW = 120.0  # seconds that a batch takes which nobody may wait for


@pytest.fixture(scope="module")
def crops_of(tmp_path_factory):
    """A function that makes the crops of a step from a folder of nine images of nine sizes."""
    root, draw = tmp_path_factory.mktemp("images"), np.random.default_rng(3)
    for index in range(9):
        for split in ("train", "test"):
            path = root / split / "abc"[index % 3] / f"{index}.{'jpg' if index % 2 else 'png'}"
            path.parent.mkdir(parents=True, exist_ok=True)
            noise = draw.integers(0, 256, (20 + 7 * index, 70 - 5 * index, 3), dtype=np.uint8)
            Image.fromarray(noise).save(path)
    split, recipe = folders.load("image-folder", "train", str(root)), views.recipe("simclr-cifar", 24)

    def make(step):
        ids = torch.tensor([step, (step * 5 + 3) % 9, 8 - step])
        visits = torch.full_like(ids, step)
        words = torch.stack([views.view_words(1, Purpose.VIEW, ids, visits, view) for view in (0, 1)])
        return split.crops(ids, words, recipe, 24)

    return make


def _bytes(made):
    return made.numpy().tobytes()


def _ahead(make, workers):
    return closing(AheadThread(make, STEPS) if workers == "thread" else Ahead(make, workers, STEPS))


@pytest.mark.parametrize("workers", [0, 1, 4, "thread"])
def test_crops_of_a_real_folder_have_equal_bytes_for_any_number_of_workers(crops_of, workers):
    expected = [_bytes(crops_of(step)) for step in range(STEPS)]
    assert len(set(expected)) == STEPS
    with _ahead(crops_of, workers) as ahead:
        assert [_bytes(ahead.at(step)) for step in range(STEPS)] == expected


@pytest.mark.parametrize("workers", [0, 2, "thread"])
def test_any_step_can_be_asked_for(crops_of, workers):
    with _ahead(crops_of, workers) as ahead:
        for step in (3, 4, 1, 1, 2, 5, 0):
            assert _bytes(ahead.at(step)) == _bytes(crops_of(step))


@pytest.mark.parametrize("workers", [0, 1, "thread"])
def test_no_global_generator_is_touched(workers):
    torch.manual_seed(5), random.seed(5), np.random.seed(5)  # noqa: NPY002
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    with _ahead(lambda step: step, workers) as ahead:
        assert [ahead.at(step) for step in range(STEPS)] == list(range(STEPS))
    assert torch.equal(torch.get_rng_state(), before[0]) and random.getstate() == before[1]
    assert np.random.get_state()[1].tolist() == before[2]  # noqa: NPY002


@pytest.mark.parametrize("workers", [1, "thread"])
def test_steps_are_made_ahead_but_not_without_bound(workers):
    counts = multiprocessing.RawArray("d", STEPS)

    def make(step):
        counts[step] = 1
        return step

    with _ahead(make, workers) as ahead:
        ahead.at(0)
        _until(lambda: sum(counts) >= 3)
        time.sleep(0.1)
        assert list(counts) == [1, 1, 1, 0, 0, 0]


def test_what_workers_return_keeps_its_form():
    def make(step):
        return (torch.tensor([step]), [torch.ones(2)]), {"step": step}

    with _ahead(make, 1) as ahead:
        (first, (second,)), rest = ahead.at(2)
        assert first.tolist() == [2] and second.tolist() == [1, 1] and rest == {"step": 2}


# Errors.


@pytest.mark.parametrize("workers", [0, 2, "thread"])
@pytest.mark.parametrize("error", [UserError("given", "allowed", "do"), RunStopped("image file x is damaged")])
def test_an_error_arrives_as_its_own_line_at_its_own_step(workers, error):
    def make(step):
        if step == 1:
            raise error
        return step

    with _ahead(make, workers) as ahead:
        assert ahead.at(0) == 0
        with pytest.raises(type(error)) as raised:
            ahead.at(1)
        assert str(raised.value) == str(error) and raised.value.exit_code == error.exit_code
        assert ahead.at(2) == 2


@pytest.mark.parametrize("workers", [0, 1, "thread"])
@pytest.mark.parametrize("kind", [RuntimeError, AssertionError])
def test_a_programming_error_keeps_its_kind_and_text(workers, kind):
    def make(step):
        raise kind("what went wrong")

    with _ahead(make, workers) as ahead, pytest.raises(kind, match="what went wrong"):
        ahead.at(0)


def test_a_worker_killed_between_steps_is_one_line():
    with _ahead(lambda step: step, 1) as ahead:
        ahead.at(0)
        (victim,) = multiprocessing.active_children()
        time.sleep(0.1)  # for the next steps to be made: they were, by a worker in doubt
        victim.kill()
        victim.join()
        with pytest.raises(RunStopped, match="a loader worker was killed before it made step 1, .*; use fewer"):
            ahead.at(1)
    assert not multiprocessing.active_children()


def test_a_worker_that_dies_at_its_step_is_one_line(monkeypatch):
    # How often the loader looks after its workers: every five seconds is too slow for a test.
    monkeypatch.setattr(_MultiProcessingDataLoaderIter._try_get_data, "__defaults__", (0.2,))

    def make(step):
        os.kill(os.getpid(), signal.SIGKILL)

    with _ahead(make, 1) as ahead, pytest.raises(RunStopped, match="killed before it made step 0"):
        ahead.at(0)


def test_a_worker_s_death_is_raised_by_at_alone(monkeypatch):
    """The loader's own handler would raise in the middle of anything. It is set once in a process."""
    monkeypatch.setattr(torch.utils.data._utils.signal_handling, "_SIGCHLD_handler_set", False)
    handler = signal.getsignal(signal.SIGCHLD)
    with _ahead(lambda step: step, 1) as ahead:
        ahead.at(0)
        assert signal.getsignal(signal.SIGCHLD) == handler


def test_no_shared_memory_is_one_line(monkeypatch):
    def full(tensor):
        raise RuntimeError("unable to allocate shared memory(shm)")

    monkeypatch.setattr(torch.Tensor, "share_memory_", full)  # workers are forked: they see it
    line = r"no shared memory for step 0 \(unable .*; use fewer workers"
    with _ahead(lambda step: torch.zeros(3), 1) as ahead, pytest.raises(RunStopped, match=line):
        ahead.at(0)


# Ends.


def _until(condition, seconds=SLOW / 2):
    """The limit is patience alone: a busy machine may be slow, what never comes takes longer."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.01)


def _alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _slow(step):
    if step:
        time.sleep(SLOW)
    return os.getpid()


def test_close_does_not_wait_for_the_batch_in_hand():
    ahead = Ahead(_slow, 1, STEPS)
    worker = ahead.at(0)
    start = time.monotonic()
    ahead.close()
    assert time.monotonic() - start < SLOW / 2 and not _alive(worker)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_workers_outlive_a_signal_to_the_whole_job(number):
    def make(step):
        time.sleep(0.05)
        return os.getpid()

    with _ahead(make, 1) as ahead:
        worker = ahead.at(0)
        os.kill(worker, number)
        assert [ahead.at(step) for step in range(1, STEPS)] == [worker] * (STEPS - 1)


def _parent(pipe, unclosed, seconds):
    unclosed.append(Ahead(_slow, 2, STEPS))
    pipe.send(unclosed[0].at(0))
    time.sleep(seconds)


@pytest.mark.parametrize("kill", [False, True])
def test_workers_end_with_a_parent_that_closes_nothing(kill):
    here, there = multiprocessing.Pipe()
    parent = multiprocessing.get_context("fork").Process(target=_parent, args=(there, [], SLOW if kill else 0))
    parent.start()
    worker = here.recv()
    if kill:
        assert _alive(worker)
        parent.kill()
    parent.join(SLOW / 2)
    assert parent.exitcode == (-signal.SIGKILL if kill else 0)
    _until(lambda: not _alive(worker))


SCRIPT = f"""
import os, time
from coupled.data.workers import Ahead
ahead = Ahead(lambda step: time.sleep({SLOW} if step else 0) or os.getpid(), 1, 9)
print(ahead.at(0), flush=True)
for _ in range({SLOW:.0f} * 10):  # in one long sleep a signal that comes just before it would wait for its end
    time.sleep(0.1)
"""


def test_ctrl_c_leaves_no_process_behind():
    """As a terminal does it: the signal goes to the whole group, and nobody closes anything."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    with subprocess.Popen([sys.executable, "-c", SCRIPT], **options) as process:
        worker = int(process.stdout.readline())
        os.killpg(process.pid, signal.SIGINT)
        errors = process.communicate(timeout=SLOW / 2)[1]
    assert errors.rstrip().endswith("KeyboardInterrupt") and errors.count("Traceback") == 1
    _until(lambda: not _alive(worker))


# The thread.


def test_the_thread_leaves_every_other_thread_s_number_alone():
    def make(step):
        time.sleep(0.1)
        return torch.get_num_threads()

    torch.set_num_threads(2)
    counts = {}
    with _ahead(make, "thread") as ahead:
        counts["thread"] = ahead.at(0)
        counts["main"] = torch.get_num_threads()
        later = threading.Thread(target=lambda: counts.update(later=torch.get_num_threads()))
        later.start()
        later.join()
    assert counts == {"thread": 1, "main": 2, "later": 2}


def test_closing_ends_the_thread_wherever_it_is():
    others = set(threading.enumerate())
    for steps in (0, 1, 3):
        ahead = AheadThread(lambda step: step, STEPS)
        for step in range(steps):
            ahead.at(step)
        ahead.close()
        ahead.close()
        assert all(thread.name != "ahead" for thread in set(threading.enumerate()) - others)


def test_a_step_that_is_none_is_a_programming_error():
    for ahead in (Ahead(lambda step: step, 0, STEPS), AheadThread(lambda step: step, STEPS)):
        for step in (-1, STEPS):
            with pytest.raises(AssertionError):
                ahead.at(step)
