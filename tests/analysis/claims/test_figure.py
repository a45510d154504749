"""The scoreboard as a figure."""

from dataclasses import replace

from analysis.claims import Finding, figure
from analysis.claims.rules import rules
from analysis.claims.verdicts import Verdict, undecided

ROWS = {row.id: (claim, row) for claim in rules() for row in claim.rows}


def finding(row_id, verdict, sweep="made"):
    claim, row = ROWS[row_id]
    return Finding(claim, row, sweep, "", verdict)


def numbers(effect, **more):
    return replace(Verdict("supported", "", effect, effect - 0.01, effect + 0.01, 0.03, {0: effect}), **more)


FINDINGS = [
    finding("1", numbers(0.1)),
    finding("2a", undecided("no reason of few words, and so one that is cut"), ""),
    finding("5a1", numbers(-0.1)),
    finding("6b1", numbers(1e6, low=1e6, high=1e6)),
    finding("7a", Verdict("holds", "0 of 9 checks", 2.5)),
    finding("12e", undecided("no reason of few words, and so one that is cut")),
]


def texts(drawn):
    return [label.get_text() for label in (*drawn.axes[0].texts, *drawn.texts)]


def test_a_line_stands_for_each_row_that_a_sweep_was_given_for():
    drawn = figure.draw(FINDINGS)
    assert {"1. Aligned through training", "supported", "+0.100   [+0.090, +0.110]"} <= set(texts(drawn))
    assert {"bound/measured 2.500", "no reason of few words, and so one …", "no sweep was given for 2a"} <= set(
        texts(drawn)
    )
    assert "2. NSCL is the nearest" not in texts(drawn)


def test_effects_are_in_margins_and_to_the_right_where_they_are_as_claimed():
    marks = [line for line in figure.draw(FINDINGS).axes[0].lines if line.get_marker() in "|<>"]
    assert [round(float(line.get_xdata()[0]), 9) for line in marks] == [5, 5, 100]  # 5a1 claims a fall
    assert [line.get_marker() for line in marks] == ["|", "|", ">"]


def test_equal_findings_give_equal_bytes(tmp_path):
    first, second = (figure.save(tmp_path / name, FINDINGS) for name in ("a", "b"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
