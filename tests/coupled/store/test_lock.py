import errno
import json
import os
import socket
import subprocess
import sys

import pytest

from coupled.errors import UserError
from coupled.store import FileSystem, RunLock, StoreError


def test_a_second_lock_is_refused_in_one_line_naming_the_holder(tmp_path):
    held = RunLock(tmp_path)
    with pytest.raises(UserError) as refused:
        RunLock(tmp_path)
    assert f"in use by process {os.getpid()} on {socket.gethostname()}; one process" in str(refused.value)
    assert str(refused.value).isprintable() and "--set name=" in str(refused.value)
    held.release()
    RunLock(tmp_path).release()


def test_whoever_only_looks_for_a_moment_keeps_nobody_out(tmp_path):
    """`coupled-run list` tries a lock, shared; a lock that is not free at once is tried again."""
    tries = []

    class Looked(FileSystem):
        def lock(self, fd):
            tries.append(fd)
            return len(tries) > 1 and super().lock(fd)

    RunLock(tmp_path, Looked()).release()
    assert len(tries) == 2


def test_the_owner_record_is_of_the_last_holder_alone(tmp_path):
    (tmp_path / "run.lock").write_text("x" * 500)
    with RunLock(tmp_path):
        assert json.loads((tmp_path / "run.lock").read_text()) == {"host": socket.gethostname(), "pid": os.getpid()}


@pytest.mark.parametrize("record", [b"", b"\xff", b"[]", b'{"pid":"x","host":1}', b'{"pid":1}', b"x" * 10_000])
def test_a_damaged_owner_record_still_gives_one_line(tmp_path, record):
    with RunLock(tmp_path):
        (tmp_path / "run.lock").write_bytes(record)
        with pytest.raises(UserError, match="in use by another process;"):
            RunLock(tmp_path)


def test_a_killed_holder_frees_the_lock_even_while_its_forked_child_lives(tmp_path):
    code = (
        "import os, signal, sys; from pathlib import Path; from coupled.store import RunLock\n"
        "lock = RunLock(Path(sys.argv[1])); ready, told = os.pipe()\n"
        "if os.fork() == 0: os.write(told, b'x'); sys.stdin.read(); os._exit(0)\n"
        "os.read(ready, 1); os.kill(os.getpid(), signal.SIGKILL)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE) as process:
        process.wait(timeout=20)
        RunLock(tmp_path).release()  # the child still waits for the end of its input


def test_a_lock_file_that_was_moved_away_meanwhile_is_not_a_lock(tmp_path, watched):
    fs = watched()
    (tmp_path / "run").mkdir()
    lock = fs.lock
    fs.lock = lambda fd: (tmp_path / "run").rename(tmp_path / "gone") and lock(fd)
    with pytest.raises(UserError, match="in use"):
        RunLock(tmp_path / "run", fs)


def test_a_lock_can_be_stolen_and_the_record_is_the_thiefs(tmp_path):
    with RunLock(tmp_path), RunLock(tmp_path, steal=True):
        assert json.loads((tmp_path / "run.lock").read_bytes())["pid"] == os.getpid()
        with pytest.raises(UserError, match="in use"):
            RunLock(tmp_path)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_without_locks_is_named_with_the_way_out(number, tmp_path, watched, monkeypatch):
    def refuse(fs, fd):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(FileSystem, "lock", refuse)
    with pytest.raises(UserError, match="has no locks.*--steal"):
        RunLock(tmp_path)
    RunLock(tmp_path, steal=True).release()


def test_a_symlink_is_not_taken_for_a_lock(tmp_path):
    (tmp_path / "target").write_text("kept")
    (tmp_path / "run.lock").symlink_to(tmp_path / "target")
    with pytest.raises(StoreError):
        RunLock(tmp_path)
    assert (tmp_path / "target").read_text() == "kept"
