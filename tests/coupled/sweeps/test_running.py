"""Sweeps with real workers: bytes, mistakes, signals, kills."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import swept
from swept import NAME, point_of, sweep_of

from coupled.driver.train import train
from coupled.errors import UserError
from coupled.store import tree_hash
from coupled.sweeps import running
from coupled.sweeps.folder import locked, write

LONGER = 120  # steps
NOTHING_ELSE = {"sweep.json", "sweep.lock"}
OBJECTIVE = """
import coupled

@coupled.register_objective("mine")
def mine(sigma, labels, tau):
    return {} * sigma.square().mean()
"""


def hashes(folder, sweep):
    return {point.name: tree_hash(Path(folder) / NAME / point.name) for point in sweep.points}


def inodes(path):
    """Which files lie there, and when each was written."""
    return {file: (file.stat().st_ino, file.stat().st_mtime_ns) for file in path.rglob("*") if file.is_file()}


@pytest.mark.slow
def test_a_sweep_has_the_bytes_of_its_runs_trained_one_by_one_and_is_done_once(tmp_path):
    sweep, alone = sweep_of(tmp_path / "a"), sweep_of(tmp_path / "b")
    assert running.run(sweep, jobs=1) == 0
    for point in alone.points:
        train(point.config)
    assert hashes(tmp_path / "a", sweep) == hashes(tmp_path / "b", alone)
    before = inodes(tmp_path / "a")
    assert running.run(sweep, jobs=2) == 0
    lock = tmp_path / "a" / NAME / "sweep.lock"
    assert {**before, lock: None} == {**inodes(tmp_path / "a"), lock: None}


def test_a_sweep_that_another_trains_is_refused(tmp_path):
    sweep = sweep_of(tmp_path)
    (tmp_path / NAME).mkdir()
    with locked(tmp_path / NAME), pytest.raises(UserError, match="in use by process"):
        running.run(sweep, jobs=1)


@pytest.mark.parametrize("fault", ["data", "another", "disk"])
def test_the_last_point_is_checked_before_the_first_begins_and_a_mistake_leaves_nothing(fault, tmp_path, monkeypatch):
    sweep = sweep_of(tmp_path / "runs")
    last = sweep.points[-1].config
    if fault == "data":
        last = replace(last, data=replace(last.data, name="cifar10"), paths=replace(last.paths, data=str(tmp_path)))
    if fault == "another":
        (tmp_path / "runs" / NAME).mkdir(parents=True)
        write(sweep)
        train(replace(last, seed=5))
    if fault == "disk":
        monkeypatch.setattr(running, "disk_bytes", lambda config: 10**18)
    broken = replace(sweep, points=(sweep.points[0], replace(sweep.points[-1], config=last)))
    before = inodes(tmp_path)
    with pytest.raises(UserError, match="the runs of this sweep need" if fault == "disk" else "point seed-1: "):
        running.run(broken, jobs=1)
    assert {path.name for path in set(inodes(tmp_path)) - set(before)} <= {"sweep.lock"}
    assert (tmp_path / "runs").exists() == (fault == "another")


def start(folder, jobs, steps):
    """The command in a process group of its own."""
    words = [sys.executable, swept.__file__, str(folder), str(jobs), str(steps)]
    paths = {"PYTHONPATH": os.pathsep.join(sys.path)}  # else `coupled` is the folder of tests beside the script
    with open(folder / "printed", "a", encoding="utf-8") as printed:  # noqa: PTH123
        folder.mkdir(exist_ok=True)
        where = {"cwd": folder, "env": os.environ | paths, "stdout": printed, "stderr": printed}
        return subprocess.Popen(words, start_new_session=True, **where)


@contextmanager
def begun(folder, jobs, steps):
    """The command, once as many runs have begun as there are jobs; it has ended by the end."""
    folder.mkdir(exist_ok=True)
    before = len((folder / "printed").read_text()) if (folder / "printed").exists() else 0
    process = start(folder, jobs, steps)
    while (folder / "printed").read_text()[before:].count("at step") < jobs:
        time.sleep(0.02)
        assert process.poll() is None, (folder / "printed").read_text()
    try:
        yield process
    finally:
        process.wait(timeout=100)


def undisturbed(folder, steps):
    """What the command makes when nobody disturbs it."""
    folder.mkdir()
    assert start(folder, 2, steps).wait(timeout=400) == 0
    return hashes(folder, sweep_of(folder, seeds=3)), (folder / NAME / "sweep.json").read_bytes()


def goes_on_to(folder, jobs, steps, golden):
    """Once more, until its end: the bytes of `golden`, and no leftovers."""
    assert start(folder, jobs, steps).wait(timeout=400) == 0, (folder / "printed").read_text()
    assert (hashes(folder, sweep_of(folder, seeds=3)), (folder / NAME / "sweep.json").read_bytes()) == golden
    assert {path.name for path in (folder / NAME).iterdir() if path.is_file()} == NOTHING_ELSE
    assert not [path for path in folder.rglob("*") if path.suffix == ".tmp" or path.name == "preempt"]


@pytest.fixture(scope="module")
def longer(tmp_path_factory):
    """Of so many steps that all jobs are at work for a while."""
    return undisturbed(tmp_path_factory.mktemp("longer") / "runs", LONGER)


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_twenty_kills_of_the_whole_group_at_random_times_lose_nothing_and_repeat_no_finished_run(jobs, tmp_path):
    command = [sys.executable, str(Path(__file__).with_name("forks.py")), str(tmp_path), str(jobs), "20"]
    paths = {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900, env=os.environ | paths)
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert outcome["killed"] == 20 and outcome["faults"] == []
    assert outcome["halfway"] >= 5  # not only before the first run began


@pytest.mark.slow
@pytest.mark.parametrize(("number", "group"), [(signal.SIGTERM, False), (signal.SIGINT, True), (signal.SIGUSR2, True)])
def test_a_signal_stops_every_run_after_its_step_with_143_and_nothing_is_lost(number, group, longer, tmp_path):
    """A terminal and Slurm signal every process of the group, `kill` the command alone."""
    folder = tmp_path / "runs"
    with begun(folder, 2, LONGER) as process:
        (os.killpg if group else os.kill)(process.pid, number)
        assert process.wait(timeout=60) == 143
    printed = (folder / "printed").read_text()
    assert f"{number.name}: stopped with 0 of 3 runs finished, nothing is lost; next: coupled-run sweep" in printed
    assert printed.count("stopping after this step") == 1 and "Traceback" not in printed
    logs = [path.read_text() for path in folder.glob("*/*/log/events.jsonl")]
    assert len(logs) == 2 and all(f'"signal":"{number.name}"' in log for log in logs)
    goes_on_to(folder, 2, LONGER, longer)


@pytest.mark.slow
def test_a_second_signal_ends_all_at_once_and_a_kill_of_the_command_alone_stops_its_workers(longer, tmp_path):
    folder = tmp_path / "runs"
    with begun(folder, 2, LONGER) as process:
        process.kill()
    with begun(folder, 2, LONGER) as process:  # it waits for the workers of the first
        process.terminate()
        time.sleep(0.01)
        process.terminate()
        assert process.wait(timeout=60) == 143
    goes_on_to(folder, 2, LONGER, longer)


@pytest.mark.slow
def test_a_worker_that_is_killed_is_a_run_that_failed(tmp_path):
    folder = tmp_path / "runs"
    with begun(folder, 1, LONGER) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        (worker,) = children
        os.kill(int(worker), signal.SIGKILL)
        assert process.wait(timeout=300) == 3
    printed = (folder / "printed").read_text()
    assert "failed: seed-0: its process was ended by SIGKILL" in printed
    assert "seed-1: finished" in printed and "seed-2: finished" in printed


@pytest.mark.slow
def test_runs_of_unlike_kinds_in_one_process_are_each_as_if_it_were_the_first(tmp_path):
    """Precision, threads, a user's objective (two files that call theirs alike), deterministic kernels."""
    for number in (1, 2):
        (tmp_path / f"{number}.py").write_text(OBJECTIVE.format(number))
    mine = [{"code": {"files": [str(tmp_path / f"{n}.py")]}, "arms": {"a": {"objective": "mine"}}} for n in (1, 2)]
    kinds = [
        {},
        {"train": {"steps": 3, "precision": "float64"}},
        *mine,
        {"train": {"steps": 3, "threads": 2}},
        {"data": {"labelling": "shape"}, "model": {"width": 8}},
        {"seed": 3},
    ]
    one, each = tmp_path / "one", tmp_path / "each"
    points = {f: tuple(point_of(f, f"k{i}", {}, **kind) for i, kind in enumerate(kinds)) for f in (one, each)}
    whole = replace(sweep_of(one), points=points[one])
    assert running.run(whole, jobs=1) == 0
    for end in range(1, len(kinds) + 1):  # one more each time: a process for each
        assert running.run(replace(sweep_of(each), points=points[each][:end]), jobs=1) == 0
    assert hashes(one, whole) == hashes(each, whole)
    assert len(set(hashes(one, whole).values())) == len(kinds)
