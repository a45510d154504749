"""The runs below a folder: how far each is, and how it differs from its config file."""

import os
import shutil
import time
from pathlib import Path

import pytest
from helpers import tiny

from coupled.cli import main
from coupled.config import load
from coupled.config.toml import to_toml
from coupled.driver.assembly import build, start_run
from coupled.driver.loop import advance
from coupled.driver.train import train
from coupled.reading.listing import differing, list_runs

ARMS = {"cl": {"objective": "dcl"}, "nscl": {"objective": "nscl"}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two runs of one config, one of them with another seed and more steps; a stray folder; a damaged run."""
    folder = tmp_path_factory.mktemp("listed")
    train(tiny(folder / "runs", name="small", arms=ARMS, train={"steps": 3}))
    train(tiny(folder / "runs", name="small-0123abcd", arms=ARMS, train={"steps": 4}, seed=1))
    train(tiny(folder / "runs/sweep", name="s0", arms=ARMS, train={"steps": 2}))
    (folder / "runs/notes").mkdir()
    broken = folder / "runs/sweep/broken"
    broken.mkdir()
    (broken / "run.json").write_text("{")
    return folder


def by_name(folder, configs="nowhere"):
    return {run.name: run for run in list_runs(folder / "runs", configs)}


def test_every_run_is_listed_with_its_steps_its_state_and_its_size(folder):
    runs = by_name(folder)
    assert list(runs) == ["small", "small-0123abcd", "sweep/broken", "sweep/s0"]
    assert [(run.done, run.planned, run.state) for run in runs.values() if run.done is not None] == [
        (3, 3, "finished"), (4, 4, "finished"), (2, 2, "finished")
    ]  # fmt: skip
    size = sum(path.stat().st_size for path in (folder / "runs/small").rglob("*") if path.is_file())
    assert runs["small"].size == size and abs(runs["small"].last - time.time()) < 3600


def test_a_damaged_run_says_what_is_wrong(folder):
    broken = by_name(folder)["sweep/broken"]
    assert (broken.done, broken.planned) == (None, None) and "run.json: not JSON" in broken.state


def test_a_run_that_has_lost_its_run_json_is_listed(folder, tmp_path):
    run = shutil.copytree(folder / "runs/small", tmp_path / "runs/small")
    (run / "run.json").unlink()
    (listed,) = list_runs(tmp_path / "runs", "nowhere")
    assert listed.state.endswith("run.json: is no file, though manifest.jsonl commits it")


def test_a_run_with_overrides_differs_from_the_one_without_and_from_a_config_file(folder, tmp_path):
    runs = by_name(folder)
    assert runs["small"].differs is None and runs["sweep/s0"].differs is None
    assert runs["small-0123abcd"].differs == ("seed = 1", "train.steps = 4")
    (tmp_path / "deep").mkdir()
    config = tiny(folder / "elsewhere", name="small", arms=ARMS, train={"steps": 4})
    (tmp_path / "deep/small.toml").write_text(to_toml(config))
    runs = by_name(folder, tmp_path)
    assert runs["small"].differs == ("train.steps = 3",) and runs["small-0123abcd"].differs == ("seed = 1",)
    (tmp_path / "deep/small.toml").write_text("nonsense")
    assert by_name(folder, tmp_path)["small"].differs is None


def test_a_run_of_a_shipped_config_is_compared_with_it_from_any_folder(tmp_path):
    few = {"train.steps": 1, "optimiser.warmup": 0, "batches.size": 8, "panel.size": 8, "panel.surrogate_size": 4}
    overrides = [f"{field}={value}" for field, value in {**few, "train.threads": 1, "name": "quickstart"}.items()]
    train(load("quickstart", [*overrides, f"paths.runs={tmp_path}"]))
    (run,) = list_runs(tmp_path, tmp_path / "nowhere")
    assert run.differs is not None and {"train.steps = 1", "panel.size = 8"} <= set(run.differs)


def test_many_differences_are_counted(folder):
    run = by_name(folder)["small-0123abcd"]
    assert differing(run) == "seed = 1, train.steps = 4" and differing(run, 1) == "seed = 1 and 1 more"
    assert differing(by_name(folder)["small"]) == ""


def test_nothing_is_written(folder):
    before = {path: path.lstat().st_mtime_ns for path in folder.rglob("*")}
    list_runs(folder / "runs")
    assert {path: path.lstat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_run_at_work_a_stopped_one_and_one_that_ended(tmp_path):
    config = tiny(tmp_path, name="work", arms=ARMS, train={"steps": 5})
    run = start_run(build(config))
    with run:
        run.begin()
        listed = list_runs(tmp_path)[0]
        assert (listed.done, listed.state) == (0, f"running, process {os.getpid()}")
        advance(run, 0)
        run.preempt(1)
    assert [run.state for run in list_runs(tmp_path)] == ["stopped"]
    assert list_runs(tmp_path)[0].done == 1


def test_the_command_says_it_all_and_what_to_do(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "140")
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    assert "small-0123abcd" in out and "seed = 1, train.steps = 4" in out and "4 of 4" in out and "not JSON" in out
    assert out.splitlines()[-1] == "4 runs in runs, 3 of them finished"
    assert main(["list", "nowhere"]) == 2 and main(["list", "runs/notes"]) == 0
    assert capsys.readouterr().out.startswith("no run in runs/notes; next: coupled-run train")


def test_a_run_is_listed_once_however_many_links_lead_to_it(folder, tmp_path):
    runs = tmp_path / "runs"
    shutil.copytree(folder / "runs", runs)
    for name, target in (("again", "small"), ("loop", "."), ("up", "../runs")):
        (runs / name).symlink_to(target)
    (runs / "a/x").mkdir(parents=True)
    (runs / "a/x/link").symlink_to("../../sweep")  # met before the folder itself, and with less depth left
    own = ["small", "small-0123abcd", "sweep/broken", "sweep/s0"]
    assert [run.name for run in list_runs(runs, "nowhere")] == own
    (tmp_path / "elsewhere").mkdir()
    (runs / "small").rename(tmp_path / "elsewhere/small")
    (runs / "other").symlink_to("../elsewhere")
    assert [run.name for run in list_runs(runs, "nowhere")] == ["other/small", *own[1:]]


def test_a_folder_that_cannot_be_read_hides_no_other(folder, monkeypatch):
    is_file = Path.is_file

    def denied(path):
        if path.parent.name == "notes":
            raise PermissionError(13, "Permission denied", str(path))
        return is_file(path)

    monkeypatch.setattr(Path, "is_file", denied)
    runs = by_name(folder)
    assert list(runs) == ["notes", "small", "small-0123abcd", "sweep/broken", "sweep/s0"]
    assert runs["notes"].state.endswith("runs/notes: Permission denied") and runs["notes"].done is None
