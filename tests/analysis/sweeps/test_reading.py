"""A sweep's folder as it is found: how far its runs have come, what is kept beside them, what is refused."""

import csv
import json
import shutil

import pytest
from made_sweeps import run_of, summary_of
from swept import NAME, sweep_of

import analysis
from analysis.cli import main
from analysis.output.csv import HEADER
from analysis.sweeps import open_sweep, report
from analysis.sweeps.kept import with_kept
from analysis.sweeps.numbers import numbers_of
from coupled.driver.train import train
from coupled.errors import UserError
from coupled.store import StoreError
from coupled.sweeps import folder

OFF = {"every": 0, "log": 0, "last": False}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A sweep of two seeds of which the first is finished and the other has not begun."""
    path = tmp_path_factory.mktemp("runs")
    sweep = sweep_of(path)
    (path / NAME).mkdir()
    folder.write(sweep)
    train(sweep.points[0].config)
    return path / NAME


@pytest.fixture
def copy(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / NAME, ignore=shutil.ignore_patterns("analysis"))


def test_runs_are_joined_by_their_axes_and_what_has_not_begun_is_a_gap(trained):
    told = []
    swept = open_sweep(trained, lambda done, total: told.append((done, total)))
    assert told == [(1, 1)]
    assert [member.state for member in swept.members] == ["finished", "not begun"]
    assert (swept.axes, swept.arm_axes, [point.name for point in swept.points]) == ({}, {}, [""])
    (row,) = [
        row for row in numbers_of(swept).rows if (row.match, row.arm, row.quantity) == ("step", "nscl", "weight_gap")
    ]
    assert row.number.by_seed[0] == analysis.open_run(trained / "seed-0").curve("weight_gap", arm="nscl").at(3)
    assert row.number.reasons == ["seed 1: seed-1 has not begun"]


def test_the_command_writes_a_page_a_table_and_a_figure(copy, capsys):
    assert main(["report", str(copy)]) == 0
    assert capsys.readouterr().out.startswith(f"report: {copy}/analysis/report.html (")
    assert sorted(path.name for path in (copy / "analysis").iterdir()) == [
        "report.html", "sweep.csv", "sweep.png", "sweep.svg",
    ]  # fmt: skip
    html = (copy / "analysis/report.html").read_text()
    assert "2 seeds (0, 1): 1 point, 2 runs, 1 finished, 1 not begun (seed-1)." in html
    assert 'class="status unfinished"' in html and "UNFINISHED: 1 of them" in html


def test_a_sweep_is_reported_alone_and_has_no_steps_to_leave_out(copy, capsys):
    assert main(["report", str(copy), str(copy / "seed-0")]) == 2
    said = f"coupled-analyze: {copy} is a sweep; a report is of one sweep or of runs; give it alone\n"
    assert capsys.readouterr().err == said
    assert main(["report", str(copy), "--all-steps"]) == 2
    assert "--all-steps" in capsys.readouterr().err
    with pytest.raises(UserError, match="written as .html"):
        report(copy, output=copy / "page.pdf")
    assert not (copy / "analysis").exists()


def test_nothing_begun_is_one_line(copy):
    shutil.rmtree(copy / "seed-0")
    with pytest.raises(UserError, match="has no run that has begun; .*coupled-run sweep"):
        open_sweep(copy)


def test_a_run_that_is_another_than_the_sweeps_is_refused(copy):
    content = json.loads((copy / "sweep.json").read_bytes())
    content["points"][0]["digest"] = "0" * 64
    (copy / "sweep.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="seed-0 is another run than the sweep's; sweep.json lists 000000000000…"):
        open_sweep(copy)


def test_no_run_is_looked_for_outside_of_the_folder(copy, tmp_path):
    shutil.move(copy / "seed-0", tmp_path / "elsewhere")
    (copy / "seed-0").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="seed-0: a symlink inside a run is never followed"):
        open_sweep(copy)
    (copy / "sweep.json").write_text((copy / "sweep.json").read_text().replace("seed-0", "../elsewhere"))
    with pytest.raises(StoreError, match="sweep.json: not the sweep.json of a sweep"):
        open_sweep(copy)


def test_a_seed_twice_at_one_point_is_refused(copy):
    shutil.copytree(copy / "seed-0", copy / "again")
    content = json.loads((copy / "sweep.json").read_bytes())
    content["points"][1] = {**content["points"][0], "name": "again"}
    (copy / "sweep.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="two runs of one seed and equal values"):
        open_sweep(copy)


def test_an_axis_that_some_runs_lack_tells_runs_of_one_seed_apart(copy):
    shutil.copytree(copy / "seed-0", copy / "again")
    content = json.loads((copy / "sweep.json").read_bytes())
    first = content["points"][0]
    content["points"][1] = {**first, "name": "again", "values": {**first["values"], "imbalance": [10]}}
    (copy / "sweep.json").write_text(json.dumps(content))
    assert [point.name for point in open_sweep(copy).points] == ["", "imbalance = 10"]


def test_hostile_values_of_axes_are_shown_as_they_are(copy):
    content = json.loads((copy / "sweep.json").read_bytes())
    values = [["<b>", 1e308], [{"a": [None]}], ["x" * 1000]]
    for point, value in zip(content["points"], values, strict=False):
        point["values"] |= {"temperature": value, "arms.": value, "</script>\u2028": value}
    (copy / "sweep.json").write_text(json.dumps(content).replace("1e+308", "1e999"))
    html = report(copy).read_text()
    assert "<b>" not in html.split("<main>")[1].split("</main>")[0].replace("<b>0", "")
    assert "</script>\u2028" not in html


def written(run, name, rows):
    """A table of curves that a command might have left beside a run."""
    path = run.path / "analysis" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, HEADER, restval="")
        writer.writeheader()
        writer.writerows({"d": 4, "kind": "measured", "source": "all", "feature": "h", **row} for row in rows)


def test_whole_split_alignment_is_read_and_what_is_no_table_is_a_note(tmp_path):
    run = run_of(tmp_path, "a")
    cka = {"measure": "cka", "arm": "nscl", "reference": "cl", "estimator": "debiased", "split": "train"}
    written(run, "alignment.csv", [{**cka, "step": 0, "value": 1}, {**cka, "step": 10, "value": 0.25}])
    (summary,) = with_kept([(run, summary_of(run, {}))])
    steps, values = summary.series("whole_cka_train", "nscl")
    assert steps.tolist() == [0, 10] and values.tolist() == [1, 0.25]
    assert "coupled-analyze alignment was not called" in summary.series("whole_cka_test", "nscl").reason
    assert "coupled-analyze probe was not called" in summary.series("accuracy", "nscl").reason
    (run.path / "analysis/alignment.csv").write_text("nonsense")
    (summary,) = with_kept([(run, summary_of(run, {}))])
    assert "alignment.csv is not a table of curves of this run" in summary.about["kept"]["reasons"][0]


@pytest.mark.slow
def test_accuracy_that_probe_or_accuracy_have_left_is_a_measure_of_the_sweep(copy):
    run = str(copy / "seed-0")
    assert main(["accuracy", run, "--samples", "60", "--classifier", "centre"]) == 0
    by_accuracy = numbers_of(open_sweep(copy))
    assert (
        main(["probe", run, "--samples", "60", "--shots", "1", "all", "--draws", "2", "--classifiers", "centre"]) == 0
    )
    by_probe = numbers_of(open_sweep(copy))
    wanted = {"match": "step", "arm": "nscl", "quantity": "accuracy"}
    values = [
        row.number.known
        for numbers in (by_accuracy, by_probe)
        for row in numbers.rows
        if {name: getattr(row, name) for name in wanted} == wanted
    ]
    assert len(values) == 2 and values[0] == values[1] and 0 <= values[0][0] <= 1
    assert "accuracy" in by_probe.quantities
    assert "Accuracy: of h on test, classifier: centre, all samples." in report(copy).read_text()
