"""Every code block of every page: of a kind that is run or checked, or marked with why not (docs/contributing.md).

What a command prints is text. Commands go through the programs' own parsers.
"""

import re
import subprocess

import page_commands
import pytest
from page_blocks import REASONS, blocks, prose
from page_checks import BLOCKS, commands_of, none_of, of

LANGUAGES = {"", "text", "python", "toml", "bash", "sh"}


def test_every_block_is_of_a_kind_that_is_checked():
    every = [block for own in BLOCKS.values() for block in own]
    unknown = [f"{block.where}: {block.language}" for block in every if block.language not in LANGUAGES]
    assert not unknown, f"no test looks at blocks of these languages: {unknown}"
    text = [block for block in every if block.language in ("", "text") and not page_commands.is_commands(block)]
    mistyped = [block.where for block in text if re.search(r"^\s*(\$|coupled-[\w-]+|python|make) \S", block.text, re.M)]
    assert not mistyped, f"text that looks like a command, but is not taken for one: {mistyped}"


def test_commands_that_no_test_can_run_are_marked():
    faults = []
    for own in BLOCKS.values():
        for block in filter(page_commands.is_commands, own):
            foreign = [each for each in page_commands.commands(block) if page_commands.outside(each)]
            if foreign and not block.reason:
                faults.append(f"{foreign[0].where}: {foreign[0].program} needs a mark (docs/contributing.md)")
    none_of(faults)


def test_the_programs_take_every_command_of_the_pages():
    faults = []
    for page, own in BLOCKS.items():
        shown = [each for block in own if not page_commands.is_commands(block) for each in page_commands.of_text(block)]
        spoken = [each for line, text in prose(page) for each in page_commands.inline(page, line, text)]
        whole = [(each, page_commands.mistake(each)) for each in (*commands_of(page), *shown)]
        parts = [(each, page_commands.mistake(each, whole=False)) for each in spoken]
        faults += [f"{each.where}: {mistake}" for each, mistake in (*whole, *parts) if mistake]
    none_of(faults)


@pytest.mark.parametrize(("page", "own"), of("bash", "sh"))
def test_scripts_are_shell(page, own):
    for block in own:
        done = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{block.where}: {done.stderr}"


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("coupled-run plan quickstart --times", "--times"),
        ("coupled-run pan quickstart", "invalid choice"),
        ("coupled-analyze curves", "RUN"),
        ("make tests", "no such target"),
        ("torchrun --nproc-per-node 8 -m coupled train CONFIG", None),
        ("torchrun --procs 8 -m coupled train CONFIG", "--procs"),
        ("srun torchrun -m coupled trian CONFIG", "trian"),
        ("for s in 0 1; do coupled-run train CONFIG --sets seed=$s; done", "--sets"),
    ],
)
def test_a_mistake_in_a_command_is_seen(text, mistake):
    (block,) = blocks("x.md", f"Text.\n\n    {text}\n")
    said = [page_commands.mistake(each) for each in page_commands.commands(block)]
    assert any(mistake in (each or "") for each in said) if mistake else not any(said)


def test_a_block_is_where_its_page_says():
    text = "- item\n  of a list\n\n      of it\n\n```toml\nx = 1\n```\n\nWords.\n\n    make test\n\n    passed\n"
    found = [(each.line, each.language, each.text) for each in blocks("x.md", text)]
    assert found == [(4, "", "of it\n"), (7, "toml", "x = 1\n"), (12, "", "make test\n\npassed\n")]
    assert [each.words for each in page_commands.commands(blocks("x.md", text)[2])] == [("make", "test")]


@pytest.mark.parametrize(
    ("reason", "after"), [("is dull", "\n    make\n"), (REASONS[0], "\nText.\n"), (REASONS[0], "")]
)
def test_a_mark_has_one_of_the_reasons_and_a_block(reason, after):
    with pytest.raises(ValueError, match=r"x\.md:\d"):
        blocks("x.md", f"<!-- not run in tests: {reason} -->\n{after}")
    assert blocks("x.md", f"<!-- not run in tests: {REASONS[1]} -->\n\n    make\n")[0].reason == REASONS[1]
