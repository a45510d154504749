"""Losses of imported checkpoints: what no file holds is asked for, and epochs are those of the files' names."""

import csv
import re
import shutil

import pytest

import analysis
from analysis.cli import main
from analysis.evaluation.features import Evaluation
from analysis.evaluation.geometry import geometry

pytestmark = pytest.mark.kernels


@pytest.fixture
def run(imported_run, tmp_path):
    return shutil.copytree(imported_run, tmp_path / "second")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--batch 8", "the temperature of .*; imported checkpoints do not hold it; say it with --temperature"),
        ("--temperature 1", "the batch size of .*; imported checkpoints do not hold it; say it with --batch"),
    ],
)
def test_what_no_file_holds_is_asked_for_in_one_line(words, said, run, capsys):
    assert main(["losses", str(run), "--samples", "20", *words.split()]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and re.search(said, err)


def test_an_imported_run_has_losses_at_its_epochs(run, capsys):
    assert main(["losses", str(run), "--samples", "20", "--temperature", "1", "--batch", "8"]) == 0
    with (run / "analysis" / "losses.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert all("views recipe paper-v2 is not known to be the training's" in line["flags"] for line in lines)
    assert {line["epoch"] for line in lines} == {"0.0", "3.0"} and {line["arm"] for line in lines} >= {"dcl", "ce"}
    # What the papers' code calls DCL is NT-Xent, and its NSCL has the positive in the denominator.
    assert "CL is nt_xent, NSCL is nscl_with_positive" in capsys.readouterr().out


def test_geometry_flags_what_augmented_views_are_in_and_nothing_else(imported_run):
    evaluation = Evaluation(analysis.open_run(imported_run), steps=[3], size=20)
    flagged = {curve.measure for curve in geometry(evaluation).curves if set(evaluation.view_flags) & set(curve.flags)}
    assert flagged == {"augmentation_collapse"}
