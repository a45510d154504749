"""Every code block of every page: run, or checked, or marked with why it is not run (docs/contributing.md).

Python runs, block after block of a page in one namespace. TOML is loaded. Commands go through the programs' own
parsers, configs through `plan`, and what looks at a run is called on a tiny one. What a command prints is text.
"""

import re
import subprocess
import traceback
from contextlib import suppress

import page_calls
import page_commands
import page_place
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure
from page_blocks import REASONS, ROOT, blocks, blocks_of, pages, prose

import coupled.notebook
from analysis.runs import own_measures
from coupled import streams
from coupled.config.user_code import execute
from coupled.data import registry as data_sets
from coupled.errors import UserError
from coupled.models import registry as encoders
from coupled.objectives import registry as objectives
from coupled.sweeps.reading import load as load_sweep

BLOCKS = {page: blocks_of(page) for page in pages()}
LANGUAGES = {"", "text", "python", "toml", "bash", "sh"}
# Pages whose Python a test of their own runs, and asks for what comes out of it.
ELSEWHERE = {
    "README.md": "tests/test_readme.py",
    "docs/data.md": "tests/coupled/data/test_registry.py",
    "docs/folders.md": "tests/coupled/data/test_folders.py",
}


def of(*languages):
    """(page, blocks) of the pages that have blocks in one of these languages."""
    chosen = {page: [block for block in own if block.language in languages] for page, own in BLOCKS.items()}
    return [pytest.param(page, own, id=page) for page, own in chosen.items() if own]


def commands_of(page, *, marked=True):
    """The commands of a page; `marked`: with those of blocks that are marked as not run."""
    own = (block for block in BLOCKS[page] if page_commands.is_commands(block) and (marked or not block.reason))
    return [command for block in own for command in page_commands.commands(block)]


def of_commands(which):
    """The pages that have a command of a kind."""
    return [page for page in BLOCKS if any(map(which, commands_of(page)))]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    page_place.make_runs(folder)
    return folder


@pytest.fixture
def place(runs, tmp_path, monkeypatch):
    """Makes the folder of a page the working directory. What a page registers goes; figures are not painted."""
    for registry in (objectives, data_sets, encoders, streams):
        monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    monkeypatch.setattr(coupled.notebook, "train", page_place.trained_small)
    monkeypatch.setattr(Figure, "savefig", page_place.not_painted)
    monkeypatch.setattr(pyplot, "show", lambda: None)

    def enter(page):
        page_place.prepare(tmp_path / "page", page, BLOCKS[page], runs)
        monkeypatch.chdir(tmp_path / "page")
        return tmp_path / "page"

    yield enter
    execute([])
    own_measures.registered.clear()
    pyplot.close("all")


def none_of(faults):
    """Fails with the faults, a line each, and nothing else; None is no fault."""
    if any(faults):
        pytest.fail("\n".join(filter(None, faults)), pytrace=False)


def load_toml(page, folder):
    """What is wrong with the TOML of a page."""
    earlier = []
    for block in (block for block in BLOCKS[page] if block.language == "toml"):
        try:
            page_place.check_toml(block, earlier, folder)
        except (UserError, ValueError) as error:
            yield f"{block.where}: {error}"
        earlier.append(block)


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


@pytest.mark.parametrize(("page", "own"), of("toml"))
def test_the_toml_of_a_page_loads(page, own, place):
    faults = list(load_toml(page, place(page)))
    none_of(faults)


@pytest.mark.parametrize(("page", "own"), of("python"))
def test_the_python_of_a_page_runs(page, own, place, capsys):
    if page in ELSEWHERE:
        (_,) = own
        assert page.rpartition("/")[2] in (ROOT / ELSEWHERE[page]).read_text()
        return
    folder = place(page)
    with suppress(UserError):
        list(load_toml(page, folder))
    names = page_place.names(folder)
    page_place.train_named(folder, "".join(block.text for block in own))
    tables = "".join(block.text for block in BLOCKS[page] if block.language == "toml")
    for block in own:
        code = compile("\n" * (block.line - 1) + page_place.smaller(block.text), page, "exec")
        if block.reason or (block.file and f'"{block.file}"' in tables):
            continue  # a config's file has run when that was loaded
        try:
            exec(code, {"__name__": block.file} if block.file else names)
        except Exception as error:  # whatever the page's code raises
            lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == page]
            none_of([f"{page}:{lines[-1] if lines else block.line}: {type(error).__name__}: {error}"])


@pytest.mark.parametrize("page", of_commands(page_calls.of_config))
def test_the_configs_of_a_pages_commands_can_be_planned(page, place, capsys):
    with suppress(UserError):
        list(load_toml(page, place(page)))  # which writes the configs that the page shows
    faults = [
        page_calls.fault(each, page_calls.planned(each), capsys)
        for each in commands_of(page)
        if page_calls.of_config(each)
    ]
    none_of(faults)


@pytest.mark.parametrize("page", of_commands(page_calls.of_sweep))
def test_the_sweeps_of_a_pages_commands_load(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    for command in filter(page_calls.of_sweep, commands_of(page)):
        asked = page_commands.parsed(command)
        assert load_sweep(asked.sweep, asked.set).points, command.where


@pytest.mark.parametrize("page", of_commands(page_calls.on_a_tiny_run))
def test_the_commands_of_a_page_run_on_a_tiny_run(page, place, capsys):
    place(page)
    called = commands_of(page, marked=False)
    faults = [page_calls.fault(each, page_calls.on_a_tiny_run(each), capsys) for each in called]
    none_of(faults)


def test_the_plan_of_a_config_that_is_not_there_is_a_fault(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    (block,) = blocks("x.md", "    coupled-run train configs/absent.toml\n")
    (command,) = page_commands.commands(block)
    assert "x.md:1: exit code 2: coupled-run: config configs/absent.toml" in page_calls.fault(
        command, page_calls.planned(command), capsys
    )


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
