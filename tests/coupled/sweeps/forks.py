"""Kills of a whole sweep, from a process that has loaded torch and forks itself for every command and every worker,
which takes milliseconds instead of seconds: `python forks.py FOLDER JOBS COUNT`. Prints one JSON object.

The command is that of swept.py. It has a process group of its own, with its workers in it, and SIGKILL goes to all.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import swept
import torch

from coupled.store import tree_hash
from coupled.sweeps import crew, worker

STEPS = 16
SHARE = 0.25  # of the time that all runs are at work: the longest that a command works before it is killed


class Forked:
    """What crew needs of a Popen, of a worker that is a fork."""

    def __init__(self, command, stdin, env, pass_fds):
        # A lock lets go of its file in a fork. A copy of the descriptor holds it, as that which a process gets does.
        line, lock = pass_fds
        copy = os.dup(lock)
        self.pid, self.returncode = os.fork(), None
        if self.pid == 0:
            try:
                # As Popen does: else no connection ever ends.
                for number in [int(path.name) for path in Path("/proc/self/fd").iterdir()]:
                    if number > 2 and number not in (line, copy):
                        with suppress(OSError):
                            os.close(number)
                os._exit(worker.main([str(line), command[-1]]))
            finally:
                os._exit(70)
        os.close(copy)

    def poll(self):
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self, timeout=60.0):
        ends = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > ends:
                raise subprocess.TimeoutExpired("a worker", timeout)
            time.sleep(0.005)
        return self.returncode

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)


def start(folder):
    """A child that runs the command; what it prints goes to a file in the folder."""
    folder.mkdir(exist_ok=True)
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            os.setsid()
            printed = os.open(folder / "printed", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
            os.dup2(printed, 1)
            os.dup2(printed, 2)
            os.chdir(folder)
            code = swept.main(folder, JOBS, str(STEPS))
        finally:
            os._exit(code)
    return pid


def ended(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def state(folder):
    """What a sweep has made: the hash of each run, and sweep.json."""
    runs = {path.name: tree_hash(path) for path in (folder / swept.NAME).iterdir() if path.is_dir()}
    return runs, (folder / swept.NAME / "sweep.json").read_bytes()


def finished(folder):
    """The finished runs, and which files each has, with the time when each was written."""
    ends = [path for path in folder.glob("*/*/manifest.jsonl") if b'"finish"' in path.read_bytes()]
    return {
        path.parent: {f: (f.stat().st_ino, f.stat().st_mtime_ns) for f in path.parent.rglob("*") if f.is_file()}
        for path in ends
    }


def leftovers(folder):
    """Files that no undisturbed sweep leaves."""
    beside = {path.name for path in (folder / swept.NAME).iterdir() if path.is_file()} - {"sweep.json", "sweep.lock"}
    return sorted(beside | {str(p) for p in folder.rglob("*") if p.suffix == ".tmp" or p.name == "preempt"})


def printed(folder):
    return (folder / "printed").read_text() if (folder / "printed").exists() else ""


def wait_for_work(folder, before, pid):
    """Waits until a run says at which step it is, in more than the text before, or the command has ended."""
    while "at step" not in printed(folder)[len(before) :]:
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return
        time.sleep(0.005)


def kills(folder, count):
    golden, began = folder / "golden", time.monotonic()
    pid = start(golden)
    wait_for_work(golden, "", pid)
    begun = time.monotonic() - began
    assert ended(pid) == 0, printed(golden)
    worked, expected = time.monotonic() - began - begun, state(golden)
    rng, killed, sweeps, halfway, faults = random.Random(int(JOBS)), 0, 0, 0, []
    while killed < count:
        sweeps += 1
        place, before, code = folder / f"{sweeps}", {}, -1
        while code:
            text, pid = printed(place), start(place)
            if killed < count:
                if killed % 2:  # every other one while it starts
                    wait_for_work(place, text, pid)
                time.sleep(rng.uniform(0.0, SHARE * worked if killed % 2 else begun))
                os.killpg(pid, signal.SIGKILL)
            code = ended(pid)
            assert code in (0, -signal.SIGKILL), printed(place)
            killed += code != 0
            now = finished(place)
            faults += [f"{path} was repeated" for path in before if now.get(path) != before[path]]
            halfway += bool(code and list(place.glob("*/*/manifest.jsonl")) and len(now) < len(expected[0]))
            before = now
        faults += [f"{place} differs"] if state(place) != expected else []
        faults += [f"{left} is left" for left in leftovers(place)]
    return {"killed": killed, "halfway": halfway, "sweeps": sweeps, "faults": faults}


if __name__ == "__main__":
    where, JOBS, number = sys.argv[1:]
    torch.set_num_threads(1)  # a fork has none of the threads that its parent had
    crew.subprocess = SimpleNamespace(
        Popen=Forked, DEVNULL=subprocess.DEVNULL, TimeoutExpired=subprocess.TimeoutExpired
    )
    Path(where).mkdir(parents=True, exist_ok=True)
    print(json.dumps(kills(Path(where), int(number))))
