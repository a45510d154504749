"""The whole command, killed or asked to stop from outside."""

import json
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from helpers import tiny

from coupled.config.toml import to_toml

FORKS = Path(__file__).with_name("forks.py")


def forked(tmp_path, mode, *arguments, **sections):
    config = tmp_path / "config.toml"
    config.write_text(to_toml(tiny(tmp_path, **sections)))
    command = [sys.executable, str(FORKS), mode, str(config), str(tmp_path / "runs"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), (tmp_path / "runs/stderr").read_text()


SLOW = partial(pytest.param, marks=pytest.mark.slow)
SHORT = {
    "arms": {"cl": {"objective": "dcl"}, "nscl": {"objective": "nscl"}},
    "train": {"steps": 40},
    "checkpoints": {"keep": {"steps": [0]}, "recovery": {"every": 10}},
}


@pytest.mark.parametrize("number", [SLOW(signal.SIGTERM), SLOW(signal.SIGUSR2), SLOW(signal.SIGINT)])
def test_a_signal_ends_the_run_after_its_step_with_143_and_it_goes_on_to_equal_bytes(number, tmp_path):
    outcome, printed = forked(tmp_path, "signal", int(number), 1, **SHORT)
    assert outcome["code"] == 143 and outcome["seconds"] < 25
    assert outcome["resumed"] == 0 and outcome["equal"] and len(outcome["preempted"]) <= 1
    assert f"{number.name}: stopped at step" in printed and "next: coupled-run resume" in printed


@pytest.mark.parametrize(("number", "code"), [SLOW(signal.SIGTERM, 143), SLOW(signal.SIGINT, 130)])
def test_a_second_signal_ends_it_at_once_and_it_still_goes_on_to_equal_bytes(number, code, tmp_path):
    outcome, printed = forked(tmp_path, "signal", int(number), 2, **SHORT)
    assert outcome["code"] in (code, 143) and outcome["resumed"] == 0 and outcome["equal"]
    assert "next: coupled-run resume" in printed


@pytest.mark.slow
def test_twenty_kills_of_the_whole_command_at_random_times_lose_nothing(tmp_path):
    outcome, _ = forked(tmp_path, "kills", 20, 0, **SHORT)
    assert outcome["killed"] == 20 and not outcome["differing"]
