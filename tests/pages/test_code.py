"""The Python and the TOML of every page: run block after block in one namespace, loaded as configs."""

import ast
import traceback
from contextlib import suppress

import page_place
import pytest
from page_blocks import ROOT
from page_checks import BLOCKS, load_toml, none_of, of

from coupled.errors import UserError

# Pages whose Python a test of their own runs (`only_python` gives it), and asks for what comes out of it.
ELSEWHERE = {
    "README.md": ("tests/test_readme.py", "test_the_python_of_the_readme_runs"),
    "docs/data.md": ("tests/coupled/data/test_registry.py", "test_the_documents_own_data_set_loads"),
    "docs/folders.md": ("tests/coupled/data/test_folders.py", "test_the_documented_script_splits_mini_imagenet"),
}


def calls_only_python(path, name, page):
    """Does the test of this name, which is not skipped, take the Python of this page?"""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    (test,) = (each for each in tree.body if isinstance(each, ast.FunctionDef) and each.name == name)
    calls = [ast.unparse(each) for each in ast.walk(test) if isinstance(each, ast.Call)]
    return not test.decorator_list and f"only_python({page!r})" in calls


@pytest.mark.parametrize(("page", "own"), of("toml"))
def test_the_toml_of_a_page_loads(page, own, place):
    faults = list(load_toml(page, place(page)))
    none_of(faults)


@pytest.mark.parametrize(("page", "own"), of("python"))
def test_the_python_of_a_page_runs(page, own, place, capsys):
    if page in ELSEWHERE:
        assert calls_only_python(*ELSEWHERE[page], page)
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
