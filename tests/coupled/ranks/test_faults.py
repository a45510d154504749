"""A rank that dies, hangs or is asked to stop: the whole command ends in bounded time, names it, and goes on later."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import tiny

from coupled.config.toml import to_toml
from coupled.driver.train import train
from coupled.store import tree_hash

pytestmark = pytest.mark.slow
THREE = {"cl": {"objective": "dcl"}, "nscl": {"objective": "nscl"}, "scl": {"objective": "scl"}}
SHORT = {
    "arms": THREE,
    "batches": {"size": 32},
    "train": {"steps": 40},
    "checkpoints": {"keep": {"steps": [0]}, "recovery": {"every": 10}},
}
TIMEOUT_S = 8


@pytest.fixture(scope="module")
def golden(tmp_path_factory):
    return tree_hash(train(tiny(tmp_path_factory.mktemp("golden"), **SHORT)))


class Command:
    """`coupled-run train --ranks 3` at work; standard error goes to a file."""

    def __init__(self, folder, *options):
        config = folder / "tiny.toml"
        config.write_text(to_toml(tiny(folder, **SHORT)))
        self.run, self.said = folder / "tiny", folder / "stderr"
        self.options = ["--set", f"paths.runs={folder}", "--set", f"ranks.timeout={TIMEOUT_S}"]
        self.process = self.start("train", str(config), "--ranks", "3", *self.options, *options)

    def start(self, *arguments):
        with self.said.open("ab") as file:
            return subprocess.Popen([sys.executable, "-m", "coupled", *arguments], stderr=file, stdout=file)

    def wait_for(self, text, path):
        ends = time.monotonic() + 90
        while not (path.exists() and text in path.read_text()):
            assert self.process.poll() is None and time.monotonic() < ends, self.said.read_text()
            time.sleep(0.05)

    def ranks(self):
        """The processes of ranks 0, 1 and 2, once they step."""
        self.wait_for("step-000000010", self.run / "manifest.jsonl")
        pids = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        by_rank = {}
        for pid in pids:
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            by_rank |= {int(word[5:]): int(pid) for word in environment if word.startswith(b"RANK=")}
        assert sorted(by_rank) == [0, 1, 2]
        return by_rank

    def ended(self, within):
        """The exit code, and no process is left."""
        code = self.process.wait(within)
        assert not [pid for pid in self.pids if Path(f"/proc/{pid}").exists()]
        return code

    def goes_on_to(self, golden, *options):
        before = self.said.read_text()
        assert self.start("resume", str(self.run), *options).wait(300) == 0, self.said.read_text()[len(before) :]
        assert tree_hash(self.run) == golden

    def hit(self, rank, number):
        pids = self.ranks()
        self.pids = list(pids.values())
        os.kill(pids[rank] if rank is not None else self.process.pid, number)
        return time.monotonic()


# What a run goes on with is one of 3, 2 and 1 ranks in turn: a launch costs ten seconds, one process four.
@pytest.mark.parametrize(("rank", "on"), [(0, "3"), (1, "1")])
def test_a_rank_that_dies_ends_the_job_within_30_s_by_name_and_it_goes_on_later(rank, on, golden, tmp_path):
    command = Command(tmp_path)
    command.hit(rank, signal.SIGKILL)
    assert command.ended(within=30) == 3
    printed = command.said.read_text()
    assert f"rank {rank} (process" in printed and "Traceback" not in printed
    assert "next: coupled-run resume" in printed
    command.goes_on_to(golden, "--ranks", on)


def test_a_rank_that_hangs_ends_the_job_within_its_timeout_and_10_s_by_name(golden, tmp_path):
    command = Command(tmp_path)
    began = command.hit(2, signal.SIGSTOP)
    assert command.ended(within=TIMEOUT_S + 10) == 3
    assert time.monotonic() - began > TIMEOUT_S - 1
    printed = command.said.read_text()
    assert "rank 2 (process" in printed and "died or hung" in printed and "Traceback" not in printed
    command.goes_on_to(golden, "--ranks", "1")


@pytest.mark.parametrize(("number", "on"), [(signal.SIGTERM, "2"), (signal.SIGUSR2, "1"), (signal.SIGINT, "1")])
def test_a_signal_to_the_launcher_makes_the_state_durable_within_25_s_and_it_goes_on_later(
    number, on, golden, tmp_path
):
    command = Command(tmp_path)
    command.hit(None, number)
    assert command.ended(within=25) == 143
    printed = command.said.read_text()
    assert printed.count("nothing is lost; next: coupled-run resume") == 1 and "Traceback" not in printed
    assert len(list(command.run.glob("preempt/*"))) <= 1
    command.goes_on_to(golden, "--ranks", on)


def test_a_signal_that_comes_twice_to_a_rank_is_one_request(golden, tmp_path):
    # Slurm signals every process of a job step, and the launcher passes its own on.
    command = Command(tmp_path)
    command.hit(None, signal.SIGTERM)
    for pid in command.pids:
        os.kill(pid, signal.SIGTERM)
    assert command.ended(within=25) == 143
    assert "nothing is lost" in command.said.read_text()
    command.goes_on_to(golden, "--ranks", "1")


def test_a_write_that_fails_on_one_rank_stops_all_of_them_with_one_line(golden, tmp_path):
    command = Command(tmp_path)
    pids = command.ranks()
    command.pids = list(pids.values())
    # The shards of arm scl, which rank 2 writes, cannot be put where a file is in the way.
    folder = command.run / "records/similarity/scl"
    folder.rename(folder.with_name("away"))
    folder.write_text("in the way")
    assert command.ended(within=30) == 3
    printed = command.said.read_text()
    assert printed.count("coupled-run: ") == 1 and "scl" in printed and "Traceback" not in printed
    folder.unlink()
    folder.with_name("away").rename(folder)
    command.goes_on_to(golden, "--ranks", "1")


def test_a_user_s_mistake_on_ranks_is_one_line_and_leaves_nothing(tmp_path):
    config = tmp_path / "tiny.toml"
    config.write_text(to_toml(tiny(tmp_path, arms=THREE)) + '\n[arms.near]\nkind = "nudged"\nscale = 1e-12\n')
    call = [
        sys.executable,
        "-m",
        "coupled",
        "train",
        str(config),
        "--set",
        f"paths.runs={tmp_path}/runs",
        "--ranks",
        "2",
    ]
    done = subprocess.run(call, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2 and done.stderr.count("coupled-run: ") == 1, done.stderr
    assert "a nudge that float32 can hold" in done.stderr and not (tmp_path / "runs").exists()


def test_the_bench_of_ranks_says_both_speeds_and_leaves_no_run(tmp_path):
    config = tmp_path / "tiny.toml"
    config.write_text(to_toml(tiny(tmp_path, arms=THREE)))
    call = [sys.executable, "-m", "coupled", "bench", str(config), "--ranks", "2", "--steps", "10"]
    done = subprocess.run(call, capture_output=True, text=True, check=False, timeout=120)
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and len(lines) == 3, done.stderr
    assert lines[0].startswith("2 ranks, each with arms of its own, 1 thread each: ")
    together, alone = (float(line.split()[-2]) for line in lines[:2])
    # one block: its ratio is that of the two speeds, up to what two decimals hide
    assert abs(float(lines[2].split()[1]) - together / alone) < 0.05 * together / alone + 0.01
    assert not (tmp_path / "tiny").exists()
