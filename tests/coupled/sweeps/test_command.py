"""`coupled-run sweep`, and what a person watching it sees; workers only pretend."""

import io
import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import pytest
import swept
from pretended_workers import pretend
from rich.console import Console
from swept import sweep_of

from coupled.cli import main
from coupled.commands import sweep as sweep_command
from coupled.commands import sweep_progress
from coupled.commands.sweep_progress import SweepProgress, duration
from coupled.sweeps.messages import Message
from coupled.sweeps.watching import PointProgress, left_of


@pytest.fixture
def played(monkeypatch):
    return pretend(monkeypatch)


@pytest.fixture
def command(played, tmp_path, monkeypatch):
    """The command on a sweep, in this process."""

    def called(sweep, *options):
        monkeypatch.setitem(sys.modules, "coupled.sweeps.reading", swept.read_as(sweep))
        monkeypatch.chdir(tmp_path)
        return main(["sweep", "seeds.toml", *options])

    return called


def test_the_command_ends_with_where_the_results_are_and_what_to_do_next(command, capsys):
    assert command(sweep_of("runs"), "--jobs", "1") == 0
    out, err = capsys.readouterr()
    line = "done: every run of the sweep is in runs/seeds; next: coupled-analyze report runs/seeds"
    assert out.splitlines() == [line]
    assert err.splitlines() == ["2 runs, 1 at a time: 2 waiting", "seed-0: finished", "seed-1: finished"]


def test_what_failed_is_named_at_the_end_and_the_command_to_go_on_with(command, played, capsys):
    played.outcomes["seed-0"] = Message("failed", "a reason")
    assert command(sweep_of("runs", seeds=3), "--jobs", "1", "--set", "train.steps=3") == 3
    out, err = capsys.readouterr()
    assert err.splitlines()[-1] == "failed: seed-0: a reason"
    assert out.endswith("next: coupled-run sweep seeds.toml --set train.steps=3 --jobs 1\n")


def test_allowed_drift_is_handed_on_to_every_worker_and_to_the_next_command(command, played, capsys):
    played.outcomes["seed-0"] = Message("failed", "a reason")
    assert command(sweep_of("runs"), "--jobs", "2", "--allow-drift") == 3
    assert played.words == [["--allow-drift"]] * 2
    assert capsys.readouterr().out.endswith("next: coupled-run sweep seeds.toml --jobs 2 --allow-drift\n")


def test_mistakes_are_one_line_and_2(command, capsys):
    assert command(sweep_of("runs"), "--jobs", "0") == 2
    assert capsys.readouterr().err == "coupled-run: --jobs 0; at least 1\n"
    assert command(sweep_of("runs"), "--jobs", "1") == 0
    capsys.readouterr()
    assert command(replace(sweep_of("runs"), points=sweep_of("runs").points[1:])) == 2
    assert "seed-0 is there and not here" in capsys.readouterr().err.splitlines()[-1]


def test_being_asked_to_stop_is_143_and_says_how_to_go_on(command, played, capsys):
    played.outcomes["seed-0"] = Message("stopped")
    assert command(sweep_of("runs"), "--jobs", "1") == 143
    said = "SIGTERM: stopped with 0 of 2 runs finished, nothing is lost; next: coupled-run sweep seeds.toml --jobs 1"
    assert capsys.readouterr().err.splitlines()[-1] == f"coupled-run: {said}"


def test_more_threads_than_cores_are_said(command, monkeypatch, capsys):
    monkeypatch.setattr(sweep_command, "cores", lambda: 3)
    assert command(sweep_of("runs", train={"steps": 3, "threads": 2}), "--jobs", "2") == 0
    assert "2 runs at a time have 4 threads on 3 cores" in capsys.readouterr().err


def test_a_dry_run_prints_every_point_and_writes_nothing(command, tmp_path, monkeypatch, capsys):
    row = {"name": "a", "digest": "12345678", "arms": ("cl", "nscl"), "steps": 30, "bytes": 2000, "seconds": 90.0}
    rows = [SimpleNamespace(**row, why=""), SimpleNamespace(**{**row, "name": "b", "seconds": None}, why="w")]
    forecast = ModuleType("coupled.sweeps.forecast")
    forecast.forecast = lambda sweep: rows
    monkeypatch.setitem(sys.modules, "coupled.sweeps.forecast", forecast)
    assert command(sweep_of("runs"), "--dry-run", "--jobs", "2") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["a", "12345678", "cl", "nscl", "30", "2.0", "kB", "90", "s"] in lines
    assert lines[-2] == ["no", "time:", "w"] and lines[-1][:5] == ["2", "runs", "in", "runs/seeds,", "2"]
    assert list(tmp_path.iterdir()) == []


def test_the_display_has_what_is_at_work_first_and_fits():
    console = Console(file=io.StringIO(), width=100, height=8)
    points = [PointProgress(f"p{i}", 100) for i in range(9)]
    points[7].state, points[7].step, points[7].rate = "running", 50, 10.0
    points[8].state = "failed"
    watching = SweepProgress(console)
    watching.points = points
    console.print(watching._display())
    lines = [line.split() for line in console.file.getvalue().splitlines()]
    assert lines[1] == ["p7", "50/100", "10.00", "steps/s", "5", "s", "running"] and lines[2][0] == "p8"
    assert lines[-2] == ["and", "6", "waiting"] and len(lines) <= 8
    assert lines[-1] == ["1", "failed,", "1", "running,", "7", "waiting,", "left", "75", "s"]


def test_plain_lines_come_at_the_beginning_and_then_now_and_then(monkeypatch, capsys):
    watching = SweepProgress(Console(file=sys.stderr, width=200))
    point = PointProgress("p", 100, "running", 40)
    watching.changed(point)
    watching.changed(point)
    monkeypatch.setattr(sweep_progress, "_PLAIN_REFRESH_S", 0.0)
    point.step, point.rate = 50, 2.0
    watching.changed(point)
    err = capsys.readouterr().err.splitlines()
    assert err == ["p: goes on at step 40/100", "p: step 50/100  2.00 steps/s  left 25 s"]


def test_times_are_known_when_a_speed_is():
    points = [PointProgress("a", 100, "running", 60, 4.0), PointProgress("b", 100, "finished", 100)]
    assert points[0].left == 10 and left_of([*points, PointProgress("c", 60)]) == 25
    assert left_of(points[1:]) is None and points[1].left is None
    assert [duration(s) for s in (None, 99, 600, 7200)] == ["–", "99 s", "10 min", "2.0 h"]
