"""Whatever is changed in a run is found and named."""

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pretended import LENGTHS, work

from coupled.store import REAL, StoreError, audit, read_manifest
from coupled.store.canonical import canonical_json
from coupled.store.rundir import begin_entry

pytestmark = pytest.mark.slow  # runs of their own; others of the fast ones train, resume and read as well

KEPT_STATES = {"finished", "preempted"}


@pytest.fixture(scope="module")
def runs(memory):
    """A finished run and one that was preempted."""
    work(memory / "finished", REAL, LENGTHS[1])
    work(memory / "preempted", REAL, LENGTHS[0], preempt_at=6)
    return {name: memory / name for name in ("finished", "preempted")}


def files_of(root):
    tops = ("run.json", "manifest.jsonl", "records", "checkpoints", "preempt")
    paths = [p for top in tops for p in [root / top, *(root / top).rglob("*")] if p.is_file()]
    return [(path, path.read_bytes()) for path in sorted(paths)]


def is_seen(root, lines):
    """An error, or (a manifest cut at a line's end can look like that of a run that got less far) fewer lines."""
    try:
        result = audit(root)
    except StoreError as error:
        assert str(error).isprintable()
        return True
    return result.manifest.torn or len(result.manifest.entries) < lines


def put(path, data):
    path.unlink()  # cutting a file to rewrite it waits for the disk
    path.write_bytes(data)


def test_a_whole_run_is_found_whole(runs):
    for root in runs.values():
        result = audit(root)
        assert result.notes == () and result.objects > 20
        assert result.size == sum(len(d) for p, d in files_of(root) if p.name != "manifest.jsonl") - sum(
            p.stat().st_size for p in root.glob("preempt/*/state.json")
        )


@pytest.mark.parametrize("name", sorted(KEPT_STATES))
def test_every_flip_of_a_bit_is_seen(name, runs):
    root, rng = runs[name], random.Random(0)
    files, lines = files_of(root), len(read_manifest(root / "manifest.jsonl").entries)
    for number in range(1000):
        path, data = files[number % len(files)]
        place, bit = rng.randrange(len(data)), 1 << rng.randrange(8)
        put(path, data[:place] + bytes([data[place] ^ bit]) + data[place + 1 :])
        assert is_seen(root, lines), (path, place, bit)
        put(path, data)
    assert not is_seen(root, lines)


@pytest.mark.parametrize("name", sorted(KEPT_STATES))
def test_every_cut_zeroed_tail_and_swap_is_seen(name, runs):
    root, rng = runs[name], random.Random(1)
    files, lines = files_of(root), len(read_manifest(root / "manifest.jsonl").entries)
    for number in range(250):
        path, data = files[number % len(files)]
        place = rng.randrange(len(data))
        for damaged in (data[:place], data[:place] + b"\0" * (len(data) - place), data + b"\0"):
            if damaged != data:
                put(path, damaged)
                assert is_seen(root, lines), (path, place)
        put(path, data)
        other, others = files[rng.randrange(len(files))]
        if others != data:
            put(path, others)
            put(other, data)
            assert is_seen(root, lines), (path, other)
            put(other, others)
            put(path, data)
    assert not is_seen(root, lines)


def test_a_cut_manifest_of_a_finished_run_is_a_run_that_is_not_finished(runs, memory):
    root = Path(shutil.copytree(runs["finished"], memory / "cut"))
    data = (root / "manifest.jsonl").read_bytes()
    put(root / "manifest.jsonl", b"".join(data.splitlines(keepends=True)[:-1]))
    assert not audit(root).manifest.finished
    put(root / "manifest.jsonl", data + b"x")
    with pytest.raises(StoreError, match="more after the line that finished"):
        audit(root)


def test_what_was_never_committed_is_named(runs, memory):
    for name in ("records/scalars/cl/x.safetensors", "checkpoints/step-000000008/extra", "drift/x.json"):
        root = Path(shutil.copytree(runs["finished"], memory / "stray"))
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).touch()
        with pytest.raises(StoreError, match=f"{name}.*never committed"):
            audit(root)
        shutil.rmtree(root)
    (runs["preempted"] / "records/x.tmp").touch()
    assert "records/x.tmp is not committed" in audit(runs["preempted"]).notes[0]
    (runs["preempted"] / "records/x.tmp").unlink()


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a\0b", "checkpoints/../../x"])
def test_a_hostile_name_in_a_state_json_is_refused(name, runs, memory):
    root = Path(shutil.copytree(runs["finished"], memory / "hostile"))
    try:
        state = {"files": {name: {"sha256": "0" * 64, "size": 1}}, "state": {}, "step": 8}
        recommit(root, "checkpoints/step-000000008/state.json", canonical_json(state))
        with pytest.raises(StoreError) as refused:
            audit(root)
        assert str(refused.value).isprintable()
    finally:
        shutil.rmtree(root)


def recommit(root, name, data):
    """Other bytes for an object, committed as if they had been written so."""
    import hashlib
    from dataclasses import replace

    put(root / name, data)
    entries = read_manifest(root / "manifest.jsonl").entries
    sha = hashlib.sha256(data).hexdigest()
    lines = [replace(e, size=len(data), sha256=sha) if e.name == name else e for e in entries]
    put(root / "manifest.jsonl", b"".join(entry.line() for entry in lines))


@pytest.mark.parametrize("size", [-1, 1.5, None, "1", True])
def test_a_size_that_is_none_is_refused_before_anything_is_read(size, runs, memory):
    root = Path(shutil.copytree(runs["finished"], memory / "sizes"))
    try:
        state = {"files": {"cl.safetensors": {"sha256": "0" * 64, "size": size}}, "state": {}, "step": 8}
        recommit(root, "checkpoints/step-000000008/state.json", canonical_json(state))
        with pytest.raises(StoreError, match="state.json"):
            audit(root)
    finally:
        shutil.rmtree(root)


def test_a_changed_run_json_is_seen_and_a_recommitted_one_is_another_run(runs, memory):
    root = Path(shutil.copytree(runs["finished"], memory / "json"))
    put(root / "run.json", b"{}")
    with pytest.raises(StoreError, match="run.json"):
        audit(root)
    assert begin_entry(b"{}").line() != begin_entry((runs["finished"] / "run.json").read_bytes()).line()


def test_forty_real_kills_at_random_times_lose_nothing(memory):
    """SIGKILL of a process that writes; the next goes on where it was. A small process forks it, which is quick."""
    tests = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(tests.parent)}
    done = subprocess.run(
        [sys.executable, tests / "store_kills.py", memory / "kills", "40"],
        capture_output=True, text=True, check=False, timeout=300, cwd=tests, env=environment,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "killed 40\n"), done.stderr
