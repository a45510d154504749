"""A process that has loaded torch and forks itself for every trial, which takes milliseconds instead of seconds.

    python forks.py kills CONFIG FOLDER COUNT SEED       SIGKILL the whole command COUNT times at random
    python forks.py signal CONFIG FOLDER NUMBER TIMES    send a signal TIMES times amid the run, then go on

Prints one JSON object.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from coupled import commands  # loads torch, once for all children
from coupled.cli import main
from coupled.store import tree_hash

assert commands.run


def start(*arguments):
    """A child that runs the command; its standard error goes to a file beside the run."""
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            os.dup2(os.open(f"{FOLDER}/stderr", os.O_CREAT | os.O_WRONLY | os.O_APPEND), 2)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            code = main(list(arguments))
        finally:
            os._exit(code)
    return pid


def code_of(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def train(runs):
    return start("train", CONFIG, "--ranks", "1", "--set", f"paths.runs={runs}", "--set", "name=run")


def kills(count, seed):
    began = time.monotonic()
    assert code_of(train(f"{FOLDER}/golden")) == 0
    took, golden = time.monotonic() - began, tree_hash(Path(f"{FOLDER}/golden/run"))
    rng, killed, runs, differing = random.Random(seed), 0, 0, []
    while killed < count:
        runs += 1
        folder = f"{FOLDER}/{runs}"
        done = False
        while not done:
            pid = train(folder)
            if killed < count:
                time.sleep(rng.uniform(0.1, 1.0) * took)
                os.kill(pid, signal.SIGKILL)
            code = code_of(pid)
            assert code in (0, -signal.SIGKILL), code
            killed += code != 0
            done = code == 0
        if tree_hash(Path(f"{folder}/run")) != golden:
            differing.append(folder)
    return {"killed": killed, "runs": runs, "differing": differing}


def signalled(number, times):
    pid = train(f"{FOLDER}/a")
    log = Path(f"{FOLDER}/a/run/log/events.jsonl")
    while not log.exists() or b"start" not in log.read_bytes():
        time.sleep(0.01)
    time.sleep(0.3)
    began = time.monotonic()
    for _ in range(times):
        os.kill(pid, number)
        time.sleep(0.05 if times > 1 else 0)
    code, took = code_of(pid), time.monotonic() - began
    preempted = sorted(path.name for path in Path(f"{FOLDER}/a/run").glob("preempt/*"))
    resumed = code_of(start("resume", f"{FOLDER}/a/run", "--ranks", "1"))
    assert code_of(train(f"{FOLDER}/golden")) == 0
    equal = tree_hash(Path(f"{FOLDER}/a/run")) == tree_hash(Path(f"{FOLDER}/golden/run"))
    return {"code": code, "seconds": took, "preempted": preempted, "resumed": resumed, "equal": equal}


if __name__ == "__main__":
    mode, CONFIG, FOLDER, first, second = sys.argv[1:]
    Path(FOLDER).mkdir(parents=True, exist_ok=True)
    print(json.dumps({"kills": kills, "signal": signalled}[mode](int(first), int(second))))
