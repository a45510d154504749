import io
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import tiny
from rich.console import Console

from coupled.cli import main
from coupled.commands import progress
from coupled.commands.progress import ProgressReporter
from coupled.config import digest, load
from coupled.driver.train import train
from coupled.store import tree_hash

TOML = """
[data]
labelling = "size"
[batches]
size = 8
[views]
size = 12
[model]
width = 4
[train]
steps = 4
[panel]
size = 16
surrogate_size = 4
[arms.cl]
objective = "dcl"
[arms.nscl]
objective = "nscl"
"""


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "_PLAIN_REFRESH_S", 1e9)  # lines of a slow machine in between
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.toml").write_text(TOML)
    return "small.toml"


def test_train_ends_with_where_the_results_are_and_what_to_do_next(config, capsys):
    assert main(["train", config, "--ranks", "1"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out == ["done: records and checkpoints are in runs/small; next: coupled-analyze curves runs/small"]
    assert main(["train", config, "--ranks", "1"]) == 0
    assert capsys.readouterr().out.startswith("already finished")


def test_progress_is_plain_lines_when_not_a_terminal(config, capsys):
    main(["train", config, "--ranks", "1"])
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "determinism: self-check passed (one step twice, equal bytes)"
    assert [line.split()[1] for line in lines[1:]] == ["1/4", "4/4"]
    assert "nscl loss" in lines[-1]
    assert "cka" in lines[-1]
    assert "\x1b" not in lines[-1]


def test_progress_in_a_terminal_shows_every_arm(tmp_path):
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100)
    train(tiny(tmp_path), reporter=ProgressReporter(console))
    shown = screen.getvalue()
    for text in ("6/6", "steps/s", "cl", "nscl", "independent", "CKA", "weight gap"):
        assert text in shown


def test_watching_changes_no_byte(tmp_path):
    watched = train(tiny(tmp_path / "a"), reporter=ProgressReporter(Console(file=io.StringIO(), force_terminal=True)))
    assert tree_hash(watched) == tree_hash(train(tiny(tmp_path / "b")))


def test_a_run_that_had_to_stop_exits_3_in_one_line_and_stays_readable(config, capsys):
    code = main(["train", config, "--ranks", "1", "--set", "train.temperature=1e-30", "--set", "name=hot"])
    err = capsys.readouterr().err.splitlines()
    assert code == 3
    # Of numbers about 1e30 it is a rounding's doing which overflows first.
    stop = r"arm (cl|nscl) has a non-finite (loss|gradient) at step \d"
    assert re.search(stop, err[-1])
    assert main(["resume", "runs/hot", "--ranks", "1"]) == 3  # from its last checkpoint, to the same end
    assert re.search(stop, capsys.readouterr().err.splitlines()[-1])
    assert main(["verify", "runs/hot"]) == 0


def test_what_plan_prints_is_a_config_if_that_is_asked_for(config, capsys):
    assert main(["plan", config, "--toml"]) == 0
    Path("copy.toml").write_text(capsys.readouterr().out)
    assert digest(load("copy.toml")) == digest(load(config))


def test_plan_says_first_what_a_run_will_be_and_last_what_comes_next(config, capsys, monkeypatch):
    assert main(["plan", config, "--set", "train.threads=64", "--set", "train.steps=3"]) == 0
    out = capsys.readouterr().out.splitlines()
    heads = ["run directory", "arms", "steps", "data", "device", "", "memory", "disk", "time", "", "config digest"]
    assert [line[:16].strip() if line[:2] != "  " else "" for line in out[:11]] == heads
    assert out[5].startswith("  64 threads wait for each other on ") and not any(line.startswith("#") for line in out)
    given = "--set train.threads=64 --set train.steps=3"
    assert out[-1] == f"--toml: the whole config; next: coupled-run train {config} {given}"


def test_plan_for_ranks_says_how_to_train_on_them(config, capsys):
    assert main(["plan", config, "--ranks", "2"]) == 0
    assert capsys.readouterr().out.endswith(f"next: coupled-run train {config} --ranks 2\n")


def test_plan_as_a_config_has_no_line_broken_on_a_narrow_terminal(config, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    test_what_plan_prints_is_a_config_if_that_is_asked_for(config, capsys)


@pytest.mark.parametrize("cuda", [True, False])
def test_plan_says_whether_files_and_device_are_there(cuda, config, capsys, monkeypatch):
    gpus = SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: cuda))
    monkeypatch.setattr("coupled.commands.plan.torch", gpus)  # of this command alone: nothing else looks for a GPU
    monkeypatch.setattr("coupled.commands.plan.look", lambda name, root: True)
    assert main(["plan", config, "--set", "train.device=cuda"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[4] == "  its files are here"
    assert out[5] == f"device          cuda: {'one is here' if cuda else 'none is here; --set train.device=cpu'}"


def test_plan_says_of_a_data_set_of_ones_own_that_nothing_was_looked_for(config, capsys, monkeypatch):
    monkeypatch.setattr("coupled.data.registry._registered", {})
    Path("noise.py").write_text(
        "from coupled.data import DataInfo, register_data_set\n"
        "mean = std = (0.5, 0.5, 0.5)\n"
        "info = DataInfo('own-noise', 64, 32, 12, mean, std, {'size': 2}, 'size')\n"
        "register_data_set(info, load=None)\n"
    )
    assert main(["plan", config, "--set", "data.name=own-noise", "--set", "code.files=['noise.py']"]) == 0
    assert capsys.readouterr().out.splitlines()[4] == "  its own code finds its files: nothing was looked for"


def test_plan_says_what_is_not_there_as_train_would(config, capsys, monkeypatch):
    monkeypatch.setattr("coupled.driver.preflight.shutil.disk_usage", lambda place: SimpleNamespace(free=7))
    lost = ["--set", "data.name=cifar10", "--set", "data.labelling=class", "--set", "views.size=12"]
    assert main(["plan", config, *lost]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[4].startswith("  cifar10 needs its files; paths.data is empty; get cifar-10-binary.tar.gz or ")
    assert out[-1].startswith(
        "--toml: the whole config; first see to data and disk, as said above; next: coupled-run train"
    )
    assert out[8].startswith("  7 B are free at ") and main(["train", config, *lost]) == 2
    assert out[4].strip() in capsys.readouterr().err


def test_plan_says_what_lies_in_the_runs_directory(config, capsys):
    assert main(["train", config]) == 0
    other = ["--set", "name=small", "--set", "seed=9"]
    for given, says in ([], "there is this run, finished"), (other, "runs/small holds another run: seed is 0 there"):
        capsys.readouterr()
        assert main(["plan", config, *given]) == 0
        assert capsys.readouterr().out.splitlines()[1].startswith(f"  {says}")


def test_plan_takes_a_few_steps_where_it_is_asked_for_the_time(config, capsys, monkeypatch):
    monkeypatch.setattr("coupled.commands.plan.seconds_of_step", lambda config: (0.5, ""))
    assert main(["plan", config, "--time", "--set", "train.steps=400"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("time ")]
    assert re.match(r"time {12}\d+ min, 500 ms a step in one process here, panels included; the start is apart", line)
    monkeypatch.setattr("coupled.commands.plan.seconds_of_step", lambda config: (None, "no data"))
    assert main(["plan", config, "--time"]) == 0
    assert "time            not known: no data" in capsys.readouterr().out.splitlines()


def test_a_given_name_is_kept_even_when_it_is_the_default(config):
    assert load(config, ["name=small", "seed=4"]).name == "small"


def test_options_are_spelled_out(config, capsys):
    assert main(["train", config, "--overwrit"]) == 2
    assert "--overwrit" in capsys.readouterr().err


@pytest.mark.parametrize("surroundings", [{"FORCE_COLOR": "1"}, {"TTY_COMPATIBLE": "1"}, {"COLUMNS": "20"}])
def test_progress_in_a_file_is_plain_lines_whatever_colour_is_asked_for(surroundings, config, capsys, monkeypatch):
    for name, value in surroundings.items():
        monkeypatch.setenv(name, value)
    main(["train", config, "--ranks", "1"])
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines[1:]] == ["1/4", "4/4"]


def test_an_overridden_config_gets_a_directory_of_its_own(config, capsys):
    assert main(["train", config, "--ranks", "1", "--set", "seed=1"]) == 0
    assert "runs/small-" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("message", "code"), [("DefaultCPUAllocator: can't allocate memory", 2), ("a mistake of an encoder's own", 1)]
)
def test_a_network_that_no_memory_holds_is_one_line(message, code, config, capsys, monkeypatch):
    """Width 5 is tried out nowhere else: what was tried out is remembered."""

    def refused(*given):
        raise RuntimeError(message)

    monkeypatch.setattr("coupled.arms.network.FlatState", refused)
    if code == 1:
        with pytest.raises(RuntimeError, match=message):
            main(["plan", config, "--set", "model.width=5"])
        return
    assert main(["plan", config, "--set", "model.width=5"]) == 2
    assert "a network whose weights take" in capsys.readouterr().err
