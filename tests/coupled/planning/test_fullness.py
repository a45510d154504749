"""What `plan` says where a device is nearly full."""

import pytest
from helpers import tables

from coupled.commands import plan as command
from coupled.commands import run
from coupled.config import from_tables
from coupled.planning.fullness import FULL, fullness
from coupled.planning.plan import plan

THREE = {"cl": {"objective": "dcl"}, "nscl": {"objective": "nscl"}, "scl": {"objective": "scl"}}


def test_memory_above_85_percent_of_the_device_is_a_line_that_gives_both():
    forecast = plan(from_tables(tables(arms=THREE)), 1)
    for device in (forecast.memory, 10 * forecast.memory // 9):
        line = fullness(forecast, device)
        assert f"{forecast.memory / device:.0%} of the GPU" in line and "bits differ" in line
    assert not fullness(forecast, round(forecast.memory / FULL) + 1)


@pytest.mark.parametrize("beside", [True, False])
def test_arms_side_by_side_are_the_first_to_be_given_up(beside):
    forecast = plan(from_tables(tables(arms=THREE, train={"device": "cuda", "side_by_side": beside})), 1)
    assert ("set train.side_by_side = false, use more" in fullness(forecast, forecast.memory)) is beside


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_of_several_ranks_the_one_that_takes_most_counts(ranks):
    forecast = plan(from_tables(tables(arms=THREE)), ranks)
    most = max(forecast.memory_of(rank) for rank in range(ranks))
    assert fullness(forecast, int(most / FULL) - 1) and not fullness(forecast, int(most / FULL) + 1)


@pytest.mark.parametrize(("memory", "warned"), [(None, False), (10**15, False), (1000, True)])
def test_plan_shows_it_where_there_is_a_gpu(memory, warned, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "device_memory", lambda config: memory)
    (tmp_path / "c.toml").write_text('[train]\nsteps = 3\n[arms.a]\nobjective = "dcl"\n')
    assert run(["plan", "c.toml"]) == 0
    assert ("above 85% cuDNN" in capsys.readouterr().out) is warned
