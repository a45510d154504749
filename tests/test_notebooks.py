"""The notebooks of docs/notebooks: their two files agree, what is stored is clean, and they run from nothing."""

import re

import jupytext
import nbformat
import pytest

from docs.make_notebooks import executed, sources

PLACE = re.compile(r"(?<![\w.])/(?:home|root|tmp|usr|var|work|mnt|opt|Users|private)/")
NOTEBOOKS = pytest.mark.parametrize("source", sources(), ids=lambda path: path.stem)


def stored(source):
    return nbformat.read(source.with_suffix(".ipynb"), as_version=4)


def test_every_notebook_has_both_files():
    folder = sources()[0].parent
    assert [path.stem for path in sources()] == sorted(path.stem for path in folder.glob("*.ipynb"))


@NOTEBOOKS
def test_the_stored_notebook_has_the_cells_of_its_source(source):
    both = jupytext.read(source), stored(source)
    written, outcome = ([(cell.cell_type, cell.source) for cell in book.cells] for book in both)
    assert outcome == written, "make notebooks writes it anew"


@NOTEBOOKS
def test_stored_outputs_are_small_and_without_errors_and_places_of_a_machine(source):
    text = source.with_suffix(".ipynb").read_text(encoding="utf-8")
    outputs = [output for cell in stored(source).cells for output in cell.get("outputs", ())]
    assert outputs and not [output for output in outputs if output.output_type == "error"]
    assert len(text.encode()) <= 200_000
    assert not PLACE.findall(text)


@NOTEBOOKS
def test_cells_were_run_once_and_in_order(source):
    counts = [cell.execution_count for cell in stored(source).cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))


def said(notebook):
    """What cells print and show, but for numbers, times and the lines of a progress: of images, that there is one."""
    shown = []
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            lines = (output.get("text") or output["data"].get("text/plain", "")).splitlines()
            text = "\n".join(line for line in lines if not line.startswith("step "))
            text = re.sub(r"[+-]?\d[\d.]*(?:e[+-]?\d+)?|power law|exponential|neither", "#", text)
            shown.append((output.output_type, sorted(output.get("data", ())), " ".join(text.split())))
    return shown


@pytest.mark.slow
@NOTEBOOKS
def test_a_notebook_runs_in_an_empty_folder_and_says_what_is_stored(source, tmp_path):
    assert said(executed(source, tmp_path)) == said(stored(source)), "make notebooks writes it anew"
