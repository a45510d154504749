import hashlib
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from pretended import commit_shard

from coupled.errors import UserError
from coupled.store import (
    REAL,
    RunDirectory,
    StoreError,
    canonical_json,
    open_tensors,
    read_manifest,
    shard_name,
    state,
    tree_hash,
    verify_object,
)


def files_under(root):
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def test_a_run_holds_exactly_what_was_committed(tmp_path, write_run):
    write_run(REAL)
    root = tmp_path / "run"
    assert files_under(root) == [
        "checkpoints/step-000000004/cl.safetensors",
        "checkpoints/step-000000004/state.json",
        "log/events.jsonl",
        "manifest.jsonl",
        "records/scalars/cl/steps-000000000-000000001.safetensors",
        "records/scalars/cl/steps-000000002-000000003.safetensors",
        "run.json",
        "run.lock",
    ]
    entries = read_manifest(root / "manifest.jsonl").entries
    assert [(e.kind, e.first, e.last) for e in entries] == [
        ("begin", 0, 0), ("shard", 0, 1), ("shard", 2, 3), ("checkpoint", 4, 4), ("finish", 0, 4),
    ]  # fmt: skip
    paths = [verify_object(root, e.committed()) for e in entries if e.size is not None]
    assert paths[0] == root / "run.json" and open_tensors(paths[2])["x"].tolist() == [2, 3, 4, 5]


def test_state_json_lists_every_file_with_size_and_hash(tmp_path, write_run):
    write_run(REAL)
    folder = tmp_path / "run/checkpoints/step-000000004"
    data = (folder / "cl.safetensors").read_bytes()
    listed = {"cl.safetensors": {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}}
    expected = {"files": listed, "state": {"position": 4}, "step": 4}
    assert (folder / "state.json").read_bytes() == canonical_json(expected)


def test_an_object_is_durable_before_its_manifest_line(watched, write_run):
    fs = watched()
    write_run(fs)
    line = fs.acts.index("write manifest.jsonl", fs.acts.index("rename run.json"))
    assert fs.acts[line - 4 : line + 2] == [
        "write records/scalars/cl/steps-000000000-000000001.safetensors.tmp",
        "sync records/scalars/cl/steps-000000000-000000001.safetensors.tmp",
        "rename records/scalars/cl/steps-000000000-000000001.safetensors",
        "sync records/scalars/cl",
        "write manifest.jsonl",
        "sync manifest.jsonl",
    ]


def test_creation_commits_with_run_json_after_lock_and_manifest(watched, run_json):
    fs = watched()
    RunDirectory.create(fs.root, run_json(), fs).close()
    assert fs.acts[-8:] == [
        "write run.lock", "write manifest.jsonl", "sync manifest.jsonl", "sync .",
        "write run.json.tmp", "sync run.json.tmp", "rename run.json", "sync .",
    ]  # fmt: skip


def test_a_kill_at_any_point_leaves_only_whole_committed_objects_visible(tmp_path, watched, write_run, killed):
    fs = watched()
    write_run(fs)
    golden = read_manifest(fs.root / "manifest.jsonl").entries
    for moment, point in enumerate(fs.points):
        shutil.rmtree(fs.root, ignore_errors=True)
        with pytest.raises(killed, match=point):
            write_run(watched(kill_at=moment))
        if state(fs.root) == "absent":
            write_run(REAL)  # whatever a killed creation left is no obstacle
            continue
        manifest = read_manifest(fs.root / "manifest.jsonl")
        assert manifest.entries == golden[: len(manifest.entries)] and not manifest.torn
        for entry in manifest.entries:
            _ = entry.size is None or verify_object(fs.root, entry.committed())


def test_an_error_at_any_call_is_one_line_and_leaves_the_committed_readable(watched, write_run):
    fs = watched()
    write_run(fs)
    golden = read_manifest(fs.root / "manifest.jsonl").entries
    for call, act in enumerate(fs.acts):
        shutil.rmtree(fs.root, ignore_errors=True)
        with pytest.raises(StoreError, match="Input/output error") as refused:
            write_run(watched(fail_at=call))
        assert str(refused.value).isprintable(), act
        if state(fs.root) == "absent":
            assert files_under(fs.root) in ([], ["run.lock"])
        else:
            manifest = read_manifest(fs.root / "manifest.jsonl")
            assert manifest.entries == golden[: len(manifest.entries)]


def test_a_failed_shard_has_no_line_and_the_run_goes_on_without_it(tmp_path, run_json):
    with RunDirectory.create(tmp_path / "run", run_json()) as run:
        with pytest.raises(StoreError):
            commit_shard(run, "../out", b"", 0, 0)
        commit_shard(run, shard_name("s", "a", 0, 0), b"", 0, 0)
    assert len(read_manifest(tmp_path / "run/manifest.jsonl").entries) == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("place", ["file", "folder", "run", "link", "dangling"])
def test_creation_is_refused_where_something_is_and_touches_nothing(tmp_path, run_json, place):
    for name in ("folder/thesis.tex", "run/run.json", "empty/x", "file"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(run_json())
    (tmp_path / "empty/x").unlink()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    before = files_under(tmp_path)
    with pytest.raises(UserError, match="exists already"):
        RunDirectory.create(tmp_path / place, run_json())
    assert files_under(tmp_path) == before


def test_a_run_made_by_another_process_just_before_the_lock_is_kept(watched, run_json):
    fs = watched()
    lock = fs.lock
    fs.lock = lambda fd: (fs.root / "run.json").write_bytes(b"of another") and lock(fd)
    with pytest.raises(UserError, match="exists already"):
        RunDirectory.create(fs.root, run_json(), fs)
    assert (fs.root / "run.json").read_bytes() == b"of another"


def test_an_empty_folder_becomes_a_run_and_parents_are_made(tmp_path, run_json):
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "empty", tmp_path / "a/b/c"):
        RunDirectory.create(place, run_json()).close()
        assert state(place) == "unfinished"


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"config_digest":1}', b'{"config_digest":""}'])
def test_a_run_json_without_digest_is_a_programming_error_and_makes_nothing(tmp_path, data):
    with pytest.raises(ValueError):
        RunDirectory.create(tmp_path / "run", data)
    assert not (tmp_path / "run").exists()


def test_of_two_processes_on_one_directory_exactly_one_wins(tmp_path, run_json):
    code = (
        "import sys; from pathlib import Path; from coupled.errors import UserError; from coupled.store import *\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "try: run = prepare(Path(sys.argv[1]), sys.argv[2].encode(), 'd' * 64)\n"
        "except UserError as error: print('lost', error, flush=True)\n"
        "else: print('won', flush=True)\n"
        "sys.stdin.readline()"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "run"), run_json().decode()]
    both = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.stdout.readline() for process in both] == ["ready\n"] * 2
    for process in both:
        process.stdin.write("go\n")
        process.stdin.flush()
    lines = sorted(process.stdout.readline() for process in both)
    for process in both:
        process.communicate("end\n", timeout=20)
    assert lines[1] == "won\n" and lines[0].startswith("lost")  # which refusal it met is a matter of microseconds
    assert state(tmp_path / "run") == "unfinished"


def test_events_carry_time_and_host_and_stay_outside_the_hash(tmp_path, write_run):
    write_run(REAL)
    before = tree_hash(tmp_path / "run")
    event = json.loads((tmp_path / "run/log/events.jsonl").read_text())
    assert event["event"] == "done" and event["time"] > 1.7e9 and event["host"]
    for outside in ("log/x", "analysis/x", "preempt/x", "run.lock"):
        (tmp_path / "run" / outside).parent.mkdir(exist_ok=True)
        (tmp_path / "run" / outside).write_text("anything")
    assert tree_hash(tmp_path / "run") == before


def test_two_equal_runs_have_one_tree_hash_and_any_change_shows(tmp_path, write_run):
    for name in ("run", "twin"):
        write_run(REAL, tmp_path / name)
    golden = tree_hash(tmp_path / "twin")
    assert tree_hash(tmp_path / "run") == golden
    for name in files_under(tmp_path / "run"):
        if name.split("/")[0] in ("run.lock", "log"):
            continue
        kept = (tmp_path / "run" / name).read_bytes()
        (tmp_path / "run" / name).write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
        assert tree_hash(tmp_path / "run") != golden
        (tmp_path / "run" / name).write_bytes(kept)
        (tmp_path / "run" / name).rename(tmp_path / "run" / (name + "x"))
        assert tree_hash(tmp_path / "run") != golden
        (tmp_path / "run" / (name + "x")).rename(tmp_path / "run" / name)
    (tmp_path / "run/records/left.tmp").touch()
    assert tree_hash(tmp_path / "run") != golden


def test_the_tree_hash_refuses_symlinks_and_pipes(tmp_path, write_run):
    write_run(REAL)
    os.mkfifo(tmp_path / "run/records/pipe")
    with pytest.raises(StoreError, match="neither"):
        tree_hash(tmp_path / "run")
    (tmp_path / "run/records/pipe").unlink()
    (tmp_path / "run/records/link").symlink_to("/etc")
    with pytest.raises(StoreError, match="neither"):
        tree_hash(tmp_path / "run")


def test_nothing_that_names_a_place_or_a_machine_is_hashed(tmp_path, write_run):
    write_run(REAL, tmp_path / "here")
    write_run(REAL, tmp_path / "some/where/else")
    assert tree_hash(tmp_path / "here") == tree_hash(tmp_path / "some/where/else")
    assert np.all([str(tmp_path).encode() not in p.read_bytes() for p in (tmp_path / "here").rglob("*.json*")])
