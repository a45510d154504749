"""The rules that ship, and what a rules file may not say."""

import re
from pathlib import Path

import pytest

from analysis.claims.bounds import JUDGES
from analysis.claims.effects import MAKERS
from analysis.claims.rules import COUNT, KINDS, parse, rules

ROOT = Path(__file__).parents[3]
ONE = """[[claim]]
number = {n}
title = "t"
statement = "s"
source = "p"
[[claim.row]]
id = "{n}"
words = "w"
kind = "level"
"""
GOOD = "".join(ONE.format(n=n) for n in range(1, COUNT + 1))


def test_every_claim_ships_with_rows_whose_kinds_are_known():
    assert [claim.number for claim in rules()] == list(range(1, 14))
    rows = [row for claim in rules() for row in claim.rows]
    assert {row.kind for row in rows} == set(KINDS) == {*MAKERS, *JUDGES}
    assert all(claim.statement.endswith(".") and "paper" in claim.source for claim in rules())


def test_every_alignment_is_judged_by_the_one_margin():
    rows = [row for claim in rules() for row in claim.rows]
    assert {row.margin for row in rows if row.measure == "cka"} == {0.02}
    assert {row.id: row.margin for row in rows if row.margin != 0.02} == {"6b1": 10, "6b2": 10, "7b": 0.2}


def test_the_page_has_every_row_with_its_margin_and_side():
    page = (ROOT / "docs/claims.md").read_text(encoding="utf-8").partition("\n## What came out\n")[0]
    for claim in rules():
        assert f"### {claim.number}. {claim.title}" in page
        for row in claim.rows:
            (line,) = re.findall(rf"^\| {row.id} \|.*$", page, re.MULTILINE)
            if row.kind not in (*JUDGES, "exponential"):
                side = {"above": "> ", "below": "< −", "within": "within ±"}[row.side]
                assert f"{side}{row.margin:g}".replace("0.", ".") in line


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD.replace('kind = "level"', 'kind = "levels"', 1), "kind = 'levels'"),
        (GOOD.replace('kind = "level"', 'kind = "level"\nmargn = 1.0', 1), "unknown key margn"),
        (GOOD.replace('kind = "level"', 'kind = "level"\nmargin = "1"', 1), "margin = '1'"),
        (GOOD.replace('kind = "level"', 'kind = "level"\nmargin = true', 1), "margin = True"),
        (GOOD.replace('kind = "level"', 'kind = "level"\nmargin = -1.0', 1), "margin = -1.0"),
        (GOOD.replace('kind = "level"', 'kind = "level"\nmargin = 0.0', 1), "margin = 0.0"),
        (GOOD.replace('kind = "level"', 'kind = "level"\narms = ["nscl", "sgl"]', 1), "sgl"),
        (GOOD.replace('kind = "level"', 'kind = "trend"', 1), "axis"),
        (GOOD.replace('kind = "level"', 'kind = "level"\naxis = "classes"', 1), "axis"),
        (GOOD.replace('kind = "level"', 'kind = "level"\nmeasure = "accuracy"', 1), "measure = 'accuracy'"),
        (GOOD.replace('words = "w"\n', "", 1), "lacks"),
        (GOOD.replace('id = "2"', 'id = "1"', 1), "row 1 of claim 2"),
        (GOOD.replace('id = "2"', 'id = "2-b"', 1), "ids are such as"),
        (GOOD.replace("number = 2", "number = 3", 1), "row 2 of claim 3"),
        (GOOD + "[other]\n", "tables"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_rules_is_refused(text, message):
    assert len(parse(GOOD)) == COUNT
    with pytest.raises(ValueError, match=re.escape(message)):
        parse(text)
