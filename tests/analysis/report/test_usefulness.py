"""The report shows what other commands have left of how useful representations are, and takes no table that is none."""

import csv
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from helpers import tiny
from plotly import graph_objects

import analysis
from analysis.cli import main
from analysis.evaluation import few_shot as errors
from analysis.evaluation.accuracy import accuracy
from analysis.evaluation.accuracy import table as accuracy_table
from analysis.evaluation.few_shot import table as few_shot_table
from analysis.report import accuracy_chart, content_of, few_shot_chart, page, probe_charts
from analysis.report.usefulness import READERS, Usefulness, read_usefulness
from coupled.driver.train import train

pytestmark = pytest.mark.kernels
ARMS = {"cl": {"objective": "dcl"}, "nscl": {"objective": "nscl", "labelling": "shape"}}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A run beside which the commands have left their tables."""
    path = train(tiny(tmp_path_factory.mktemp("runs"), arms=ARMS, train={"steps": 3}))
    options = ["--samples", "60", "--shots", "1", "3", "all", "--draws", "3", "--classifiers", "centre"]
    assert main(["probe", str(path), *options]) == 0
    run = analysis.open_run(path)
    evaluation = analysis.Evaluation(run, size=60)
    few_shot_table.write(run, errors.few_shot(evaluation, shots=[1, 3, 10], draws=3, labelling="shape"))
    accuracy_table.write(accuracy([evaluation], classifier="centre", labelling="shape"))
    shutil.rmtree(path / "analysis/features")
    return path


@pytest.fixture(scope="module")
def content(path):
    return content_of([analysis.open_run(path)])


def rows(path, name):
    with (path / "analysis" / name).open(newline="") as file:
        return list(csv.DictReader(file))


def trace(chart, choice, name):
    """The points of the lines of that name in a choice, "all" behind the few shots."""
    its = [t for t in chart.data if t["meta"]["choice"] == choice and t["name"] == name]
    return [x for t in its for x in t["x"]], [y for t in its for y in t["y"]]


def of_probe(row):
    facts = {"step": "3", "arm": "nscl", "split": "test", "labelling": "shape", "classifier": "centre", "feature": "h"}
    return all(row[name] == value for name, value in facts.items()) and row["ways"] != "2"


def test_accuracies_against_shots_are_those_of_the_table(path, content):
    chart = probe_charts.against_shots(content)
    for measure, less in (("accuracy", ""), ("accuracy_difference", ", less the reference's")):
        x, y = trace(chart, f"centre on h, labels: shape{less}", "nscl")
        wanted = [float(row["value"]) for row in rows(path, "probe.csv") if of_probe(row) and row["measure"] == measure]
        assert x == [1, 3, 7.5] and chart.layout["xaxis"]["ticktext"] == ["1", "3", "all"]
        np.testing.assert_allclose(y, wanted, rtol=1e-5)
    assert graph_objects.Figure(data=chart.data, layout=chart.layout).data and chart.x == "numbers"


def test_intervals_are_bars(path, content):
    chart = probe_charts.against_shots(content)
    own = next(t for t in chart.data if t["meta"] == {"arm": "nscl", "choice": "centre on h, labels: shape"})
    row = next(row for row in rows(path, "probe.csv") if of_probe(row) and row["measure"] == "accuracy")
    assert own["customdata"][0] == pytest.approx([float(row["low"]), float(row["high"])], rel=1e-5)
    assert own["error_y"]["array"][0] == pytest.approx(float(row["high"]) - float(row["value"]), rel=1e-4, abs=1e-9)


def test_chance_is_a_line_that_says_how_many_shots_there_are(content):
    meta = {"arm": None, "choice": "centre on h, labels: shape"}
    line = next(t for t in probe_charts.against_shots(content).data if t["meta"] == meta)
    assert line["text"] == ["1 shot a class", "3 shots a class", "all samples"]
    classes = max(curve.ways for curve in content.usefulness.accuracies if curve.labelling == "shape")
    assert line["name"] == f"chance, 1/{classes}" and line["y"] == pytest.approx([1 / classes] * 3)


def test_accuracies_over_steps_are_those_of_the_table(path, content):
    chart = probe_charts.over_steps(content)
    x, y = trace(chart, "centre on h, labels: shape, all samples", "nscl")
    of_all = [{**row, "at": row["step"], "step": "3"} for row in rows(path, "probe.csv") if row["shots"] == ""]
    wanted = {int(row["at"]): float(row["value"]) for row in of_all if of_probe(row) and row["measure"] == "accuracy"}
    assert x == list(wanted) == [0, 3] and y == pytest.approx(list(wanted.values()), rel=1e-5)


def test_one_step_makes_no_chart_over_steps(content):
    curves = [replace(c, steps=c.steps[1:], values=c.values[1:], interval=None) for c in content.usefulness.accuracies]
    assert probe_charts.over_steps(replace(content, usefulness=Usefulness(curves))) is None


@pytest.mark.parametrize("setting", ["exact", "practice"])
def test_few_shot_errors_and_bounds_are_those_of_the_table(path, content, setting):
    chart = few_shot_chart.chart(content)
    (choice,) = (choice for choice in chart.choices if choice.startswith("nscl, z") and setting in choice)
    wanted = [
        row
        for row in rows(path, "few_shot.csv")
        if (row["step"], row["arm"], row["feature"], row["split"], row["setting"])
        == ("3", "nscl", "z", "test", setting)
        and row["ways"] == row["classes"]
    ]
    assert len(wanted) == 3 and graph_objects.Figure(data=chart.data, layout=chart.layout).data
    for name, column in {"error": "error", "bound P1": "p1", "bound P3": "p3", "bound Cantelli": "cantelli"}.items():
        x, y = trace(chart, choice, name)
        numbers = [float(row[column]) if row[column] else None for row in wanted]
        assert x == [1, 3, 10] and y == [None if n is None else pytest.approx(n, rel=1e-5) for n in numbers]


def test_the_level_of_guessing_is_a_line_that_is_named(content):
    chart = few_shot_chart.chart(content)
    classes = content.usefulness.errors[0].classes
    line = chart.data[0]
    assert line["y"] == pytest.approx([1 - 1 / classes] * 3) and "vacuous" in line["name"]
    assert any("1 − 1/C" in style.label for style in chart.legend)


@pytest.mark.parametrize("number, quantity", [(0, "accuracy"), (1, "difference")])
def test_accuracies_beside_alignment_are_those_of_the_table(path, content, number, quantity):
    chart = accuracy_chart.chart(content)
    (own,) = (t for t in chart.data if t["meta"] == {"arm": "nscl", "choice": chart.choices[number]})
    wanted = rows(path, "accuracy.csv")
    assert own["customdata"] == [0, 3] and len(wanted) == 2 and chart.arms == ("nscl",)
    for axis, column in {"x": "alignment", "y": quantity}.items():
        value, low, high = (np.array([float(row[column + edge]) for row in wanted]) for edge in ("", "_low", "_high"))
        np.testing.assert_allclose(own[axis], value, rtol=1e-5)
        bars = own[f"error_{axis}"]
        np.testing.assert_allclose(bars["array"], np.maximum(high - value, 0), rtol=1e-4, atol=1e-9)
        np.testing.assert_allclose(bars["arrayminus"], np.maximum(value - low, 0), rtol=1e-4, atol=1e-9)
    assert "step 3" in own["text"][1] and graph_objects.Figure(data=chart.data, layout=chart.layout).data


def test_points_of_other_runs_are_told_apart(content):
    points = content.usefulness.points
    others = [replace(point, run="<b>other", arm=arm) for point in points for arm in ("nscl", "elsewhere")]
    chart = accuracy_chart.chart(replace(content, usefulness=Usefulness(points=[*points, *others])))
    lines = {(t["meta"]["arm"], t["marker"]["symbol"]) for t in chart.data}
    assert lines == {("nscl", "circle"), ("nscl", "square"), (None, "square")}
    assert "&lt;b&gt;other" in chart.data[1]["text"][0] and "other runs" in chart.legend[0].label
    assert any("2 runs" in note for note in chart.notes)


def test_too_many_points_are_left_out_and_the_page_says_so(content, monkeypatch):
    monkeypatch.setattr(accuracy_chart, "MOST_POINTS", 3)
    points = [replace(point, run=name) for name in ("a", "b") for point in content.usefulness.points]
    chart = accuracy_chart.chart(replace(content, usefulness=Usefulness(points=points)))
    assert sum(len(t["x"]) for t in chart.data) == 2 * 2 and any("Of 4 points 2" in note for note in chart.notes)


def test_the_page_has_the_section_with_its_charts_and_legends(content):
    html = page(content)
    (section,) = re.findall(r'<section id="usefulness".*?</section>', html, re.DOTALL)
    assert all(f'id="plot-{chart}"' in section for chart in ("probe_shots", "probe_steps", "few_shot", "accuracy"))
    assert "probe.csv, few_shot.csv, accuracy.csv" in section and "bound Cantelli" in section and "alone" not in section


def test_of_several_runs_the_first_is_shown_and_named(content):
    (section,) = re.findall(
        r'<section id="usefulness".*?</section>', page(replace(content, runs=(content.run, content.run))), re.DOTALL
    )
    assert f"All of it is of {content.run.name} (seed 0) alone." in section


def test_a_run_without_such_tables_has_no_such_section(content):
    assert 'id="usefulness"' not in page(replace(content, usefulness=Usefulness()))


def edited(path, tmp_path, name, change):
    copy = shutil.copytree(path, tmp_path / "copy")
    file = copy / "analysis" / name
    file.write_text(change(file.read_text()))
    return read_usefulness(analysis.open_run(copy))


SPOILT = [
    (lambda text: text.replace("arm,", "name,", 1), "columns"),
    (lambda text: text.replace(",nscl,", ",other,"), "other"),
    (lambda text: text.replace(",h,", ",g,"), "unknown"),
    (lambda text: text + "a,b\n", ""),
    (lambda text: "", "columns"),
    (lambda text: text.replace("\n", '\n"', 1), ""),
]


@pytest.mark.parametrize("part, name", [(part, name) for part, (name, _) in READERS.items()])
@pytest.mark.parametrize("change, why", SPOILT)
def test_a_table_that_is_none_of_ours_leaves_its_reason(path, tmp_path, part, name, change, why):
    left, (reason,) = edited(path, tmp_path, name, change)
    assert f"{name} is not a table of " in reason and why in reason and "\n" not in reason
    assert [own for own in READERS if not getattr(left, own)] == [part]


@pytest.mark.parametrize(
    "name, change, why",
    [
        ("probe.csv", lambda text: text.replace(",centre,", ",tree,"), "unknown"),
        ("probe.csv", lambda text: re.sub(r",centre,\d+,", ",centre,1,", text), "ways"),
        ("probe.csv", lambda text: re.sub(r"(?m),centre,(\d+),1,", r",centre,\1,-1,", text), "shots"),
        ("probe.csv", lambda text: re.sub(r",accuracy,[^,]*", ",accuracy,1.5", text), "accuracies"),
        ("probe.csv", lambda text: re.sub(r"(?m)^3,", "0,", text), "steps"),
        ("few_shot.csv", lambda text: text.replace("exact,", "theory,"), "unknown"),
        ("few_shot.csv", lambda text: text + text.splitlines()[-1] + "\n", "twice"),
        ("few_shot.csv", lambda text: re.sub(r"(?m)^exact,3,", "exact,-3,", text), "cannot be"),
        ("few_shot.csv", lambda text: re.sub(r"(,z,shape,\d+,\d+),[^,]*", r"\1,inf", text), "cannot be"),
        ("few_shot.csv", lambda text: re.sub(r"(?m)^exact,3,", "exact,99999999999999999999,", text), "cannot be"),
        ("accuracy.csv", lambda text: text.replace(",centre,all,", ",centre,0,"), "unknown"),
        ("accuracy.csv", lambda text: text.replace(",centre,all,", ",centre,5,", 1), "other things"),
        ("accuracy.csv", lambda text: re.sub(r",all,[^,]*", ",all,inf", text), "cannot be"),
        ("accuracy.csv", lambda text: text + text.splitlines()[-1] + "\n", "twice"),
    ],
)
def test_numbers_that_cannot_be_leave_their_reason(path, tmp_path, name, change, why):
    _, (reason,) = edited(path, tmp_path, name, change)
    assert name in reason and why in reason and reason.endswith("or remove it.")


def test_names_are_anybodys_text(content):
    spoilt = [replace(row, flags=("<script>$x",), labelling="</b>") for row in content.usefulness.errors]
    html = page(replace(content, usefulness=replace(content.usefulness, errors=spoilt)))
    assert "<script>$x" not in html and "&lt;script&gt;$x" in html
