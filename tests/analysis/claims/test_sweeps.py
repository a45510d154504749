"""A sweep's folder, an untrusted one too; and the command on a real sweep of two seeds."""

import csv
import json
import re
import shutil

import numpy as np
import pytest
from helpers import tiny

import analysis
from analysis.claims import claims
from analysis.claims.other_seeds import other_seeds
from analysis.claims.parts import Part, select
from analysis.claims.rules import rules
from analysis.claims.sweeps import is_named, parts_of, read
from analysis.cli import main
from coupled.config import digest
from coupled.driver.train import train
from coupled.errors import UserError
from coupled.store import StoreError

ARMS = {
    "cl": {"objective": "dcl"},
    "nscl": {"objective": "nscl"},
    "independent": {"kind": "independent"},
}


def sweep_json(folder, points, **more):
    tables = {"name": folder.name, "points": points, "schema": 1, **more}
    folder.mkdir(exist_ok=True)
    (folder / "sweep.json").write_text(json.dumps(tables, sort_keys=True, separators=(",", ":")) + "\n")


def point(config, **values):
    return {"digest": digest(config), "name": config.name, "values": {"seed": [config.seed], **values}}


def made(folder, steps, seeds, begun):
    """A real sweep over seeds, of which the first ones have begun and are finished."""
    sections = {
        "train": {"steps": steps},
        "record": {"similarity": {"every": 20}, "panel": {"every": 50, "last": True}},
        "optimiser": {"learning_rate": 1.0},
    }
    configs = [tiny(folder, name=f"s{seed}", seed=seed, arms=ARMS, **sections) for seed in range(seeds)]
    for config in configs[:begun]:
        train(config)
    sweep_json(folder, [point(config) for config in configs])
    return folder


def test_sweeps_of_one_folder_name_are_told_apart(tmp_path):
    folders = [tmp_path / name for name in ("a/seeds", "b/seeds", "a/x/seeds", "floor")]
    assert parts_of(folders) == [2, 2, 2, 1]
    assert parts_of(folders[:2] + folders[3:]) == [2, 2, 1]
    names = ("seeds", "b/seeds", "a/seeds", "floor", "eeds", "x/b/seeds")
    assert [is_named(folders[1], name) for name in names] == [True, True, False, False, False, False]


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    return made(tmp_path_factory.mktemp("sweeps") / "short", 1, 3, 2)


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    return made(tmp_path_factory.mktemp("sweeps") / "three", 110, 3, 3)


@pytest.fixture(scope="module")
def two(three):
    """Its first two seeds alone."""
    folder = three.parent / "two"
    sweep_json(folder, json.loads((three / "sweep.json").read_text())["points"][:2])
    for name in ("s0", "s1"):
        shutil.copytree(three / name, folder / name)
    return folder


def test_runs_are_those_that_sweep_json_names(short):
    (sweep,) = read([short])
    assert [(run.name, run.seed, run.lacks) for run in sweep.runs] == [
        ("s0", 0, ""), ("s1", 1, ""), ("s2", 2, "it has not begun"),
    ]  # fmt: skip
    first = sweep.runs[0]
    assert first.has("seed", 0) and first.has("batch_size", 8) and not first.has("seed", 1)
    assert first.summary is not None
    norm = analysis.open_run(first.path).column("scalars", "nscl", "state.norm")[1][0]
    assert first.summary.about["start"]["nscl"] == norm > 0
    assert (first.summary.about["classes"], first.summary.about["images"]) == ({"size": 2}, 20000)


@pytest.mark.slow
def test_two_seeds_give_no_statistical_verdict_and_a_bound_that_holds(two):
    by_row = {finding.row.id: finding.verdict for finding in claims([two])}
    assert {verdict.verdict for row, verdict in by_row.items() if row not in ("7a", "9", "10")} == {"undecided"}
    assert by_row["7a"].verdict == "holds" and by_row["7a"].reason.startswith("0 of ")
    assert by_row["7a"].effect > 1
    assert by_row["9"].verdict == "holds" and by_row["9"].effect > 1
    assert re.match(r"0 of [\d,]+ checks; first vacuous steps: .*paper \d+.*; at the end the true", by_row["9"].reason)
    assert by_row["12d"].reason == "2 seeds, and 5 are needed; seeds 0, 1: pairs of seeds need 3 of them"


@pytest.mark.slow
def test_the_command_prints_80_columns_and_writes_a_table(two, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["claims", str(two), "--verbose"]) == 0
    out = capsys.readouterr().out.splitlines()
    board = out[out.index(next(line for line in out if line.startswith("claim "))) :]
    assert max(map(len, board[:-3])) <= 80
    assert out[-2:] == [f"results: {two}/analysis/", "  (claims.csv claims.png claims.svg)"]  # no path is broken
    rows = list(csv.DictReader((two / "analysis/claims.csv").read_text().splitlines()))
    assert {row["claim"] for row in rows} == {str(number) for number in range(1, 14)}
    assert all(row["reason"] for row in rows)
    by_row = {row["row"]: row for row in rows}
    assert by_row["1"]["scale"].startswith("shapes, resnet-small of width 4, 110 steps, B = 8, 0.044 epochs")
    assert json.loads(by_row["1"]["by_seed"]).keys() == {"0", "1"} and by_row["1"]["rsa_effect"]


@pytest.mark.slow
def test_cl_of_other_seeds_is_compared_on_the_panel_that_all_have(three):
    (sweep,) = read([three])
    row = next(row for claim in rules() for row in claim.rows if row.kind == "other seed")
    part = select(row, sweep)
    assert isinstance(part, Part)
    effects = other_seeds(row, part, "cka")
    runs = [analysis.open_run(run.path) for run in sweep.runs]

    def h(run, step):
        return run.row("panel", "cl", "state.h", step)

    pairs = {
        (a, b): np.mean([analysis.linear_cka(h(runs[a], step), h(runs[b], step)) for step in (100, 110)])
        for a, b in ((0, 1), (0, 2), (1, 2))
    }
    for seed, run in enumerate(runs):
        own = run.curve("cka", arm="nscl")
        without = next(value for pair, value in pairs.items() if seed not in pair)
        expected = own.values[own.steps >= 100].mean() - (sum(pairs.values()) - 2 * without)
        assert effects[seed] == pytest.approx(expected)


def test_what_is_no_sweep_is_one_line(short, tmp_path, capsys):
    assert main(["claims", str(tmp_path)]) == 2
    assert "is not a sweep; a sweep's folder holds sweep.json" in capsys.readouterr().err
    with pytest.raises(UserError, match="given twice"):
        read([short, short / "."])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "../two/s0"}, "'..' part"),
        ({"name": "a/b"}, "is no name of a folder"),
        ({"values": {"seed": 0}}, "are a list of one or more"),
        ({"values": {"seed": []}}, "are a list of one or more"),
        ({"values": 3}, "needs a name"),
    ],
)
def test_a_hostile_sweep_json_is_refused(change, message, tmp_path):
    sweep_json(tmp_path / "bad", [{"digest": "0" * 64, "name": "s0", "values": {"seed": [0]}, **change}])
    with pytest.raises(StoreError, match=message):
        read([tmp_path / "bad"])
    sweep_json(tmp_path / "bad", [])
    with pytest.raises(UserError, match="no points"):
        read([tmp_path / "bad"])


def test_a_run_of_another_config_is_refused(short, tmp_path):
    entries = json.loads((short / "sweep.json").read_text())["points"]
    (tmp_path / "other").mkdir()
    for name in ("s0", "s1"):
        shutil.copytree(short / name, tmp_path / "other" / name)
    sweep_json(tmp_path / "other", [{**entry, "digest": "f" * 64} for entry in entries])
    with pytest.raises(UserError, match="sweep.json has ffffffffffff"):
        read([tmp_path / "other"])
