"""The power fails, the process is killed, the disk is full: at any call, and again while that is mended."""

import errno
import random
import shutil

import pretended
import pytest
from lives import Life, survives, whole
from pretended import KEPT, LENGTHS, check_saved, work
from simulated_disk import PowerCut, SimulatedDisk

from coupled.store import KILL_POINTS, REAL, StoreError, read_manifest, recovery, shard_name, state

pytestmark = pytest.mark.slow  # runs of their own; others of the fast ones train, resume and read as well


def test_a_life_passes_every_kill_point_but_those_of_overwriting(golden):
    passed, unpassed = set(golden[2]), {p for p in KILL_POINTS if not p.startswith("overwrite.")} - set(golden[2])
    assert passed <= set(KILL_POINTS) and not unpassed


@pytest.mark.parametrize("stride", [13, pytest.param(1, marks=pytest.mark.slow)])
def test_the_power_may_fail_at_any_call(stride, golden, memory):
    expected, acts, _ = golden
    assert len(acts) >= 400
    for call in range(0, len(acts), stride):
        survives(memory / "x", expected, [call], seed=call, mode=("random", "lost", "random", "kept")[call % 4])


@pytest.mark.parametrize("count", [10, pytest.param(400, marks=pytest.mark.slow)])
def test_the_power_may_fail_again_while_that_is_mended(count, golden, memory):
    expected, acts, _ = golden
    rng = random.Random(count)
    for seed in range(count):
        cuts = [rng.randrange(len(acts)), *(rng.randrange(60) for _ in range(3))]
        survives(memory / "x", expected, cuts, seed=seed)


@pytest.mark.parametrize("stride", [29, pytest.param(1, marks=pytest.mark.slow)])
def test_a_kill_at_every_point_and_at_every_point_of_the_recovery_after_it(stride, golden, memory):
    expected, _, points = golden
    for point in range(0, len(points), stride):
        life = Life(memory / "x")
        assert not life.live(kill_at=point)
        life.cut(0, "kept")
        for again in range(6):
            if life.live(kill_at=again):
                break
            life.cut(again, "kept")
        assert life.live()
        whole(life, expected)
        shutil.rmtree(memory / "x")


@pytest.mark.parametrize("count", [15, pytest.param(600, marks=pytest.mark.slow)])
def test_the_power_may_fail_after_a_kill_which_left_what_was_not_synced_in_memory(count, golden, memory):
    expected, _, points = golden
    rng = random.Random(count)
    for seed in range(count):
        life = Life(memory / "x")
        assert not life.live(kill_at=rng.randrange(len(points)))
        disk = life.fs
        disk.kill_at, disk.calls, disk.cut_at, disk._durable = None, 0, rng.randrange(50), set()
        if not life.live(again=disk):
            life.cut(seed, "random")
            assert life.live()
        whole(life, expected)
        shutil.rmtree(memory / "x")


@pytest.mark.parametrize("stride", [29, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_refuses_any_call_is_one_error_and_the_run_goes_on_later(error, stride, golden, memory):
    expected, acts, _ = golden
    refused = ("write", "sync", "rename", "create", "mkdir")
    for call in [number for number, act in enumerate(acts) if act in refused][::stride]:
        life = Life(memory / "x")
        assert not life.live(fail_at=call, error=error), (call, acts[call])
        if state(life.root) != "absent":
            check_saved(life.root, read_manifest(life.root / "manifest.jsonl"), REAL)
        assert life.live()
        whole(life, expected)
        shutil.rmtree(memory / "x")


def test_what_was_dropped_is_remembered_through_a_cut_at_any_call_of_the_recovery(golden, memory, monkeypatch):
    """A replay that gives other bytes is an alarm, however often the recovery before it was cut."""
    for call in range(60):
        life = Life(memory / "x")
        work(life.root, REAL, LENGTHS[0], preempt_at=5)
        (life.root / "preempt").rename(memory / "gone")
        shutil.rmtree(memory / "gone")
        life.fs = SimulatedDisk(life.place, cut_at=call)
        done = False
        try:
            directory, _ = recovery.reopen(life.root, KEPT.__contains__, fs=life.fs)
            directory.close()
            done = True
        except PowerCut:
            pass
        life.place = life.fs.survive(memory / "x" / "after", call, ("lost", "random")[call % 2])
        with monkeypatch.context() as patched:
            patched.setattr(pretended, "arm_bytes", lambda arm, value: b"other")
            patched.setattr(pretended, "seal", seal_other)
            with pytest.raises(StoreError, match="before the run was resumed"):
                work(life.root, REAL, LENGTHS[0])
        shutil.rmtree(memory / "x")
        if done:
            return
    pytest.fail("the recovery never came to its end")


def seal_other(run, rows, first, last):
    for arm in pretended.ARMS:
        pretended.commit_shard(run, shard_name("scalars", arm, first, last), b"other", first, last)
