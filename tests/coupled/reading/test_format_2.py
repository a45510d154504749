"""Runs of format 2 are read by every command, and nothing is added to them. This one was made by the code of then."""

import csv
import json
import shutil
import tarfile
from pathlib import Path

import pytest
from helpers import commit_run_json, tiny

import analysis
from analysis.cli import main as analyze
from coupled.cli import main
from coupled.comparison import diff
from coupled.config import digest, fingerprint, resolved
from coupled.config.formats import downgraded, upgraded
from coupled.driver.train import train
from coupled.errors import UserError
from coupled.reading.run_json import read_run
from coupled.store import StoreError, canonical_json, tree_hash
from coupled.store import digest as digest_of

pytestmark = pytest.mark.slow  # runs of their own; others of the fast ones train, resume and read as well

ARCHIVE = Path(__file__).parents[2] / "data" / "format2.tar.gz"
REFUSED = "is a run of format 2; only runs of format 3 can be resumed or trained further; "


@pytest.fixture
def run(tmp_path):
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "format2"


def config_of(run):
    return read_run(run)[1]


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_it_resolves_with_its_own_digests_and_without_motion(run):
    facts, config, _ = read_run(run)
    written = json.loads((run / "run.json").read_bytes())
    assert facts["schema"] == 2 and digest(config, 2) == written["config_digest"] != digest(config)
    assert fingerprint(config) == written["fingerprint"]
    assert config.record.motion.upto(config.train.steps) == []
    assert {name: arm.reference for name, arm in config.arms.items()} == {
        "cl": None, "nscl": "cl", "scl": "nscl", "twin": "cl", "nudged": "nscl",
    }  # fmt: skip
    assert canonical_json(downgraded(resolved(config), 2)) == canonical_json(written["config"])
    assert (
        canonical_json(upgraded(written["config"], 2))
        == canonical_json(resolved(config))
        == canonical_json(facts["config"])
    )


@pytest.mark.parametrize("command", ["curves", "bounds", "divergence", "report"])
def test_every_analysis_reads_it(run, command, capsys):
    before = tree_hash(run)
    assert analyze([command, str(run)]) == 0
    assert "motion" not in capsys.readouterr().err and tree_hash(run) == before


@pytest.mark.parametrize("name", ["curves", "divergence"])
def test_its_numbers_are_those_that_its_own_code_gave(run, name):
    then = rows_of(run / "analysis" / f"{name}.csv")
    assert analyze([name, str(run)]) == 0
    now = rows_of(run / "analysis" / f"{name}.csv")
    key = ("step", "arm", "measure", "feature", "source", "labelling", "kind", "n", "d")
    assert [[row[k] for k in key] for row in now] == [[row[k] for k in key] for row in then]
    assert [row["reference"] for row in now] == [row["anchor"] for row in then]
    for row, old in zip(now, then, strict=True):
        for cell in ("value", "low", "high", "null_low", "null_high"):
            assert (row[cell] == "") == (old[cell] == "")
            if row[cell]:
                # What another order of sums changes in float64, and its root in the arc cosine of a CKA near 1.
                assert float(row[cell]) == pytest.approx(float(old[cell]), rel=1e-6, abs=1e-7), (row, cell)


def test_verify_and_export_read_it(run, tmp_path, capsys):
    assert main(["verify", str(run)]) == 0
    assert "chain of sample ids" in capsys.readouterr().out
    assert main(["export", str(run), "--arm", "nscl", "--output", str(tmp_path / "nscl.safetensors")]) == 0


def test_diff_compares_it_with_a_run_of_format_3(run, tmp_path):
    assert diff(run, run).equal
    config = config_of(run)
    other = train(tiny(tmp_path / "runs", **{k: v for k, v in resolved(config).items() if k in ("batches", "views")}))
    facts = {fact.name: (fact.a, fact.b) for fact in diff(run, other).facts}
    assert facts["format"] == (2, 3) and "arms.scl.reference" in facts and "config.arms" not in facts


@pytest.mark.parametrize("arguments", [[], ["--extend", "9"], ["--from", "2"]])
def test_resume_of_it_says_so_in_one_line(run, arguments, capsys):
    before = tree_hash(run)
    assert main(["resume", str(run), *arguments]) == 2
    assert f"{REFUSED}go on with the version that wrote it" in capsys.readouterr().err
    assert tree_hash(run) == before


def test_a_half_extended_one_is_not_even_mended(run, capsys):
    """As a kill inside the commit of an extension leaves it: its new run.json lies beside the old one."""
    facts = json.loads((run / "run.json").read_bytes())
    old, new = (run / "run.json").read_bytes(), canonical_json({**facts, "determinism": "x"}) + b"\n"
    (run / "run.json").write_bytes(new)
    commit_run_json(run)
    (run / "run.json").write_bytes(old)
    (run / "run.json.tmp").write_bytes(new)
    assert main(["resume", str(run)]) == 2 and REFUSED in capsys.readouterr().err
    assert (run / "run.json").read_bytes() == old and (run / "run.json.tmp").read_bytes() == new


def test_verify_of_an_unfinished_one_does_not_advise_to_resume_it(run, capsys):
    lines = (run / "manifest.jsonl").read_bytes().splitlines(keepends=True)
    (run / "manifest.jsonl").write_bytes(b"".join(lines[:-1]))
    assert main(["verify", str(run)]) == 0
    assert "it is not finished" in (shown := capsys.readouterr().out) and "coupled-run resume" not in shown


def test_train_onto_it_says_so_in_one_line(run, tmp_path):
    config = tiny(tmp_path, name="format2")
    before = tree_hash(run)
    with pytest.raises(UserError, match=f"{REFUSED}give --overwrite to replace it, or choose another name"):
        train(config)
    assert tree_hash(run) == before


def rewritten(run, **changes):
    """The run with another run.json, committed as if it had been written so."""
    facts = json.loads((run / "run.json").read_bytes())
    facts |= changes
    facts["config_digest"] = digest_of(facts["config"])
    (run / "run.json").write_bytes(canonical_json(facts) + b"\n")
    commit_run_json(run)
    return run


def test_each_format_has_its_own_key(run, tmp_path):
    facts = json.loads((run / "run.json").read_bytes())
    with pytest.raises(UserError, match=r"unknown key arms\.nscl\.anchor"):
        read_run(rewritten(run, schema=3))
    facts["config"]["arms"] = [
        {"reference" if key == "anchor" else key: value for key, value in arm.items()}
        for arm in facts["config"]["arms"]
    ]
    with pytest.raises(Exception, match="its config is not a resolved one"):
        read_run(rewritten(run, schema=2, config=facts["config"]))


@pytest.mark.parametrize("kind", ["start", "zebra"])
def test_kinds_of_runs_that_are_to_come_are_one_line(run, kind):
    facts = json.loads((run / "run.json").read_bytes())
    changes = {"config": {**facts["config"], "start": {}}} if kind == "start" else {kind: {}}
    shutil.rmtree(run / "analysis")
    known = "it reads runs that begin at their initial weights, and imported checkpoints; use the version"
    with pytest.raises(UserError, match=rf"\({kind}\); {known}"):
        analysis.open_run(rewritten(run, **changes))


def test_no_run_of_format_2_has_imported_checkpoints(run):
    with pytest.raises(StoreError, match="its imported is not that of imported checkpoints: no run of format 2 has it"):
        read_run(rewritten(run, imported={}))
