import hashlib

import pytest

from coupled.store import (
    REAL,
    Committed,
    StoreError,
    check_name,
    commit_object,
    object_path,
    verify_object,
)

HOSTILE = [
    "", "/", "/etc/passwd", "..", "../x", "a/../b", "a/..", ".", "./a", "a/./b", "a//b", "a/", "a\0b", "a\\b", "a\nb",
    "\x1b[2J", "\ud800", "a" * 600, "b" * 252, "a/" * 300 + "a", "a.tmp", "\u202egpj",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_refused_in_one_printable_line(name):
    with pytest.raises(StoreError) as refused:
        check_name(name)
    assert str(refused.value).isprintable() and len(str(refused.value)) < 1000


@pytest.mark.parametrize("name", ["run.json", "records/scalars/cl/steps-0-1.safetensors", "a/é 1", "..a/b.."])
def test_a_plain_relative_name_is_accepted(name):
    assert check_name(name) == name


@pytest.mark.parametrize("data", [b"", b"abc", bytes(9 << 20)], ids=["empty", "small", "several pieces"])
def test_a_committed_object_has_its_bytes_size_and_hash(tmp_path, data):
    done = commit_object(REAL, tmp_path, "a/b", memoryview(data))
    assert done == Committed("a/b", len(data), hashlib.sha256(data).hexdigest())
    assert (tmp_path / "a/b").read_bytes() == data
    assert verify_object(tmp_path, done) == tmp_path / "a/b"


def test_the_order_is_write_sync_rename_sync_directory(tmp_path, watched):
    fs = watched()
    fs.root.mkdir()
    commit_object(fs, fs.root, "a/b/c", b"data")
    assert fs.acts == [
        "sync outside", "mkdir a", "sync .", "mkdir a/b", "sync a",
        "write a/b/c.tmp", "sync a/b/c.tmp", "rename a/b/c", "sync a/b",
    ]  # fmt: skip
    assert fs.points == ["object.written", "object.synced", "object.renamed", "object.durable"]


def test_a_folder_made_durable_once_is_not_synced_into_its_parent_again(watched):
    fs = watched()
    fs.root.mkdir()
    commit_object(fs, fs.root, "a/1", b"")
    before = len(fs.acts)
    commit_object(fs, fs.root, "a/2", b"x")
    assert fs.acts[before:] == ["write a/2.tmp", "sync a/2.tmp", "rename a/2", "sync a"]


def test_an_object_is_written_once(tmp_path):
    commit_object(REAL, tmp_path, "a", b"first")
    with pytest.raises(StoreError, match="already there"):
        commit_object(REAL, tmp_path, "a", b"second")
    assert (tmp_path / "a").read_bytes() == b"first"


def test_a_leftover_temporary_file_is_never_written_into(tmp_path):
    (tmp_path / "a.tmp").write_bytes(b"left by somebody")
    with pytest.raises(StoreError, match="File exists"):
        commit_object(REAL, tmp_path, "a", b"x")
    assert (tmp_path / "a.tmp").read_bytes() == b"left by somebody"


def test_short_writes_are_continued(tmp_path, watched):
    fs = watched()
    fs.write = lambda fd, data: type(fs).write(fs, fd, data[:3])
    commit_object(fs, tmp_path, "a", b"0123456789")
    assert (tmp_path / "a").read_bytes() == b"0123456789"


@pytest.mark.parametrize("moment", range(4))
def test_a_kill_leaves_all_of_an_object_or_nothing_under_its_name(tmp_path, watched, killed, moment):
    with pytest.raises(killed):
        commit_object(watched(kill_at=moment), tmp_path, "a", b"data")
    assert (tmp_path / "a").exists() == (moment >= 2)
    assert not (tmp_path / "a").exists() or (tmp_path / "a").read_bytes() == b"data"


def test_an_error_of_the_operating_system_names_the_file_and_what_is_left(tmp_path, watched):
    with pytest.raises(StoreError, match=r"a: Input/output error; everything committed before is intact"):
        commit_object(watched(fail_at=1), tmp_path, "a", b"data")


@pytest.mark.parametrize("link", ["records", "records/x"])
def test_a_symlink_inside_a_run_is_never_followed(tmp_path, link):
    (tmp_path / "run/records").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/x").write_bytes(b"secret")
    if link == "records":
        (tmp_path / "run/records").rmdir()
    (tmp_path / "run" / link).symlink_to(tmp_path / "elsewhere" / ("" if link == "records" else "x"))
    for act in (lambda: object_path(tmp_path / "run", "records/x"), lambda: commit_to(tmp_path / "run")):
        with pytest.raises(StoreError, match="symlink"):
            act()


def commit_to(root):
    return commit_object(REAL, root, "records/x", b"")


def test_damage_to_an_object_is_named(tmp_path):
    done = commit_object(REAL, tmp_path, "a", b"data")
    (tmp_path / "a").write_bytes(b"dat0")
    with pytest.raises(StoreError, match="a: sha256"):
        verify_object(tmp_path, done)
    (tmp_path / "a").write_bytes(b"dat")
    with pytest.raises(StoreError, match="3 bytes on disk, 4 committed"):
        verify_object(tmp_path, done)
    (tmp_path / "a").unlink()
    with pytest.raises(StoreError, match="No such file"):
        verify_object(tmp_path, done)
