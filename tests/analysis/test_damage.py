"""Every command on every run that is not what it should be: one clear line, the right exit code, nothing half-made."""

import json
import re

import numpy as np
import pytest
from helpers import tiny

from analysis.cli import main
from coupled.driver.train import train

COMMANDS = ["curves", "bounds", "divergence", "report"]
# A command verifies what it reads.
READ_BY = {
    "panel": ["curves", "report"],
    "similarity": ["curves", "bounds", "report"],
    "scalars": ["curves", "divergence", "report"],
    "layers": ["divergence", "report"],
}
COLUMNS = {"panel": "state.h", "similarity": "batch.z"}


def cut_short(spoilt, stream):
    shard = spoilt.shard(stream, "nscl", 1)
    shard.write_bytes(shard.read_bytes()[:-7])


def flip(spoilt, stream):
    shard = spoilt.shard(stream, "nscl", 1)
    data = bytearray(shard.read_bytes())
    data[-5] ^= 1
    shard.write_bytes(data)


def lose(spoilt, stream):
    spoilt.keep_lines(lambda entry: f"/{stream}/nscl/" not in (entry.name or ""))


def other_schema(spoilt):
    facts = json.loads((spoilt.path / "run.json").read_text())
    (spoilt.path / "run.json").write_text(json.dumps({**facts, "schema": 7}))


def refused(path, command, code, said, capsys):
    assert main([command, str(path)]) == code
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("coupled-analyze:")]
    assert re.search(said, line), line
    assert not (path / "analysis").exists()


@pytest.mark.parametrize("stream, command", [(stream, name) for stream, names in READ_BY.items() for name in names])
@pytest.mark.parametrize(
    "damage, said",
    [
        (cut_short, "{stream}/nscl/steps-000000001-000000009.safetensors: .*bytes"),
        (flip, "{stream}/nscl/steps-.*(sha256|hash)"),
        (lose, "no records {stream}/nscl, which its config schedules"),
    ],
)
def test_a_damaged_stream_is_one_clear_line_and_no_result(spoilt, capsys, stream, command, damage, said):
    damage(spoilt, stream)
    refused(spoilt.path, command, 3, said.format(stream=stream), capsys)


@pytest.mark.parametrize("stream, command", [(stream, name) for stream in COLUMNS for name in READ_BY[stream]])
def test_features_that_are_not_a_number_are_one_clear_line_and_no_result(spoilt, capsys, stream, command):
    def spoil(tensors):
        tensors[COLUMNS[stream]][-1, 3, 2] = np.nan

    shard = spoilt.shard(stream, "nscl", 1)
    spoilt.rewrite(shard, spoil)
    refused(spoilt.path, command, 2, f"{stream}/nscl {COLUMNS[stream]} is not finite at step [39]", capsys)


@pytest.mark.parametrize("command", COMMANDS)
def test_another_schema_is_one_clear_line_and_no_result(spoilt, capsys, command):
    other_schema(spoilt)
    refused(spoilt.path, command, 2, "has format 7; this version of coupled reads format 2 and 3", capsys)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_run_of_zero_steps_says_that_nothing_was_trained(tmp_path, capsys, command):
    path = train(tiny(tmp_path, train={"steps": 0}))
    assert main([command, str(path)]) == 2
    assert "trained no step" in capsys.readouterr().err
    assert not (path / "analysis").exists()
