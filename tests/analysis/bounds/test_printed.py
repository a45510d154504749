"""What the command prints of bounds: what came out first, tables that fit a terminal."""

import re
from dataclasses import replace

import numpy as np
import pytest

import analysis
from analysis.bounds import TRIVIAL, bounds
from analysis.bounds import table as bounds_table
from analysis.bounds.checks import violations
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
    of_anchors = [c for c in bounded if c.measure == "gap_slack" and "tighter" in c.estimator]
    short = [replace(c, values=c.values - 9) if c in of_anchors else c for c in bounded]
    assert verdicts(short)[0].startswith("loss gap: BROKEN is tighter at ")  # of an anchor alone
    true_run = next(line for line in lines if line.startswith("drift of Σ, true run"))
    assert "they are bounds of the surrogate, not of it" in true_run


def test_a_line_says_what_the_warnings_say(bounded):
    """Nor does either take a value that has lost its digits for a bound that is broken."""
    lost = ("ill-conditioned from step 0: similarities are nearly equal",)
    low = [replace(c, values=c.values - 2) if c.measure == "rsa" and c.kind == "measured" else c for c in bounded]
    assert violations(low) and any("RSA of z: BROKEN" in line for line in verdicts(low))
    blurred = [replace(c, flags=lost) if c.measure == "rsa" and c.kind == "measured" else c for c in low]
    assert not violations(blurred) and not any("BROKEN" in line for line in verdicts(blurred))
    told = next(line for line in verdicts(blurred) if line.startswith("RSA of z"))
    assert re.match(r"RSA of z: nobody can tell of (\d arms|nscl), whose similarities are nearly equal", told)


def test_a_bound_stays_one_where_digits_are_lost(bounded):
    """A star says that something is no bound of what was measured."""

    def cells(curves):
        return [list(column.cells) for table in bounds_table.tables(curves, ["nscl"]) for column in table.columns]

    lost = ("ill-conditioned from step 0: similarities are nearly equal",)
    blurred = [replace(c, flags=lost) if c.measure == "rsa" and c.kind == "measured" else c for c in bounded]
    assert cells(blurred) == cells(bounded)


def test_of_several_arms_the_first_and_the_last_vacuous_step_are_said(bounded):
    grown = [replace(c, values=c.values * 1e9) if c.measure == "drift" and c.bound == "paper" else c for c in bounded]
    other = [replace(c, arm="other") for c in bounded if c.arm == "nscl" and c.measure in ("drift", "surrogate_drift")]
    late = [replace(c, values=np.where(c.steps > 9, 1e9, 0.0)) if c.bound == "paper" else c for c in other]
    line = next(line for line in verdicts([*grown, *late]) if line.startswith("drift of Σ, surrogate"))
    assert line.endswith("; vacuous: paper from step 1 to 10")


@pytest.mark.parametrize("more", [[], ["--verbose"]])
def test_no_line_is_wider_than_the_terminal_and_no_word_is_broken(trained, capsys, monkeypatch, tmp_path, more):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["bounds", str(trained), "--output", str(tmp_path), *more]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines()[:-1])) <= 80
    words = set(out.split())
    for word in (*analysis.open_run(trained).arms, "similarity*") if more else ("cl", "nscl", "fine", "surrogate,"):
        assert word in words or f"{word}," in words, word
