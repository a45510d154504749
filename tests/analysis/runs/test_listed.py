"""The table of runs in Python: the rows of `coupled-run list`, in a notebook and as a frame."""

import datetime
import shutil

import pytest
from helpers import tiny

import analysis
import coupled
from coupled.cli import main
from coupled.errors import UserError
from coupled.reading.listing import COLUMNS

ARMS = {"cl": {"objective": "dcl"}, "nscl": {"objective": "nscl"}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run, a copy of it that is called as if it had another seed, and one that is damaged."""
    folder = tmp_path_factory.mktemp("listed") / "runs"
    small = coupled.train(tiny(folder, name="small", arms=ARMS, train={"steps": 2}), reporter=None)
    shutil.copytree(small, folder / "deep" / "small-0123abcd")
    (folder / "<broken>").mkdir()
    (folder / "<broken>/run.json").write_text("{")
    return folder


@pytest.fixture(scope="module")
def found(folder):
    return analysis.runs(folder, "nowhere")


def test_the_table_is_rows_that_can_be_counted_sliced_and_named(folder, found):
    assert [row.name for row in found] == ["<broken>", "deep/small-0123abcd", "small"] and len(found) == 3
    assert found["small"] == found[2] and (found["small"].done, found[2].planned) == (2, 2)
    assert len(found[1:]) == 2 and found[1:].folder == folder
    assert analysis.open_run(found["small"].path).name == "small"
    with pytest.raises(UserError, match="unknown run in .*runs smal; allowed: .*; did you mean small?"):
        found["smal"]


def test_its_text_is_what_the_command_prints(folder, found, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.chdir(folder)  # where no configs lie
    assert main(["list", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    first, head, *rows = repr(found).splitlines()
    assert [row.split() for row in rows] == [line.split() for line in lines[1:-1]] and head.split() == lines[0].split()
    assert first == f"<{lines[-1]}>"


def test_a_notebook_shows_a_table_and_runs_nothing(found):
    html = found._repr_html_()
    assert html.count("<tr>") == 4 and "&lt;broken&gt;" in html and "<broken>" not in html
    assert all(column in html for column in COLUMNS)


def test_a_frame_has_a_row_a_run_with_what_is_not_known_missing(found):
    pandas = pytest.importorskip("pandas")
    frame = found.to_frame()
    assert list(frame) == ["path", "name", "differs", "done", "planned", "state", "size", "last"]
    assert frame["name"].tolist() == [row.name for row in found] and frame["size"].tolist() == [r.size for r in found]
    assert pandas.isna(frame["done"][0]) and frame["done"][2] == 2 and frame["differs"][1] == ""
    now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
    assert abs(frame["last"][2] - now) < datetime.timedelta(hours=1)


def test_a_folder_without_runs_is_an_empty_table_and_no_folder_is_an_error(tmp_path):
    empty = analysis.runs(tmp_path)
    assert len(empty) == 0 and repr(empty) == f"<0 runs in {tmp_path}, 0 of them finished>"
    assert "<table>" not in empty._repr_html_() and len(empty.to_frame()) == 0
    with pytest.raises(UserError, match="no folder .*nowhere; a folder that holds run directories is needed"):
        analysis.runs(tmp_path / "nowhere")


def test_the_name_is_the_function_whatever_is_loaded_of_the_package():
    import analysis.runs.run

    assert analysis.runs.__name__ == "runs" and "runs" in dir(analysis)
