"""sweep.json: what it says, which changes of a sweep it lets pass, and that a cut leaves one or the other."""

import json
import os
import subprocess
import sys
import threading
from dataclasses import replace

import pytest
from simulated_disk import PowerCut, SimulatedDisk
from swept import NAME, point_of, sweep_of

from coupled.config import digest
from coupled.errors import UserError
from coupled.store import StoreError
from coupled.store.lock import SweepLock
from coupled.sweeps import folder


@pytest.fixture
def made(tmp_path):
    """A sweep of two points whose folder is there."""
    sweep = sweep_of(tmp_path)
    (tmp_path / NAME).mkdir()
    folder.write(sweep)
    return sweep


def test_sweep_json_is_canonical_json_of_names_digests_and_values(made, tmp_path):
    a, b = (digest(point.config) for point in made.points)
    assert (tmp_path / NAME / "sweep.json").read_text() == (
        f'{{"name":"seeds","points":[{{"digest":"{a}","name":"seed-0","values":{{"seed":[0]}}}},'
        f'{{"digest":"{b}","name":"seed-1","values":{{"seed":[1]}}}}],"schema":1}}\n'
    )
    assert folder.read(tmp_path / NAME) == folder.entries_of(made)


def test_points_may_be_added_anywhere_and_come_into_sweep_json(made, tmp_path):
    more = replace(made, points=(point_of(tmp_path, "first", seed=9), *made.points))
    folder.refuse_others(more)
    folder.write(more)
    assert [entry.name for entry in folder.read(tmp_path / NAME)] == ["first", "seed-0", "seed-1"]


def test_a_point_that_changed_or_is_gone_is_refused_by_its_name(made, tmp_path):
    other = point_of(tmp_path, "seed-0", seed=7)
    a, b = digest(made.points[0].config)[:12], digest(other.config)[:12]
    with pytest.raises(
        UserError, match=f"seed-0 is {a}… there and {b}… here; seed-1 is there and not here; points may"
    ):
        folder.refuse_others(replace(made, points=(other,)))


@pytest.mark.parametrize(
    ("name", "said"), [("run.json", "is a run"), ("notes.txt", "is not a sweep"), ("", "is not a sweep")]
)
def test_a_folder_of_something_else_is_refused(name, said, tmp_path):
    path = tmp_path / NAME
    if name:
        path.mkdir()
    (path / name if name else path).write_text("{}")
    with pytest.raises(UserError, match=said):
        folder.refuse_others(sweep_of(tmp_path))


def test_what_a_killed_beginning_leaves_is_no_obstacle(tmp_path):
    (tmp_path / NAME).mkdir()
    for name in ("sweep.lock", "sweep.json.tmp"):
        (tmp_path / NAME / name).write_text("torn")
    folder.refuse_others(sweep_of(tmp_path))
    folder.write(sweep_of(tmp_path))
    assert sorted(path.name for path in (tmp_path / NAME).iterdir()) == ["sweep.json", "sweep.lock"]


POINT = {"digest": "0" * 64, "name": "a", "values": {"seed": [0]}}


@pytest.mark.parametrize(
    "content",
    [
        {"points": [POINT]},
        {"points": [POINT], "schema": 2},
        {"points": {"a": POINT}, "schema": 1},
        {"points": [POINT, POINT], "schema": 1},
        {"points": [{**POINT, "name": f"p{i}"} for i in range(10_001)], "schema": 1},
        *(
            {"points": [{**POINT, **change}], "schema": 1}
            for change in (
                {"name": "../a"}, {"name": "/etc"}, {"name": "a/b"}, {"name": ".."}, {"name": ""}, {"name": "a\0b"},
                {"name": 3}, {"digest": "0" * 63}, {"digest": "Z" * 64}, {"values": []}, {"values": {"seed": 0}},
                {"values": {"seed": []}}, {"values": {name: list(range(100)) for name in "abc"}},
            )
        ),
    ],
)  # fmt: skip
def test_a_sweep_json_of_others_is_believed_in_nothing(content, tmp_path):
    (tmp_path / "sweep.json").write_text(json.dumps(content))
    with pytest.raises(StoreError, match="sweep.json: not the sweep.json of a sweep") as error:
        folder.read(tmp_path)
    assert len(str(error.value)) < 1000 and "\n" not in str(error.value)


@pytest.mark.parametrize("data", [b"", b"[]", b'{"points":[1]}', b'{"points":[{"digest":1,"name":"a","values":{}}]}'])
def test_a_damaged_sweep_json_is_one_line(data, tmp_path):
    (tmp_path / "sweep.json").write_bytes(data)
    with pytest.raises(StoreError, match="not the sweep.json of a sweep"):
        folder.read(tmp_path)


@pytest.mark.parametrize("mode", ["random", "lost", "kept"])
def test_a_cut_at_any_call_leaves_the_old_sweep_json_or_the_new_one(mode, made, tmp_path):
    more = replace(made, points=(*made.points, point_of(tmp_path, "seed-2", seed=2)))
    old = (tmp_path / NAME / "sweep.json").read_bytes()
    cut_at, seen = 0, set()
    while True:
        base = tmp_path / f"base-{cut_at}" / NAME
        base.mkdir(parents=True)
        (base / "sweep.json").write_bytes(old)
        disk = SimulatedDisk(base, cut_at=cut_at)
        try:
            folder.write(replace(more, runs=str(base.parent)), disk)
            new = (disk.survive(tmp_path / "done", cut_at, mode) / "sweep.json").read_bytes()
            break
        except PowerCut:
            place = disk.survive(tmp_path / f"{cut_at}", cut_at, mode)
            seen.add((place / "sweep.json").read_bytes())
            cut_at += 1
        finally:
            disk.die()
    folder.write(more)
    assert new == (tmp_path / NAME / "sweep.json").read_bytes()  # also of what was cut after the last call
    assert cut_at > 3 and old in seen and seen <= {old, new}


def test_a_second_lock_is_refused_in_one_line_naming_the_holder(tmp_path):
    with folder.locked(tmp_path), pytest.raises(UserError, match=f"by process {os.getpid()} on .*trains a sweep; wait"):
        folder.locked(tmp_path)
    folder.locked(tmp_path).release()


def test_the_workers_of_a_sweep_that_was_killed_are_waited_for(tmp_path):
    """A process takes the lock, hands it to one of its own, and is gone."""
    code = (
        "import subprocess, sys; from pathlib import Path; from coupled.store.lock import SweepLock\n"
        "lock = SweepLock(Path(sys.argv[1])).descriptor\n"
        "subprocess.Popen([sys.executable, '-c', 'import sys; sys.stdin.read()'], pass_fds=(lock,))"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE) as process:
        process.wait(timeout=60)
        with pytest.raises(UserError):
            SweepLock(tmp_path)
        threading.Timer(0.3, process.stdin.close).start()
        with folder.locked(tmp_path):
            assert process.stdin.closed
            assert json.loads((tmp_path / "sweep.lock").read_text())["pid"] == os.getpid()
