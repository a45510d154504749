"""A run directory may have any name, and be reached by any path: the name is no part of what the run is."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import TINY, tiny
from matplotlib.figure import Figure

from analysis.cli import main as analyse
from coupled.cli import main as run
from coupled.driver.train import train
from coupled.store import read_manifest, state, tree_hash
from coupled.store.manifest import MANIFEST

ARMS = {name: TINY["arms"][name] for name in ("cl", "nscl")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return train(tiny(tmp_path_factory.mktemp("names"), name="whole", train={"steps": 4}, arms=ARMS))


def stopped(whole, path):
    """A copy of the run at this path that was killed behind its checkpoint at step 3."""
    shutil.copytree(whole, path, ignore=shutil.ignore_patterns("analysis", "export"))
    entries = read_manifest(path / MANIFEST).entries
    (end,) = (i for i, entry in enumerate(entries) if (entry.kind, entry.first) == ("checkpoint", 3))
    (path / MANIFEST).write_bytes(b"".join(entry.line() for entry in entries[: end + 1]))
    assert state(path) == "unfinished"
    return path


NAMES = {
    "run (copy)": "'{}/run (copy)'",
    ".hidden": "{}/.hidden",
    os.fsdecode(b"caf\xe9"): r"$'{}/caf\351'",
    "e\u0301": "'{}/e\u0301'",
    "n" * 250: "{}/" + "n" * 250,
}


@pytest.mark.parametrize("name", NAMES)
def test_a_run_of_any_name_goes_on(name, whole, tmp_path, capsys):
    path = stopped(whole, tmp_path / name)
    assert run(["resume", str(path), "--ranks", "1"]) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1 and out.endswith(f"; next: coupled-analyze curves {NAMES[name].format(tmp_path)}\n")
    assert tree_hash(path) == tree_hash(whole)


def test_data_may_lie_in_a_folder_of_any_name(whole, tmp_path):
    path = stopped(whole, tmp_path / "T")
    folder = os.fsdecode(b"caf\xe9")  # nothing in it is read: the data set is made
    assert run(["resume", str(path), "--ranks", "1", "--set", f"paths.data={folder}"]) == 0
    assert tree_hash(path) == tree_hash(whole)


def test_every_command_takes_a_run_of_any_name(whole, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Figure, "savefig", lambda self, file, **options: file.write(b"painted"))
    path = str(shutil.copytree(whole, tmp_path / os.fsdecode(b"-it's\n[red]$HOME \xff")))
    assert run(["resume", path, "--ranks", "1"]) == 0
    assert run(["verify", path, "--sample", "2"]) == 0
    word = rf"$'{tmp_path}/-it\047s\012[red]$HOME \377'"
    assert f"coupled-run verify {word} --replay 3" in capsys.readouterr().out.splitlines()[-1]
    assert run(["diff", path, str(whole)]) == 0
    assert run(["export", path, "--arm", "cl"]) == 0
    assert analyse(["curves", path]) == 0
    assert Path(path, "analysis", "curves.csv").is_file() and capsys.readouterr().err == ""


WAYS = {
    ".": "T", "..": "T/records", "T/": ".", "T/.": ".", "./-T": ".", "link": ".", "link/": ".", "a/../T": ".",
}  # fmt: skip


@pytest.mark.parametrize(("given", "here"), WAYS.items())
def test_a_run_goes_on_where_it_is_by_whatever_path_it_is_reached(given, here, whole, tmp_path, monkeypatch, capsys):
    path = stopped(whole, tmp_path / Path(given.removeprefix("./")).name if "-T" in given else tmp_path / "T")
    (tmp_path / "link").symlink_to(path)
    (tmp_path / "elsewhere" / "b").mkdir(parents=True)
    (tmp_path / "a").symlink_to("elsewhere/b")  # whose .. is not this folder
    (tmp_path / "elsewhere" / "T").symlink_to(path)
    monkeypatch.chdir(tmp_path / here)
    assert run(["resume", given, "--ranks", "1"]) == 0
    assert tree_hash(path) == tree_hash(whole)
    assert capsys.readouterr().out.endswith(f"; next: coupled-analyze curves {path}\n")
    assert {entry.name for entry in tmp_path.iterdir()} == {path.name, "link", "elsewhere", "a"}  # nothing made beside


def test_a_table_has_the_name_of_the_folder_that_a_path_leads_to(whole, monkeypatch, capsys):
    monkeypatch.setattr(Figure, "savefig", lambda self, file, **options: file.write(b"painted"))
    monkeypatch.chdir(whole)
    assert analyse(["curves", "--markdown", "."]) == 0
    assert capsys.readouterr().out.startswith("**whole: shapes, B = 8")


def test_a_new_run_still_needs_a_plain_name(tmp_path, capsys):
    (tmp_path / "a.toml").write_text("[arms.cl]\n")
    assert run(["plan", str(tmp_path / "a.toml"), "--set", 'name="run (copy)"']) == 2
    assert "name = 'run (copy)'; at most 128 letters" in capsys.readouterr().err


def test_a_run_nearby_is_named_so_that_it_can_be_pasted(whole, tmp_path, capsys):
    shutil.copytree(whole, tmp_path / "run (copy)")
    assert run(["verify", str(tmp_path / "run (cpy)")]) == 2
    assert capsys.readouterr().err.endswith(f"; did you mean '{tmp_path}/run (copy)'?\n")


def test_what_to_do_about_damage_is_said_whole_however_long_the_path(whole, tmp_path, capsys):
    path = stopped(whole, tmp_path / "a b" / ("n" * 250) / ("m" * 250))
    (path / "checkpoints" / "step-000000000" / "cl.safetensors").write_bytes(b"")
    assert run(["resume", str(path), "--ranks", "1"]) == 3
    assert capsys.readouterr().err.endswith(
        f"; coupled-run resume '{path}' --from 0 makes again everything after step 0\n"
    )


@pytest.mark.slow
def test_ranks_resume_a_copy_whose_reader_has_gone(whole, tmp_path):
    path = stopped(whole, tmp_path / "run (copy)")
    call = f'"{sys.executable}" -m coupled resume "$RUN" --ranks 2 | true; echo ${{PIPESTATUS[0]}}'
    environment = {**os.environ, "RUN": str(path), "PYTHONPATH": str(Path(__file__).parents[2])}
    environment.pop("PYTHONUNBUFFERED", None)
    done = subprocess.run(["bash", "-c", call], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "141\n" and "Traceback" not in done.stderr
    assert tree_hash(path) == tree_hash(whole)
