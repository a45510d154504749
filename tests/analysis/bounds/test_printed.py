"""What the command prints of bounds: what came out first, tables that fit a terminal."""

from dataclasses import replace

import pytest

import analysis
from analysis.bounds import TRIVIAL, bounds
from analysis.bounds import table as bounds_table
from analysis.bounds.pairs import NAMES
from analysis.bounds.verdicts import verdicts
from analysis.cli import main


@pytest.fixture(scope="module")
def bounded(run):
    return bounds(run)


def test_there_is_a_table_of_every_arm_with_a_row_for_every_bound_on_it(run, bounded):
    tables = {str(table.columns[0].header): table for table in bounds_table.tables(bounded, run.arms)}
    references = {arm: spec.reference for arm, spec in run.arms.items()}
    assert set(tables) == {f"{arm} against {of}" if of else arm for arm, of in references.items()}
    names = [str(cell) for cell in tables["nscl against cl"].columns[0].cells]
    bounds_of = [curve for curve in bounded if curve.arm == "nscl" and curve.kind != "measured"]
    # Those on drift stand beside the surrogate and beside the true run.
    twice = [curve for curve in bounds_of if curve.measure == "drift" and curve.bound != TRIVIAL]
    assert sum(name.startswith("  ") for name in names) == len(bounds_of) + len(twice)
    assert names[0] == "loss gap, batch, shape" and "drift of Σ, true run" in names and "  paper*" in names


def test_what_came_out_is_said_first_and_a_broken_bound_by_name(bounded):
    lines = verdicts(bounded)
    assert {line.partition(":")[0] for line in lines} == {NAMES[c.measure] for c in bounded if c.measure in NAMES}
    assert lines[0].startswith("loss gap: every bound holds at every step of 6 arms (per anchor ")
    halved = [replace(c, values=c.values * 0.1) if c.bound == "tighter" else c for c in bounded]
    assert verdicts(halved)[0].startswith("loss gap: BROKEN is tighter at ")
    true_run = next(line for line in lines if line.startswith("drift of Σ, true run"))
    assert "they are bounds of the surrogate, not of it" in true_run


@pytest.mark.parametrize("more", [[], ["--verbose"]])
def test_no_line_is_wider_than_the_terminal_and_no_word_is_broken(trained, capsys, monkeypatch, tmp_path, more):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["bounds", str(trained), "--output", str(tmp_path), *more]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines()[:-1])) <= 80
    words = set(out.split())
    for word in (*analysis.open_run(trained).arms, "similarity*") if more else ("cl", "nscl", "fine", "surrogate,"):
        assert word in words or f"{word}," in words, word
