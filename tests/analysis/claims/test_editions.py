"""Every sweep that ships for the claims, tiny: trained, decided and reported from end to end."""

import csv
import re
from pathlib import Path

import pytest

from analysis.claims import evaluated
from analysis.claims.rules import rules
from analysis.claims.verdicts import HOLDS, UNDECIDED
from analysis.cli import main as analyze
from coupled.cli import main as run

ROOT = Path(__file__).parents[3]
SMALL = ("model.width=4", "views.size=16", "panel.size=64", "panel.surrogate_size=16")
BOUNDS = {"7a", "9", "10", "13b"}


def tiny(sweep, folder):
    """The sweep's file with the first two values of every axis."""
    text = sweep.read_text().replace('base = "../', f'base = "{ROOT}/configs/')
    fixed, axes = text.split("[axes]\n")
    short = re.sub(r"\[([^,\]]*), ([^,\]]*), .*\]", r"[\1, \2]", axes)
    path = folder / sweep.name
    path.write_text(f"{fixed}[axes]\n{short}")
    return path


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The trained sweeps, two seeds and 20 steps each; at B = 64 ten steps."""
    folder = tmp_path_factory.mktemp("editions")
    for sweep in sorted((ROOT / "configs/claims").glob("*.toml")):
        length = ["samples=640"] if sweep.stem == "batch_size" else ["train.steps=20", "batches.size=16"]
        sets = [each for field in (*SMALL, *length, f"paths.runs={folder}") for each in ("--set", field)]
        assert run(["sweep", str(tiny(sweep, folder)), *sets]) == 0
    return sorted(path for path in folder.iterdir() if path.is_dir())


@pytest.mark.slow
def test_tiny_sweeps_decide_nothing_but_bounds(folders, capsys, monkeypatch):
    monkeypatch.setattr(evaluated, "SAMPLES", 300)
    assert len(folders) == 7 and analyze(["claims", *map(str, folders)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("(claims.csv claims.png claims.svg)")
    for folder in folders:
        rows = list(csv.DictReader((folder / "analysis/claims.csv").read_text().splitlines()))
        assert {row["row"] for row in rows} == {row.id for claim in rules() for row in claim.rows}
        # Every row has its sweep, but for those that need a checkpoint from step 100 on and for the rules for the rate
        # that two values leave out.
        assert {row["row"] for row in rows if not row["sweep"]} == {
            "11a", "11b", "11c", "11d", "5c1", "5c2", "5d1", "5d2",
        }  # fmt: skip
        assert {row["verdict"] for row in rows if row["row"] not in BOUNDS} == {UNDECIDED}
        assert {row["row"]: row["verdict"] for row in rows if row["row"] in BOUNDS} == dict.fromkeys(BOUNDS, HOLDS)
        assert all(row["reason"] for row in rows)


@pytest.mark.slow
def test_the_report_of_a_sweep_shows_what_it_decided(folders, monkeypatch):
    monkeypatch.setattr(evaluated, "SAMPLES", 300)
    seeds = next(folder for folder in folders if folder.name.startswith("claims_seeds"))
    assert analyze(["claims", str(seeds)]) == 0
    assert analyze(["report", str(seeds)]) == 0
    page = (seeds / "analysis/report.html").read_text()
    (section,) = re.findall(r'<section id="claims".*?</section>', page, re.DOTALL)
    assert "More aligned than any two runs" in section and "2 seeds, and 5 are needed" in section
