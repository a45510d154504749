"""Each step of the protocol that makes a write durable, left out or out of order, is seen after a cut."""

import hashlib
import os
import random
import shutil
import sys
from dataclasses import replace

import pretended
import pytest
from lives import survives
from simulated_disk import SimulatedDisk

from coupled.store import (
    Committed,
    RunDirectory,
    StoreError,
    canonical_json,
    commit_object,
    newest,
    read_manifest,
    recovery,
    rundir,
)


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
    if sys._getframe(1).f_code.co_name == "append_checkpoint":
        SETTLE(self, retired=retired)


def blind(root, *arguments):
    raise StoreError(root, "not looked at")


SETTLE = RunDirectory.settle
COMMIT_CHECKPOINT = pretended.commit_checkpoint
STAGE = recovery._stage
MUTANTS = {
    "files are not fsynced": NoFileSync,
    "folders are not fsynced": NoFolderSync,
    "manifest lines are not fsynced": NoManifestSync,
    "no temporary name, no rename": InPlace,
    "the line comes before its object": (pretended, "commit_shard", line_before_object),
    "a checkpoint's line comes before its files": (pretended, "commit_checkpoint", checkpoint_line_before_files),
    "preempt goes before the next checkpoint is there": (pretended, "commit_checkpoint", preempt_goes_first),
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


# Every second of them is of the fast tests.
@pytest.mark.parametrize(
    "mutant", [pytest.param(name, marks=pytest.mark.slow) if k % 2 else name for k, name in enumerate(MUTANTS)]
)
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
