"""The glossary: what the first pages promise of it."""

import re

import pytest
from page_blocks import ROOT

GLOSSARY = (ROOT / "docs/glossary.md").read_text(encoding="utf-8")
ENTRIES = re.findall(r'^- <a id="([^"]+)"></a>\*\*(.+?)\*\*', GLOSSARY, re.M)
ITALIC = re.compile(r"(?<![*\w])\*([^*\n]+)\*(?![*\w])")


def words():
    """Every word that has an entry, in its singular; or that is set in italics as the first one within an entry, which
    explains it there: later italics may only name a word.
    """
    own = {word.strip() for _, name in ENTRIES for word in re.split(",| and ", name)}
    within = {word for entry in re.split(r"\n(?=- <a)", GLOSSARY) for word in ITALIC.findall(entry)[:1]}
    return {word.lower().removesuffix("s") for word in own | within}


def in_italics(text):
    """The words in italics outside of blocks, in their singular."""
    lines = (line for line in text.splitlines() if not line.startswith("    "))
    return {word.lower().removesuffix("s") for word in ITALIC.findall("\n".join(lines))}


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial.md"])
def test_every_word_in_italics_is_in_the_glossary(page):
    missing = in_italics((ROOT / page).read_text(encoding="utf-8")) - words() - {"italic"}
    assert not missing


def test_the_glossary_is_in_alphabetical_order():
    names = [re.sub("[^a-z0-9 ]", "", name.lower().replace("σ", "sigma").split(",")[0]) for _, name in ENTRIES]
    assert names == sorted(names)


def test_an_entry_has_a_place_of_its_own():
    places = [place for place, _ in ENTRIES]
    assert len(set(places)) == len(places) == GLOSSARY.count("\n- ")
