"""docs/theory.md numbers every formula that the code computes, and the code cites each where it computes it."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
# "(4)", "(4), (5)", "(51), (52) and (53)", "(4) to (8)", "(45)–(48)".
JOINT = r"(?:,\s+and|,|\s+and|\s+to|\s*–)\s*"
CITATION = re.compile(rf"docs/theory\.md\s+(\(\d+\)(?:{JOINT}\(\d+\))*)")


def cited(text: str) -> set[int]:
    """The numbers of all formulas that a text cites, the inner ones of "(4) to (8)" too."""
    numbers: set[int] = set()
    for citation in CITATION.finditer(re.sub(r"\n[ #]*", " ", text)):
        parts = re.findall(r"(to|–)?\s*\((\d+)\)", citation[1])
        for (_, before), (joint, number) in zip([("", "0"), *parts], parts, strict=False):
            numbers |= set(range(int(before) if joint else int(number), int(number) + 1))
    return numbers


def test_citations_are_read_in_all_their_forms():
    assert cited("docs/theory.md (3).") == {3}
    assert cited("see docs/theory.md (51), (52) and (53); docs/theory.md\n    # (7)") == {51, 52, 53, 7}
    assert cited("docs/theory.md (4) to (8), (11): as (99)") == {4, 5, 6, 7, 8, 11}
    assert cited("docs/theory.md (45)–(47)") == {45, 46, 47}


def test_every_formula_is_cited_where_it_is_computed_and_no_other():
    numbers = [
        int(n) for n in re.findall(r'^<a id="eq\d+"></a>\*\*\((\d+)\)', (ROOT / "docs/theory.md").read_text(), re.M)
    ]
    assert numbers == list(range(1, len(numbers) + 1))
    citing = {
        path.relative_to(ROOT): cited(path.read_text(encoding="utf-8"))
        for folder in ("coupled", "analysis", "tests")
        for path in (ROOT / folder).rglob("*.py")
        if path != Path(__file__)
    }
    assert {str(path): sorted(found - set(numbers)) for path, found in citing.items() if found - set(numbers)} == {}
    in_code = set().union(*(found for path, found in citing.items() if path.parts[0] != "tests"))
    assert sorted(set(numbers) - in_code) == []
