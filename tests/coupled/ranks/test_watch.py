"""The heart of a rank finds a lost one by its beats alone, and takes nobody for lost who is not."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st

from coupled.errors import Preempted, RunStopped
from coupled.ranks import faults
from coupled.ranks.faults import Silences, Watch, agreed

LINE = "coupled-run: rank 1 (process {} on {}) died or hung (ranks.timeout = 600 s); next: go on\n"


def started(rank, way, port, folder):
    """A rank as torchrun would start it, without a launcher that ends it when another has died."""
    rendezvous = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    here = {"RANK": str(rank), "WORLD_SIZE": "3", "LOCAL_RANK": str(rank), "TORCHELASTIC_RUN_ID": "watched"}
    paths = {"PYTHONPATH": os.pathsep.join(sys.path)}
    call = [sys.executable, str(Path(__file__).with_name("watched.py")), way, str(folder)]
    return subprocess.Popen(call, stderr=subprocess.PIPE, text=True, env={**os.environ, **rendezvous, **here, **paths})


@pytest.mark.slow
def test_ranks_whose_messages_never_fail_end_within_30_s_when_one_was_killed_and_name_it(tmp_path):
    store = dist.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    ranks = [started(rank, way, store.port, tmp_path) for rank, way in enumerate(("spins", "blocks", "blocks"))]
    try:
        while len(list(tmp_path.glob("?"))) < 3:
            assert all(rank.poll() is None for rank in ranks)
            time.sleep(0.05)
        ranks[1].send_signal(signal.SIGKILL)  # it stays as a zombie, which has gone all the same
        ends = time.monotonic() + 30
        printed = [ranks[k].communicate(timeout=ends - time.monotonic())[1] for k in (0, 2)]
    finally:
        for rank in ranks:
            rank.kill()
            rank.communicate()
    assert [rank.returncode for rank in ranks] == [3, -signal.SIGKILL, 3]
    assert printed == [LINE.format(ranks[1].pid, socket.gethostname()), ""]


class Ranks:
    """Three ranks of one process, without main threads: the exit codes with which they end, and the lines."""

    def __init__(self, monkeypatch):
        self.store, self.ends, self.lines = dist.HashStore(), [], []
        monkeypatch.setattr(faults, "_BEAT_S", 0.01)
        monkeypatch.setattr(faults, "_exists", lambda pid: False)
        monkeypatch.setattr(faults.os, "kill", lambda pid, number: None)
        monkeypatch.setattr(faults.os, "write", lambda file, data: self.lines.append(data.decode()))
        monkeypatch.setattr(faults.os, "_exit", self._exit)
        monkeypatch.setattr(threading, "excepthook", lambda error: None)  # what a process's end is here
        self.watches = [Watch(self.store, rank, 3, timeout=1e9) for rank in range(3)]

    def _exit(self, code):
        self.ends.append(code)
        raise SystemExit

    def wait(self):
        """Twice as long as it takes to find a lost rank."""
        looks = [self.store.add(f"beat/{rank}", 0) for rank in range(3)]
        ends = time.monotonic() + 60
        while len(self.ends) < 2 and time.monotonic() < ends:
            now = [self.store.add(f"beat/{rank}", 0) for rank in range(3)]
            if max(b - a for a, b in zip(looks, now, strict=True)) > 2 * faults._LOOKS * faults._BEATS_A_LOOK:
                break
            time.sleep(0.01)


@pytest.fixture
def ranks(monkeypatch):
    three = Ranks(monkeypatch)
    yield three
    for watch in three.watches:
        watch.close()


def test_a_rank_whose_beats_stand_still_ends_the_others_and_one_line_names_it(ranks):
    ranks.watches[1].close()
    ranks.wait()
    assert ranks.ends == [3, 3]
    (line,) = ranks.lines
    assert line.startswith(f"coupled-run: rank 1 (process {os.getpid()} on ") and line.endswith(" s)\n")


def test_ranks_that_beat_end_nobody_whatever_their_main_threads_do(ranks):
    ranks.wait()
    assert not ranks.ends and not ranks.lines


def test_a_rank_that_has_finished_is_not_lost(ranks):
    ranks.watches[1].finish()
    ranks.watches[1].close()
    ranks.wait()
    assert not ranks.ends and not ranks.lines


def test_a_rank_that_stopped_as_all_have_agreed_to_is_not_lost_however_long_the_others_take(ranks, monkeypatch):
    monkeypatch.setattr(faults, "_LEAVE_S", 0)
    ranks.watches[1].leave(agreed(Preempted("SIGTERM")))
    ranks.watches[1].close()
    ranks.wait()
    assert not ranks.ends and not ranks.lines


def test_a_rank_that_stopped_by_itself_ends_the_others_with_its_code_and_without_a_line(ranks):
    error = RunStopped("out of memory")
    error.exit_code = 7
    ranks.watches[1].leave(error)
    ranks.watches[1].close()
    ranks.wait()
    assert ranks.ends == [7, 7] and not ranks.lines


def test_a_process_of_this_machine_that_is_still_there_is_waited_for(ranks, monkeypatch):
    monkeypatch.setattr(faults, "_exists", lambda pid: True)
    ranks.watches[1].close()
    ranks.wait()
    assert not ranks.ends and not ranks.lines


def test_a_process_of_this_machine_that_hangs_is_lost_after_the_timeout(ranks, monkeypatch):
    monkeypatch.setattr(faults, "_exists", lambda pid: True)
    for watch in ranks.watches:
        watch._timeout = 0.01
    ranks.watches[1].close()
    ranks.wait()
    assert ranks.ends == [3, 3] and len(ranks.lines) == 1


def test_a_rank_that_tells_its_own_end_is_not_ended_meanwhile(ranks):
    ranks.watches[0].finish()
    ranks.watches[2].finish()
    ranks.watches[1].close()
    ranks.wait()
    assert not ranks.ends and not ranks.lines


def test_a_rank_whose_store_has_gone_says_so_and_ends(ranks, monkeypatch):
    monkeypatch.setattr(faults, "_ALONE_S", 0)

    class Gone:
        def add(self, key, amount):
            raise RuntimeError("Connection reset by peer\nat …")

    ranks.watches[0]._heart = Gone()
    ranks.watches[0]._thread.join()
    assert ranks.lines[:1] == ["coupled-run: lost contact with the other ranks (Connection reset by peer)\n"]


def test_a_zombie_is_no_process_that_is_still_there():
    child = subprocess.Popen([sys.executable, "-c", ""])
    while Path(f"/proc/{child.pid}/stat").read_text().split()[2] != "Z":
        time.sleep(0.01)
    assert not faults._exists(child.pid) and faults._exists(os.getpid())
    child.wait()
    assert not faults._exists(child.pid)


@given(st.lists(st.booleans(), min_size=1, max_size=50))
def test_silence_is_the_number_of_looks_since_the_last_beat(beaten):
    silences, beats = Silences(), 0
    for look, beat in enumerate(beaten):
        beats += beat or look == 0
        (count,) = silences.after([str(beats).encode()])
        last = max((k for k in range(look + 1) if beaten[k] or k == 0), default=0)
        assert count == look - last
