"""The one line that a user reads: it is one line, and tells names apart that look equal."""

import unicodedata

import pytest
from helpers import tables

from coupled import errors
from coupled.config import from_tables
from coupled.errors import RunStopped, UserError, told_apart, unknown

NFC, NFD = "caf\u00e9", "cafe\u0301"

# A name, one that looks like it, and how the first is shown beside the second.
EQUAL = {
    "composed": (NFC, NFD, r"'caf\xe9'"),
    "decomposed": (NFD, NFC, r"'cafe\u0301'"),
    "zero-width space": ("c\u200bl", "cl", r"'c\u200bl'"),
    "soft hyphen": ("cl\u00ad", "cl", r"'cl\xad'"),
    "variation selector": ("cl\ufe0f", "cl", r"'cl\ufe0f'"),
    "no-break space": ("a\u00a0b", "a b", r"'a\xa0b'"),
    "space at the end": ("cl ", "cl", "'cl '"),
    "Cyrillic": ("\u0441l", "cl", r"'\u0441l'"),
    "Greek": ("t\u03bfp", "top", r"'t\u03bfp'"),
    "dash": ("fashion\u2013mnist", "fashion-mnist", r"'fashion\u2013mnist'"),
    "hyphen that does not break": ("a\u2011b", "a-b", r"'a\u2011b'"),
    "minus": ("\u22121", "-1", r"'\u22121'"),
    "wide": ("\uff43l", "cl", r"'\uff43l'"),
    "ligature": ("\ufb01ne", "fine", r"'\ufb01ne'"),
}


@pytest.mark.parametrize(("name", "other", "shown"), EQUAL.values(), ids=list(EQUAL))
def test_names_that_look_equal_are_told_apart(name, other, shown):
    assert told_apart(name, ["x", other]) == shown
    message = str(unknown("arm", name, ["long-name", other, "x"]))
    assert message.startswith(f"unknown arm {shown}; allowed: long-name, ")
    assert message.endswith(f"did you mean {told_apart(other, [name])}?") and message.isprintable()


@pytest.mark.parametrize(("name", "other"), [("caf\u00e9", "cafe"), ("cl", "Cl"), ("l", "1"), ("x", "x")])
def test_names_that_look_different_are_shown_as_they_are(name, other):
    assert told_apart(name, [other]) == name
    assert f"unknown arm {name}; " in str(unknown("arm", name, [other]))


def test_the_table_of_lookalikes_holds_what_it_says():
    """Its letters cannot be told apart by eye, in the source no more than elsewhere."""
    for code, latin in errors._LATIN.items():
        script = unicodedata.name(chr(code))
        assert not chr(code).isascii() and chr(latin).isascii()
        assert script.startswith(("CYRILLIC", "GREEK", "LATIN SMALL LETTER")) != (chr(latin) == "-")
        assert script.partition(" LETTER ")[0].endswith("SMALL") == chr(latin).islower()


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"arms": {"\u0441l": {"objective": "dcl"}}}, r"arm name '\u0441l'; letters, digits"),
        ({"data": {"name": "shape\u0455"}}, r"unknown data set 'shape\u0455'; allowed: shapes, "),
        ({"data": {"labelling": "si\u200bze"}}, r"unknown data.labelling 'si\u200bze'; .*did you mean size?"),
        ({"train": {"st\u0435ps": 3}}, r"unknown key train.'st\u0435ps'; .*did you mean train.steps?"),
        ({"optimiser": {"name": "\u0455gd"}}, r"optimiser.name = '\u0455gd'; one of sgd, "),
        ({"name": "\u0430b"}, r"name = '\u0430b'; at most 128 letters"),
        ({"arms": {"cl": {"objective": "d\u0441l"}}}, r"objective 'd\u0441l'; .*did you mean dcl?"),
        (
            {"arms": {"cl": {"objective": "dcl"}, "b": {"objective": "dcl"}, "t": {"kind": "twin", "of": "\u0441l"}}},
            r"arms.t.of = '\u0441l'; another arm: cl, b",
        ),
        (
            {"arms": {"cl": {"objective": "dcl"}, "b": {"objective": "dcl", "reference": "c\u04cf\u200b"}}},
            r"arms.b.reference = 'c\u04cf\u200b'; another arm: cl",
        ),
    ],
)
def test_names_of_a_config_are_told_apart(sections, message):
    with pytest.raises(UserError) as error:
        from_tables(tables(**sections))
    first, _, last = message.partition(".*")
    assert first in str(error.value) and str(error.value).endswith(last)


@pytest.mark.parametrize("error", [UserError("a\nb\x1b[2J", "c\u2028d", "\udcff"), RunStopped("a\r\n\tb")])
def test_an_error_is_one_printable_line(error):
    assert str(error).isprintable()
