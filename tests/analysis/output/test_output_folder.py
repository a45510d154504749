"""`--output DIR`: all that an analysing command writes goes there, and nothing into the run."""

import shutil

import pytest
from helpers import tiny
from swept import sweep_of

import analysis
from analysis.cli import main
from coupled.driver.train import train
from coupled.sweeps.folder import path_of, write

ARMS = {"cl": {"objective": "dcl"}, "nscl": {"objective": "nscl"}, "nudged": {"kind": "nudged"}}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive")
    keep = {"keep": {"steps": [0], "last": True}}
    return train(tiny(folder, arms={**ARMS}, train={"steps": 6}, checkpoints=keep))


def listing(folder):
    return {
        path: (path.lstat().st_mtime_ns, path.lstat().st_size, path.is_dir()) for path in (folder, *folder.rglob("*"))
    }


FEATURES = ["--samples", "20", "--steps", "6"]
COMMANDS = {
    "curves": ([], "curves.csv"),
    "bounds": ([], "bounds.csv"),
    "divergence": ([], "divergence.csv"),
    "response": ([], "response.csv"),
    "report": ([], "report.html"),
    "alignment": (FEATURES, "alignment.csv"),
    "losses": (FEATURES, "losses.csv"),
    "geometry": (FEATURES, "geometry.csv"),
    "accuracy": (FEATURES, "accuracy.csv"),
    "probe": ([*FEATURES, "--shots", "1", "--draws", "2", "--classifiers", "centre"], "probe.csv"),
    "picture": ([*FEATURES, "--method", "pca"], "picture.csv"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_is_written_into_the_run(run, tmp_path, capsys, command):
    before, (options, result) = listing(run.parent), COMMANDS[command]
    assert main([command, str(run), *options, "--output", str(tmp_path / "new" / "results")]) == 0, capsys.readouterr()
    assert listing(run.parent) == before
    assert (tmp_path / "new" / "results" / run.name / result).is_file()
    assert not any("tmp" in path.name for path in (tmp_path / "new").rglob("*"))


def test_features_are_kept_in_the_folder_and_the_report_shows_what_lies_there(run, tmp_path, capsys):
    assert main(["alignment", str(run), *FEATURES, "--output", str(tmp_path)]) == 0
    assert any((tmp_path / run.name / "features").iterdir())
    assert main(["report", str(run), "--output", str(tmp_path)]) == 0
    page = (tmp_path / run.name / "report.html").read_text()
    assert "figure-whole_alignment" in page and str(tmp_path / run.name) in page
    capsys.readouterr()


def test_runs_of_one_name_do_not_overwrite_each_other(run, tmp_path, capsys):
    other = shutil.copytree(run, tmp_path / "b" / run.name)
    assert main(["curves", str(run), str(other), "--output", str(tmp_path / "out")]) == 0
    written = sorted(path.parent.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("curves.csv"))
    assert [str(path) for path in written] == sorted([f"{run.parent.name}/{run.name}", f"b/{run.name}"])
    capsys.readouterr()


def test_a_folder_in_the_run_will_do(run, tmp_path, capsys):
    copied = shutil.copytree(run, tmp_path / run.name)
    assert main(["curves", str(copied), "--output", str(copied / "mine")]) == 0
    assert (copied / "mine" / run.name / "curves.csv").is_file() and not (copied / "analysis").exists()
    capsys.readouterr()


@pytest.mark.parametrize("below", ["", "deeper"])
@pytest.mark.parametrize("command", ["curves", "geometry", "report"])
def test_a_file_is_no_folder(run, tmp_path, capsys, command, below):
    file = tmp_path / "file"
    file.write_text("kept")
    before = listing(run.parent)
    assert main([command, str(run), "--output", str(file / below)]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "is no folder" in err
    assert file.read_text() == "kept" and listing(run.parent) == before


def trained_sweep(folder, **sections):
    """A sweep with all its runs finished, and where it is."""
    sweep = sweep_of(folder, **sections)
    for point in sweep.points:
        train(point.config)
    write(sweep)
    return sweep, path_of(sweep)


def test_a_sweep_and_its_summaries_go_there(tmp_path, capsys):
    sweep, folder = trained_sweep(tmp_path / "archive")
    before = listing(folder)
    assert main(["report", str(folder), "--output", str(tmp_path / "out")]) == 0
    assert listing(folder) == before
    assert (tmp_path / "out" / folder.name / "sweep.csv").is_file()
    kept = {path.relative_to(tmp_path / "out").parts[:-1] for path in (tmp_path / "out").rglob("*.safetensors")}
    assert kept == {(folder.name, point.name, "summary") for point in sweep.points}
    capsys.readouterr()


def test_claims_and_what_they_rest_on_go_there(tmp_path, capsys):
    """A claim on accuracies makes features of every run's checkpoints, which are kept."""
    keep = {"keep": {"steps": [0, 2], "last": True}}
    arms = {"cl": {"objective": "dcl"}, "nscl": {"objective": "nscl"}}
    sweep, folder = trained_sweep(tmp_path / "archive", arms=arms, checkpoints=keep)
    before = listing(folder)
    assert main(["claims", str(folder), "--output", str(tmp_path / "out")]) == 0
    assert listing(folder) == before
    own = tmp_path / "out" / folder.name
    assert {path.name for path in own.iterdir() if path.is_file()} == {"claims.csv", "claims.png", "claims.svg"}
    below = {path.relative_to(own).parts[:2] for path in own.glob("*/*")}
    assert below == {(point.name, kind) for point in sweep.points for kind in ("features", "summary")}
    capsys.readouterr()


def test_from_python_a_with_block_does_the_same(run, tmp_path):
    before = listing(run.parent)
    with analysis.results_in(tmp_path, [run]):
        opened = analysis.open_run(run)
        assert analysis.write_csv(opened, analysis.curves(opened)) == tmp_path / run.name / "curves.csv"
        analysis.summaries([run])
    assert listing(run.parent) == before
    assert (tmp_path / run.name / "summary").is_dir() and list(tmp_path.iterdir()) == [tmp_path / run.name]
