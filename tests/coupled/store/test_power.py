"""The power fails, the process is killed, the disk is full: at any call, and again while that is mended."""

import errno
import hashlib
import os
import random
import shutil
import sys
from dataclasses import replace

import pretended
import pytest
from pretended import KEPT, LENGTHS, check_saved, work
from simulated_disk import PowerCut, SimulatedDisk

from coupled.store import (
    KILL_POINTS,
    REAL,
    Committed,
    RunDirectory,
    StoreError,
    canonical_json,
    commit_object,
    mend,
    newest,
    read_manifest,
    recovery,
    rundir,
    shard_name,
    state,
    tree_hash,
    verify_object,
)
from coupled.store.rundir import read_config_digest

PREEMPT_AT = 6


class Life:
    """A run through all it can go through (preempted, gone on with, finished, extended), and the cuts in it."""

    def __init__(self, folder, disk=SimulatedDisk):
        self.folder, self.disk = folder, disk
        self.place = folder / "0"
        self.place.mkdir(parents=True)
        self.preempted, self.cuts, self.promised, self.saved, self.fs = False, 0, None, None, None

    @property
    def root(self):
        return self.place / "run"

    def promise(self, saved):
        """From here on these lines may not be lost, until a recovery rewinds them; nor the state that was saved."""
        self.promised, self.saved = (self.root / "manifest.jsonl").read_bytes(), saved

    def began(self, step):
        assert self.saved is None or step >= self.saved, f"saved at {self.saved}, gone on from {step}"

    def live(self, again=None, **moments):
        """Until the end of the longer run, or a cut; True if the end was reached. `again`: on this disk as it is."""
        self.fs = again or self.disk(self.place, **moments)
        try:
            while not self._done():
                self._go_on()
        except (PowerCut, StoreError):
            self.cuts += 1
            return False
        finally:
            self.fs.die()
        return True

    def _done(self):
        return (
            state(self.root, self.fs) == "finished" and read_config_digest(self.root, self.fs) == f"{LENGTHS[1]:064d}"
        )

    def _go_on(self):
        self.promised = None
        mend(self.root, self.fs)
        found = state(self.root, self.fs)
        long = found == "finished" or (
            found == "unfinished" and read_config_digest(self.root, self.fs) != f"{LENGTHS[0]:064d}"
        )
        preempt_at = None if self.preempted or long else PREEMPT_AT
        if found == "finished":
            self.saved = None  # which of its states the longer run has too is for the extension to find
        work(self.root, self.fs, LENGTHS[long], preempt_at, self.promise, self.began)
        self.preempted |= preempt_at is not None

    def cut(self, seed, mode):
        """The power is back: what is on the disk now? Nothing torn is visible, nothing promised is gone."""
        self.place = self.fs.survive(self.folder / str(self.cuts), seed, mode)
        if state(self.root) == "absent":
            assert self.promised is None
            return
        mend(self.root)
        manifest = read_manifest(self.root / "manifest.jsonl")
        for entry in manifest.entries:
            if entry.kind in ("begin", "shard"):
                verify_object(self.root, entry.committed())
        check_saved(self.root, manifest, REAL)
        if self.promised is not None:
            assert (self.root / "manifest.jsonl").read_bytes().startswith(self.promised)


@pytest.fixture(scope="module")
def golden(memory):
    """The hash of a run of the longer length that was never touched; calls and points of a whole life."""
    folder = memory / "golden"
    folder.mkdir()
    work(folder / "run", REAL, LENGTHS[1])
    life = Life(folder / "life")
    assert life.live()
    whole(life, tree_hash(folder / "run"))
    return tree_hash(folder / "run"), life.fs.acts, life.fs.points


def whole(life, expected):
    """The golden bytes, and no leftovers beside them."""
    assert tree_hash(life.root) == expected
    others = {p.relative_to(life.root).as_posix() for p in life.root.rglob("*") if p.is_file()}
    assert {name for name in others if name.endswith(".tmp") or name.startswith("preempt")} == set()


def survives(folder, expected, cuts, seed=0, mode="random", disk=SimulatedDisk):
    """A life with these cuts, each counted in calls since the one before, ends in the golden bytes."""
    life = Life(folder, disk)
    for number, cut_at in enumerate(cuts):
        if life.live(cut_at=cut_at):
            break
        life.cut(seed + number, mode)
    assert life.live()
    whole(life, expected)
    shutil.rmtree(folder)


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


# -- each step of the protocol, left out or out of order, is seen


class NoFileSync(SimulatedDisk):
    def _make_durable(self, node):
        if node is not None and node.folder:
            super()._make_durable(node)


class NoFolderSync(SimulatedDisk):
    def _make_durable(self, node):
        if node is not None and not node.folder:
            super()._make_durable(node)


class NoManifestSync(SimulatedDisk):
    def append(self, path, data, label):
        fd = self.open(path, os.O_WRONLY | os.O_APPEND)
        self.write_all(fd, data)
        self.close(fd)


class InPlace(SimulatedDisk):
    """Without the temporary name and the rename."""

    def write_new(self, path, pieces, label="object"):
        super().write_new(path.with_name(path.name.removesuffix(".tmp")), pieces, label)

    def replace(self, temporary, final):
        pass


def line_before_object(self, name, data, first, last):
    done = Committed(name, len(data), hashlib.sha256(data).hexdigest())
    entry = self._manifest.append("shard", first, last, done)
    commit_object(self._fs, self.root, name, data)
    return entry


def checkpoint_line_before_files(self, step, files, state):
    folder = rundir.checkpoint_folder(step)
    listed = {
        f"{name}.safetensors": {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
        for name, data in sorted(files.items())
    }
    text = canonical_json({"files": listed, "state": dict(state), "step": step})
    done = commit_object(self._fs, self.root, f"{folder}/state.json", text)
    entry = self._manifest.append("checkpoint", step, step, done)
    self.put_files(folder, files)
    self._checkpoints.append(step)
    self.settle(retired=False)
    return entry


def preempt_goes_first(self, step, files, state):
    self._remove("preempt")
    return COMMIT_CHECKPOINT(self, step, files, state)


def run_json_goes_first(root, run_json, fs):
    entry = STAGE(root, run_json, fs)
    fs.replace(root / "run.json.tmp", root / "run.json")
    fs.sync_directory(root)
    return entry


def manifest_in_place(root, prefix, fs):
    fd = fs.open(root / "manifest.jsonl", os.O_RDWR)
    fs.truncate(fd)
    fs.write_all(fd, b"".join(entry.line() for entry in prefix))
    fs.sync(fd)
    fs.close(fd)


def settled_only_by_commits(self, *, retired):
    if sys._getframe(1).f_code.co_name == "commit_checkpoint":
        SETTLE(self, retired=retired)


def blind(root, *arguments):
    raise StoreError(root, "not looked at")


SETTLE = RunDirectory.settle
COMMIT_CHECKPOINT = RunDirectory.commit_checkpoint
STAGE = recovery._stage
MUTANTS = {
    "files are not fsynced": NoFileSync,
    "folders are not fsynced": NoFolderSync,
    "manifest lines are not fsynced": NoManifestSync,
    "no temporary name, no rename": InPlace,
    "the line comes before its object": (RunDirectory, "commit_shard", line_before_object),
    "a checkpoint's line comes before its files": (RunDirectory, "commit_checkpoint", checkpoint_line_before_files),
    "preempt goes before the next checkpoint is there": (RunDirectory, "commit_checkpoint", preempt_goes_first),
    "a checkpoint retires nothing": (RunDirectory, "settle", lambda self, retired: self._remove("preempt")),
    "a torn line stays": (recovery, "read_manifest", lambda *a: replace(read_manifest(*a), torn=False)),
    "what is not committed stays": (recovery, "_remove_orphans", lambda *a: 0),
    "the manifest is not rewound": (recovery, "_replace_manifest", lambda *a: None),
    "the manifest is rewritten in place": (recovery, "_replace_manifest", manifest_in_place),
    "a checkpoint is not settled after a kill": (RunDirectory, "settle", settled_only_by_commits),
    "run.json is replaced before the manifest": (recovery, "_stage", run_json_goes_first),
    "an extension is not completed": (recovery, "is_half_extended", lambda *a: False),
    "preempt/ is not looked at": (newest, "read_preempted", blind),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_step_of_the_protocol_left_out_or_out_of_order_is_seen(mutant, golden, memory, monkeypatch):
    expected, acts, _ = golden
    patch, disk = MUTANTS[mutant], SimulatedDisk
    if isinstance(patch, tuple):
        monkeypatch.setattr(*patch)
    else:
        disk = patch
    calls = list(range(len(acts)))
    rng = random.Random(0)
    rng.shuffle(calls)
    for call in calls:
        mode = ("random", "lost")[call % 2]
        try:
            survives(memory / "x", expected, [call, rng.randrange(40)], seed=call, mode=mode, disk=disk)
        except (AssertionError, StoreError):
            shutil.rmtree(memory / "x", ignore_errors=True)
            return
    pytest.fail(f"not seen: {mutant}")


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
        run.commit_shard(shard_name("scalars", arm, first, last), b"other", first, last)
