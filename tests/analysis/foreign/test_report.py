"""The report of imported checkpoints: the tables that other commands have left, and no word that nobody knows."""

import re
import shutil

import pytest

from analysis.cli import main

pytestmark = pytest.mark.kernels
RECORDS = {
    "headline": "scalars, panel, similarity",
    "curves": "scalars, panel, similarity",
    "bounds": "scalars, similarity, surrogate, panel",
    "divergence": "scalars, layers",
    "layers": "scalars, layers",
}


@pytest.fixture(scope="module")
def run(imported_run, tmp_path_factory):
    """An imported run with the tables of losses and geometry beside it, and its page."""
    path = shutil.copytree(imported_run, tmp_path_factory.mktemp("reported") / "second")
    assert main(["losses", str(path), "--samples", "20", "--temperature", "1", "--batch", "8"]) == 0
    assert main(["geometry", str(path), "--samples", "20"]) == 0
    assert main(["report", str(path)]) == 0
    return path


@pytest.fixture(scope="module")
def parts(run):
    """The HTML of every section."""
    html = (run / "analysis" / "report.html").read_text(encoding="utf-8")
    return dict(re.findall(r'<section id="(\w+)"[^>]*>(.*?)</section>', html, re.DOTALL))


@pytest.mark.parametrize(("name", "streams"), RECORDS.items())
def test_a_section_of_records_says_in_a_line_which_are_missing(name, streams, parts):
    (line,) = re.findall(r"<p[^>]*>(.*?)</p>", parts[name])
    assert f"they have no records, and {streams} are needed" in line and "<figure" not in parts[name]


def test_the_tables_are_shown_with_what_must_be_known_of_them(parts):
    assert set(re.findall(r'id="plot-(\w+)"', parts["evaluated"])) == {"whole_losses", "whole_geometry"}
    assert "views recipe paper-v2 is not known to be the training&#x27;s" in parts["evaluated"]


def test_nobodys_values_are_not_shown_as_facts(parts):
    named = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", parts["shared"]))
    assert list(named) == ["data", "normalised by", "encoder", "steps", "epochs", "not known"]
    assert "optimiser" in named["not known"] and named["epochs"] == "0, 3"
    cell = r"<td[^>]*>{}</td>".format
    of_arm = cell("(nt_xent|nscl|scl|ce)[^<]*") + cell("[^<]*") + cell("(.*?)")
    assert re.findall(of_arm, parts["shared"]) == [(loss, "–") for loss in ("nt_xent", "nscl", "scl", "ce")]


def test_the_page_says_how_the_run_was_imported(parts):
    arms = " ".join(f"--arm {arm}=DIR" for arm in ("dcl", "nscl", "scl", "ce"))
    assert f"coupled-analyze import {arms} --data-set shapes --labelling size --epochs 0 3" in parts["reproduce"]
    assert "coupled-run train" not in parts["reproduce"] and parts["reproduce"].count("snapshot_3.pth") == 4


def test_nothing_of_records_is_written(run):
    assert not {path.name for path in (run / "analysis").iterdir()} & {"curves.csv", "bounds.csv", "divergence.csv"}


def test_pictures_alone_make_a_page_too(imported_run, tmp_path):
    path = shutil.copytree(imported_run, tmp_path / "second")
    assert main(["picture", str(path), "--samples", "20", "--method", "pca"]) == 0
    assert main(["report", str(path)]) == 0
    html = (path / "analysis" / "report.html").read_text(encoding="utf-8")
    assert 'id="plot-pictures"' in html and '<section id="evaluated"' not in html


@pytest.mark.slow
def test_probes_alone_make_a_page_too(imported_run, tmp_path):
    path = shutil.copytree(imported_run, tmp_path / "second")
    options = ["--samples", "40", "--shots", "1", "all", "--draws", "2", "--classifiers", "centre"]
    assert main(["probe", str(path), *options]) == 0
    assert main(["report", str(path)]) == 0
    html = (path / "analysis" / "report.html").read_text(encoding="utf-8")
    assert 'id="plot-probe_shots"' in html and '<section id="evaluated"' not in html
