"""The wheel holds all that a user needs: installed into an environment of its own, the quickstart runs elsewhere."""

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from coupled.cli import main
from coupled.config import digest, load
from coupled.config.shipped import FOLDER, located, names
from coupled.errors import UserError
from coupled.sweeps.reading import load as load_sweep

ROOT = Path(__file__).parents[1]


def test_every_shipped_config_has_a_name(capsys):
    files = sorted(path.relative_to(ROOT / "configs") for path in (ROOT / "configs").rglob("*.toml"))
    assert [f"{name}.toml" for name in names()] == sorted(map(str, files)) and len(files) > 30
    assert main(["list", "--configs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(files) and all(len(line.split(maxsplit=1)) == 2 for line in lines)


def test_a_bare_name_is_a_shipped_config_unless_it_is_a_file_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = load("quickstart")
    assert config.name == "quickstart" and digest(config) == digest(load(FOLDER / "quickstart.toml"))
    (tmp_path / "quickstart").write_text((FOLDER / "bench/small.toml").read_text("utf-8"), "utf-8")
    assert digest(load("quickstart")) == digest(load("bench/small")) != digest(config)
    assert located(Path("no.toml")) == Path("no.toml")
    with pytest.raises(UserError, match="unknown config quickstat; allowed: .*; did you mean quickstart?"):
        load("quickstat")


def test_a_shipped_sweep_has_a_name_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_sweep("sweeps/seeds").name == "seeds"


@pytest.mark.slow
def test_the_wheel_alone_trains_the_quickstart_in_another_folder(tmp_path):
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--quiet", "--no-deps", "-w", tmp_path, ROOT], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    held = zipfile.ZipFile(wheel).namelist()
    assert sum(name.startswith("coupled/shipped_configs/") for name in held) == len(names())
    assert {"coupled/py.typed", "analysis/py.typed", "analysis/report/page.js", "analysis/claims/rules.toml"} <= set(
        held
    )
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "fresh"], check=True)
    python = tmp_path / "fresh/bin/python"
    subprocess.run([python, *pip[1:], "install", "--quiet", "--no-deps", "--no-index", wheel], check=True)
    (site,) = (tmp_path / "fresh/lib").glob("python*/site-packages")
    (site / "others.pth").write_text(sysconfig.get_path("purelib"))  # torch and the rest; not what is editable there
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    def run(*command):
        done = subprocess.run(
            command, cwd=elsewhere, check=True, capture_output=True, text=True, env={"PATH": "/usr/bin"}
        )
        return done.stdout

    assert str(site) in run(python, "-c", "import coupled; print(coupled.__file__)")
    steps = [part for field in ("train.steps=2", "optimiser.warmup=0") for part in ("--set", field)]
    last = run(python.with_name("coupled-run"), "train", "quickstart", *steps, "--set", "name=quick").splitlines()[-1]
    assert last == "done: records and checkpoints are in runs/quick; next: coupled-analyze curves runs/quick"
    run(python.with_name("coupled-analyze"), "curves", "runs/quick")
    assert (elsewhere / "runs/quick/analysis/curves.png").stat().st_size
