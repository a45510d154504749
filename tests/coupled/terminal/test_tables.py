"""Tables wider than the terminal: nothing is broken inside a word, no column and no row is lost."""

import pytest
from rich.table import Table

from coupled.terminal.console import Console, say

ARMS = ("kicked", "placebo-of-nscl", "nudged-by-a-little")


def printed(table, capsys, monkeypatch, width=80):
    monkeypatch.setenv("COLUMNS", str(width))
    Console().print(table)
    return capsys.readouterr().out.splitlines()


def table_of(columns, **options):
    table = Table(title="T", caption="all of the words below it", **options)
    table.add_column("arm")
    for number in range(columns):
        table.add_column(f"measure {number}", justify="right", no_wrap=True)
    for arm in ARMS:
        table.add_row(arm, *(f"{number}.25 ± 0.5" for number in range(columns)))
    return table


@pytest.mark.parametrize("options", [{}, {"box": None}])
@pytest.mark.parametrize("columns", [1, 3, 5, 12])
def test_every_name_and_number_is_whole_and_no_line_too_long(columns, options, capsys, monkeypatch):
    lines = printed(table_of(columns, **options), capsys, monkeypatch)
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    assert all(f"{number}.25 ± 0.5" in text for number in range(columns))
    assert {text.count(arm) for arm in ARMS} == {text.count("arm")}
    assert (text.count("T"), text.count("all of the words below it")) == (1, 1)


def test_a_table_that_fits_stays_as_it_is(capsys, monkeypatch):
    assert printed(table_of(2), capsys, monkeypatch)[1].startswith("┏━")
    assert not printed(table_of(6), capsys, monkeypatch)[1].startswith("┏━")


def test_the_least_width_of_a_column_counts(capsys, monkeypatch):
    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("of", min_width=20)
    for number in range(4):
        table.add_column(f"n{number}", justify="right", no_wrap=True)
    table.add_row("a", *[f"{number}{'0' * 14}" for number in range(4)])  # 76 cells, 95 with the least width
    lines = printed(table, capsys, monkeypatch)
    assert all(f"{number}{'0' * 14}" in "\n".join(lines) for number in range(4)) and max(map(len, lines)) <= 80


def test_a_wider_terminal_needs_fewer_tables(capsys, monkeypatch):
    parts = [sum("arm" in line for line in printed(table_of(12), capsys, monkeypatch, w)) for w in (80, 120, 250)]
    assert parts[0] > parts[1] > parts[2] == 1


def test_sentences_are_broken_between_words_and_a_step_stays_beside_its_row(capsys, monkeypatch):
    table = Table("arm", "why")
    table.add_column("step", justify="right")
    for name in "abcdef":
        table.add_column(f"number-{name}", justify="right")
    table.add_row("nscl", "of two runs the longer sentence is broken between words", "70", *["1.2345e-06"] * 6)
    lines = printed(table, capsys, monkeypatch)
    assert sum("step" in line for line in lines) == sum("70" in line for line in lines) == 2
    assert max(map(len, lines)) <= 80 and "sentence" in " ".join(lines)


def test_what_is_wider_than_the_terminal_by_itself_is_broken_and_not_cut(capsys, monkeypatch):
    table = Table("arm")
    table.add_row("x" * 100)
    assert "".join(printed(table, capsys, monkeypatch)).count("x") == 100


def test_a_line_is_broken_between_words_on_a_terminal_and_whole_in_a_file(capsys, monkeypatch):
    text = "word " * 30 + "/a/path/of-many-words" * 5
    monkeypatch.delenv("COLUMNS", raising=False)
    say(text)
    assert capsys.readouterr().out == f"{text}\n"
    monkeypatch.setenv("COLUMNS", "80")
    say(text)
    lines = capsys.readouterr().out.splitlines()
    assert " ".join(line.strip() for line in lines) == text and max(map(len, lines[:-1])) <= 80


def test_a_command_to_be_typed_next_stays_whole_on_a_line_of_its_own(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    say("done; next: coupled-run list")
    say(f"{'done ' * 15}; next: coupled-run resume {'x' * 90} --ranks 2")
    short, _, following = capsys.readouterr().out.splitlines()
    assert short == "done; next: coupled-run list" and following == f"next: coupled-run resume {'x' * 90} --ranks 2"
