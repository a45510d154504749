"""What the command prints of divergence: what came out first, tables that fit a terminal."""

import math

import pytest

from analysis.cli import main
from analysis.divergence import divergence
from analysis.divergence.growth import growth
from analysis.divergence.printed import excess_at_end, printed, verdicts
from analysis.runs.curve import pick
from analysis.runs.numbers import number

pytestmark = pytest.mark.kernels


def test_every_arm_with_a_reference_has_a_line_with_its_numbers_at_the_last_step(run):
    curves, growths = divergence(run), growth(run)
    lines = verdicts(run, curves, growths)
    assert [line.partition(":")[0] for line in lines] == [arm for arm, spec in run.arms.items() if spec.reference]
    nscl, gap = lines[0], pick(curves, "weight_gap", "nscl")
    assert nscl.startswith(f"nscl: weight gap {number(gap.values[-1])}; distance ")
    ((_, excess, name),) = excess_at_end(curves, "nscl")
    assert f"{number(excess)} × {name}'s" in nscl
    assert "twin: weight gap 0; an exact twin of cl" in lines


def test_the_law_that_fits_better_is_said_and_where_neither_does(run):
    curves, growths = divergence(run), growth(run)
    fitted = next(one for one in growths if one.arm == "nscl" and one.better)
    (line,) = [line for line in verdicts(run, curves, growths) if line.startswith("nscl: ")]
    said = {
        "power law": "a power law fits better (",
        "exponential": "an exponential fits",
        "undecided": "neither law is",
    }
    assert said[fitted.better] in line and fitted.window in line
    assert math.isfinite(fitted.exponent)


@pytest.mark.parametrize("more", [[], ["--verbose"]])
def test_no_line_is_wider_than_the_terminal_and_no_word_is_broken(trained, run, capsys, monkeypatch, tmp_path, more):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["divergence", str(trained), "--output", str(tmp_path), *more]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines[:-1])) <= 80
    assert {arm for arm, spec in run.arms.items() if spec.reference and spec.kind != "twin"} <= set(
        map(str.strip, lines)
    )
    assert any("power law" in line for line in lines)


def test_scale_and_precision_of_every_floor_are_named(run):
    lines = [part for part in printed(run, divergence(run), growth(run)) if isinstance(part, str)]
    assert any(line.startswith("nudged: ") and "float32" in line for line in lines)
