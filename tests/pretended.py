"""A trainer without torch: every byte is a function of the step, so a golden run exists, and a wrong resume shows."""

import hashlib

import numpy as np

from coupled.store import (
    RunDirectory,
    canonical_json,
    open_tensors,
    read_saved,
    reopen,
    shard_name,
    state,
    to_bytes,
)
from coupled.store.recovery import ReopenTerms
from coupled.store.rundir import checkpoint_folder, preempt_folder, read_config_digest

KEPT = frozenset({0, 8})
CHECKPOINTS = (0, 2, 4, 8, 10)
BOUNDARIES = (*CHECKPOINTS, 3, 5, 9)
ARMS = ("cl", "nscl")
LENGTHS = (7, 11)  # the second is an extension of the first


def run_json(length):
    return canonical_json({"config_digest": f"{length:064d}", "steps": length})


def last_of(length):
    return KEPT | {length}


def step_of(value, step):
    """The state after one more step: it depends on all steps before it."""
    return hashlib.sha256(value + step.to_bytes(8, "little")).digest()


def work(root, fs, length, preempt_at=None, promise=lambda saved: None, began=lambda step: None):
    """Makes or goes on with the run; `began(step)` says where. `promise(saved)`: all lines so far, and the state after
    `saved` steps (None: none yet), are durable from here on.
    """
    keeps = last_of(length).__contains__
    checkpoints = {*CHECKPOINTS, length}
    step, value, rows, first = 0, b"\0" * 32, [], 0
    if state(root, fs) == "absent":
        run, restored = RunDirectory.create(root, run_json(length), fs, keeps), False
    else:
        longer = read_config_digest(root, fs) != f"{length:064d}"
        usable = checkpoints.__contains__ if longer else lambda step: True
        run, position = reopen(root, keeps, ReopenTerms(run_json=run_json(length), usable=usable), fs)
        restored = position.saved is not None
        if restored:
            saved = position.saved
            step, value, first = saved.step, bytes.fromhex(saved.state["value"]), saved.state["first"]
            if "rows.safetensors" in saved.files:
                rows = list(open_tensors(root / saved.folder / "rows.safetensors", fs)["rows"])
    start = step
    try:
        began(start)
        promise(None if not restored else start)
        if not restored:
            checkpoint(run, 0, value, 0)
            promise(0)
        newest = start
        while step < length:
            if step == preempt_at and step != start:
                files = {arm: arm_bytes(arm, value) for arm in ARMS}
                files["rows"] = to_bytes({"rows": np.array(rows, np.uint8).reshape(-1, 32)}, {})
                commit_preempt(run, step, files, {"value": value.hex(), "first": first})
                promise(step)
                return
            rows.append(np.frombuffer(value, np.uint8))
            value, step = step_of(value, step), step + 1
            if step in BOUNDARIES or step == length:
                seal(run, rows, first, step - 1)
                rows, first = [], step
                promise(newest)
            if step in checkpoints:
                checkpoint(run, step, value, first)
                newest = step
                promise(newest)
        seal(run, [np.frombuffer(value, np.uint8)], length, length)
        run.log({"event": "almost"})
        run.finish(length)
        promise(newest)
    finally:
        run.close()


def seal(run, rows, first, last):
    for arm in ARMS:
        data = to_bytes({"rows": np.array(rows, np.uint8), "arm": np.frombuffer(arm.encode(), np.uint8)}, {})
        commit_shard(run, shard_name("scalars", arm, first, last), data, first, last)


def checkpoint(run, step, value, first):
    files = {arm: arm_bytes(arm, value) for arm in ARMS}
    commit_checkpoint(run, step, files, {"value": value.hex(), "first": first})


def commit_shard(run, name, data, first, last):
    """Put one sealed shard and commit it, as a trainer with a writer does in two steps."""
    return run.append_shard(run.put(name, data), first, last)


def commit_checkpoint(run, step, files, state):
    """Put the files of a checkpoint and commit it."""
    return run.append_checkpoint(step, run.put_files(checkpoint_folder(step), files), state)


def commit_preempt(run, step, files, state):
    """Put the files of a state at a stop and commit it."""
    run.append_preempt(step, run.put_files(preempt_folder(step), files), state)


def arm_bytes(arm, value):
    return to_bytes({"w": np.frombuffer(value + arm.encode(), np.uint8)}, {})


def check_saved(root, manifest, fs):
    """Every checkpoint that the manifest has and did not retire is whole."""
    retired = {entry.name for entry in manifest.entries if entry.kind == "retire"}
    for entry in manifest.entries:
        if entry.kind == "checkpoint" and entry.name not in retired:
            read_saved(root, entry, fs).verify(root, fs)
