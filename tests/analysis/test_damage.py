"""Every command on every run that is not what it should be: one clear line, the right exit code, nothing half-made."""

import json
import re

import numpy as np
import pytest
from helpers import tiny

from analysis.cli import main
from coupled.driver import train

COMMANDS = ["curves", "bounds", "divergence", "report"]


def cut_short(spoilt):
    shard = spoilt.shard("panel", "nscl", 1)
    shard.write_bytes(shard.read_bytes()[:-7])


def flip(spoilt):
    shard = spoilt.shard("similarity", "cl", 1)
    data = bytearray(shard.read_bytes())
    data[-5] ^= 1
    shard.write_bytes(data)


def not_a_number(stream, column):
    def change(spoilt):
        def spoil(tensors):
            tensors[column][-1, 3, 2] = np.nan

        spoilt.rewrite(spoilt.shard(stream, "nscl", 1), spoil)

    return change


def lose(stream):
    return lambda spoilt: spoilt.keep_lines(lambda entry: f"/{stream}/nscl/" not in (entry.name or ""))


def other_schema(spoilt):
    facts = json.loads((spoilt.path / "run.json").read_text())
    (spoilt.path / "run.json").write_text(json.dumps({**facts, "schema": 2}))


DAMAGES = {
    "a truncated shard": (cut_short, 3, "steps-000000001-000000009.safetensors: .*bytes"),
    "a wrong hash": (flip, 3, "similarity/cl/steps-.*sha256|similarity/cl/steps-.*hash"),
    "a NaN panel": (not_a_number("panel", "state.h"), 2, "panel/nscl state.h is not finite at step 3"),
    "a NaN batch": (not_a_number("similarity", "batch.z"), 2, "similarity/nscl batch.z is not finite at step 9"),
    "a missing stream": (lose("panel"), 3, "no records panel/nscl"),
    "another schema": (other_schema, 2, "has schema 2; this version of coupled reads schema 1"),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("damage, code, said", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_run_is_one_clear_line_and_no_result(spoilt, capsys, command, damage, code, said):
    damage(spoilt)
    assert main([command, str(spoilt.path)]) == code
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("coupled-analyze:")]
    assert re.search(said, line), line
    assert not (spoilt.path / "analysis").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_run_of_zero_steps_says_that_nothing_was_trained(tmp_path, capsys, command):
    path = train(tiny(tmp_path, train={"steps": 0}))
    assert main([command, str(path)]) == 2
    assert "trained no step" in capsys.readouterr().err
    assert not (path / "analysis").exists()
