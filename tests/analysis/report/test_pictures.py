"""The report shows the pictures that the command has left, and takes no table that is not one."""

import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from helpers import tiny
from plotly import graph_objects

import analysis
from analysis.cli import main
from analysis.evaluation.picture import MOST_STEPS, Picture, picture, table
from analysis.evaluation.picture.looks import COLOURS
from analysis.report import content_of, page, picture_chart
from analysis.report.pictures import read_pictures
from coupled.driver.train import train

pytestmark = pytest.mark.kernels


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A run beside which the command has left its table."""
    arms = {"cl": {"objective": "dcl"}, "nscl": {"objective": "nscl"}}
    path = train(tiny(tmp_path_factory.mktemp("runs"), arms=arms, train={"steps": 3}))
    options = ["--samples", "40", "--method", "pca", "--labelling", "shape", "--classes", "3"]
    assert main(["picture", str(path), *options]) == 0
    return path


@pytest.fixture(scope="module")
def content(path):
    return content_of([analysis.open_run(path)])


def test_what_was_written_is_read(path, content):
    evaluation = analysis.Evaluation(analysis.open_run(path), size=40)
    made, read = picture(evaluation, method="pca", labelling="shape", classes=3), content.pictures
    for name in ("feature", "split", "method", "settings", "labelling", "names", "flags"):
        assert getattr(read, name) == getattr(made, name)
    assert made.flags and np.array_equal(read.ids, made.ids) and np.array_equal(read.classes, made.classes)
    for one, other in zip(read.pictures, made.pictures, strict=True):
        assert (one.arm, one.step, one.share) == (other.arm, other.step, other.share)
        np.testing.assert_array_equal(one.points, other.points)
        np.testing.assert_equal(one.distance, other.distance)


def test_each_arm_is_a_choice_and_each_step_a_square_of_its_own(content):
    chart = picture_chart.chart(content)
    assert chart.choices == ("cl", "nscl") and chart.x == "panels"
    assert graph_objects.Figure(data=chart.data, layout=chart.layout).data
    points = [trace for trace in chart.data if trace["mode"] == "markers"]
    assert [(t["meta"]["choice"], t["xaxis"]) for t in points] == [(a, x) for a in ("cl", "nscl") for x in ("x", "x2")]
    assert chart.layout["xaxis2"]["title"]["text"] == "step 3" and chart.layout["yaxis2"]["scaleanchor"] == "x2"
    own, trace = content.pictures.pictures[0], points[0]
    half = np.abs(own.points).max()
    np.testing.assert_allclose(np.array(trace["x"]) * half, own.points[:, 0], rtol=1e-3)
    labels = list(content.pictures.names)
    assert trace["marker"]["color"] == [labels.index(label) for label in content.pictures.classes]
    assert trace["marker"]["cmax"] == len(COLOURS) - 1 and trace["customdata"] == content.pictures.ids.tolist()


def test_the_page_has_the_section_with_a_legend_and_what_motion_means(content):
    html = page(content)
    (section,) = re.findall(r'<section id="pictures".*?</section>', html, re.DOTALL)
    assert 'id="plot-pictures"' in section and section.count("<circle") == 3
    assert "never stretched" in section and "of each were asked for" in section


def test_a_run_without_pictures_has_no_such_section(content):
    assert 'id="pictures"' not in page(replace(content, pictures=None))


def test_many_steps_and_samples_are_thinned_and_the_page_says_so(content, monkeypatch):
    monkeypatch.setattr(picture_chart, "MOST_POINTS", 60)
    steps = np.arange(20)
    shown = [Picture("cl", int(step), content.pictures.pictures[0].points, 0.5, 0.1) for step in steps]
    chart = picture_chart.chart(replace(content, pictures=replace(content.pictures, pictures=shown)))
    assert len({trace["xaxis"] for trace in chart.data}) == MOST_STEPS
    assert sum(len(trace["x"]) for trace in chart.data if trace["mode"] == "markers") <= 60
    assert any("Of 20 steps 8" in note for note in chart.notes) and any("samples" in note for note in chart.notes[-1:])


def test_names_are_anybodys_text(content):
    names = dict.fromkeys(content.pictures.names, "<script>$x</b>")
    html = page(replace(content, pictures=replace(content.pictures, names=names)))
    assert "<script>$x" not in html and "&lt;script&gt;$x" in html


def edited(path, tmp_path, change):
    copy = shutil.copytree(path, tmp_path / "copy", ignore=shutil.ignore_patterns("features"))
    file = copy / "analysis" / table.CSV_NAME
    file.write_text(change(file.read_text()))
    return read_pictures(analysis.open_run(copy))


@pytest.mark.parametrize(
    "change, why",
    [
        (lambda text: text.replace("step,arm", "arm,step", 1), "columns"),
        (lambda text: text.splitlines()[0] + "\n", "no rows"),
        (lambda text: text.replace(",cl,", ",other,"), "arms"),
        (lambda text: text.replace(",pca,", ",tsne,"), "unknown"),
        (lambda text: text.replace(",pca,", ",umap,", 1), "different pictures"),
        (lambda text: "\n".join(text.splitlines()[:-1]), "different samples"),
        (lambda text: "\n".join([*text.splitlines(), text.splitlines()[-1]]), "different samples"),
        (lambda text: re.sub(r"\n3,cl,\d+,", r"\n3,cl,0,", text, count=1), "different samples"),
        (lambda text: re.sub(r"(?m)^3,cl,.*\n", "", text), "steps"),
        (lambda text: re.sub(r"(?m)^0,cl,(\d+),(\d+),[^,]*", r"0,cl,\1,\2,inf", text), "finite"),
        (lambda text: re.sub(r"(?m)^3,", "99999999999999999999,", text), "too large"),
        (lambda text: text.replace("\n0,", "\nzero,", 1), "zero"),
        (lambda text: text + "a,b\n", ""),
    ],
)
def test_a_table_that_is_none_of_ours_leaves_its_reason(path, tmp_path, change, why):
    pictures, (reason,) = edited(path, tmp_path, change)
    assert pictures is None and "picture.csv is not a table of pictures of this run (" in reason and why in reason
    assert reason.endswith("coupled-analyze picture makes it again; or remove it.")
