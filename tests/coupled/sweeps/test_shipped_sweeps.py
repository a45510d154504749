"""The sweeps that ship: what they are, and what their heads say."""

import re
from pathlib import Path

import pytest

from coupled.sweeps.reading import load

ROOT = Path(__file__).parents[3]
SWEEPS = {path.stem: path for path in sorted((ROOT / "configs/sweeps").glob("*.toml"))}
RUNS = {"batch_size": 27, "classes": 9, "granularity": 3, "imbalance": 9, "seeds": 5, "temperature": 3}


def test_the_sweeps_ship():
    assert set(SWEEPS) == set(RUNS)


@pytest.mark.parametrize("name", SWEEPS)
def test_a_shipped_sweep_has_its_runs_and_panels_at_headline_steps(name):
    sweep = load(SWEEPS[name])
    assert (sweep.name, len(sweep.points)) == (name, RUNS[name])
    for config in (point.config for point in sweep.points):
        wanted = {step for step in (10, 30, 100) if step <= config.train.steps}
        assert wanted <= set(config.record.panel.upto(config.train.steps)) and config.train.threads == 1


@pytest.mark.parametrize("name", SWEEPS)
def test_a_shipped_sweep_opens_with_command_minutes_and_what_was_seen(name):
    head = re.match(r"(#.*\n)+", SWEEPS[name].read_text())
    assert head is not None
    text = " ".join(head.group().replace("#", " ").split())
    assert f"coupled-run sweep configs/sweeps/{name}.toml" in text
    assert re.search(r"Takes about \d+ minutes on two quiet cores", text) and re.search(r"Seen at .* \.\d+", text)
