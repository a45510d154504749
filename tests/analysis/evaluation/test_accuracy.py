"""Accuracy beside alignment: the numbers of both commands, side by side, and how they go together."""

import csv
import math
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import tiny

import analysis
from analysis.cli import main
from analysis.evaluation import accuracy as subject
from analysis.evaluation.accuracy import accuracy, figure, points, table
from analysis.evaluation.accuracy.points import START
from analysis.evaluation.alignment import alignment
from analysis.evaluation.features import Evaluation
from analysis.evaluation.probe import probe
from coupled.driver.train import train
from coupled.errors import UserError

pytest.importorskip("sklearn")
pytestmark = pytest.mark.kernels
ARMS = {
    "cl": {"objective": "dcl"},
    "nscl": {"objective": "nscl", "labelling": "shape"},
    "scl": {"objective": "scl", "labelling": "shape"},
    "nudged": {"kind": "nudged"},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two runs that differ in the seed and the batch size."""
    folder = tmp_path_factory.mktemp("runs")
    data = {"name": "shapes", "labelling": "shape"}
    return [
        train(tiny(folder, name=f"seed{seed}", seed=seed, arms=ARMS, data=data, batches={"size": 8 + 4 * seed}))
        for seed in (0, 1)
    ]


@pytest.fixture(scope="module")
def evaluations(trained, folder):
    return [Evaluation(analysis.open_run(path), size=60, output=folder) for path in trained]


@pytest.fixture(scope="module")
def both(evaluations):
    return accuracy(evaluations)


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_there_is_a_point_of_every_run_arm_with_a_reference_and_step(both):
    keys = [(point.name, point.arm, point.step) for point in both.points]
    assert keys == [
        (run, arm, step) for run in ("seed0", "seed1") for arm in ("nscl", "scl", "nudged") for step in (0, 3, 6)
    ]
    assert {(point.arm, point.kind) for point in both.points if not point.objective} == {("nudged", "nudged")}


@pytest.mark.parametrize("feature, measure", [("h", "cka"), ("h", "rsa"), ("z", "cka"), ("z", "rsa")])
def test_alignments_are_those_of_the_alignment_command(evaluations, feature, measure):
    curves = {
        curve.arm: curve
        for curve in alignment(evaluations[0])
        if (curve.measure, curve.feature, curve.split) == (measure, feature, "test")
    }
    for point in accuracy(evaluations[:1], classifier="centre", feature=feature, measure=measure).points:
        curve = curves[point.arm]
        row = curve.steps.tolist().index(point.step)
        assert point.alignment == (curve.values[row], curve.interval.low[row], curve.interval.high[row])


@pytest.mark.parametrize("classifier, shots", [("linear", None), ("centre", None), ("centre", 2)])
def test_accuracies_and_differences_are_those_of_the_probe(evaluations, classifier, shots):
    curves = {
        (curve.arm, curve.measure): curve
        for curve in probe(evaluations[0], shots=[1, shots] if shots else [None], features=["h"])
        if (curve.classifier, curve.shots, curve.split) == (classifier, shots, "test") and curve.ways > 2
    }
    for point in accuracy(evaluations[:1], classifier=classifier, shots=shots).points:
        own, less = curves[point.arm, "accuracy"], curves[point.arm, "accuracy_difference"]
        row = own.steps.tolist().index(point.step)
        assert point.accuracy == (own.values[row], own.interval.low[row], own.interval.high[row])
        assert point.difference == (less.values[row], less.interval.low[row], less.interval.high[row])
        assert point.reference_accuracy.value == curves["cl", "accuracy"].values[row]
        assert point.ways == 8 and point.n == 60


def test_correlations_are_of_objective_arms_after_step_0(both):
    chosen = [point for point in both.points if point.kind == "objective" and point.step > 0]
    x, y = (np.array([getattr(p, of).value for p in chosen]) for of in ("alignment", "accuracy"))
    for name in ("seed0", "seed1"):
        own = np.array([point.name == name for point in chosen])
        x[own], y[own] = x[own] - x[own].mean(), y[own] - y[own].mean()
    assert both.within.value == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-9)
    assert (both.within.n, both.within.groups) == (8, 2)
    assert math.isnan(both.between.value) and both.between.undefined == "n = 2, 3 are needed"
    assert {(one.of, one.arms, one.scope) for one in both.correlations} == {
        (of, arms, scope)
        for of in ("accuracy", "difference")
        for arms, scope in (("objectives", "within"), ("objectives", "between"), ("controls", "within"))
    }


def test_step_0_is_shown_flagged_and_its_alignment_is_1(both):
    for point in both.points:
        assert (START in point.flags) == (point.step == 0) == (not point.counts)
    start = [point for point in both.points if point.step == 0 and point.objective]
    assert all(point.alignment.value == pytest.approx(1, abs=1e-6) for point in start)
    assert all(point.difference.value == 0 for point in start)


def test_what_differs_between_runs_is_told_and_the_seed_is_apart(both):
    assert {(point.name, point.differs, point.seed, point.batch) for point in both.points} == {
        ("seed0", "batches.size = 8", 0, 8),
        ("seed1", "batches.size = 12", 1, 12),
    }


def test_a_run_that_has_other_steps_is_flagged(evaluations, folder):
    other = Evaluation(evaluations[1].run, steps=[6], size=60, output=folder)
    assert accuracy([evaluations[0], other], classifier="centre").flags == (subject.OTHER_POINTS,)


def test_an_undefined_alignment_is_in_no_correlation_and_says_why(evaluations, both, monkeypatch):
    real = points._alignments

    def spoilt(*given):
        nothing = points.Interval(math.nan, math.nan, math.nan)
        return real(*given) | {("nscl", 3): (nothing, False)}

    monkeypatch.setattr(points, "_alignments", spoilt)
    accuracies = accuracy(evaluations[:1])
    assert accuracies.within.n == 3
    (point,) = [point for point in accuracies.points if point.undefined]
    assert "constant over the samples" in point.undefined and not point.counts
    assert len(figure.draw(accuracies).axes[0].containers) == 8


@pytest.mark.parametrize(
    "change, words",
    [
        ({"classifier": "knn"}, "classifier"),
        ({"feature": "x"}, "feature"),
        ({"measure": "cca"}, "measure"),
        ({"shots": 0}, "shots"),
        ({"labelling": "size"}, "labelling size"),
    ],
)
def test_what_cannot_be_is_one_line(evaluations, change, words):
    with pytest.raises(UserError, match=words):
        accuracy(evaluations, **change)


def test_runs_of_different_data_sets_are_refused_with_both(evaluations, tmp_path, folder):
    data = {"name": "shapes", "labelling": "shape", "seed": 5}
    other = Evaluation(analysis.open_run(train(tiny(tmp_path, arms=ARMS, data=data))), size=60, output=folder)
    with pytest.raises(UserError, match=r"is of shapes.*; .*tiny is of shapes, seed 5"):
        accuracy([evaluations[0], other])


def test_a_run_without_references_and_one_given_twice_are_one_line(evaluations, tmp_path):
    alone = Evaluation(analysis.open_run(train(tiny(tmp_path, arms={"cl": {"objective": "dcl"}}))))
    with pytest.raises(UserError, match="tiny has nothing to compare; the run has one arm"):
        accuracy([evaluations[0], alone])
    with pytest.raises(UserError, match="is given twice"):
        accuracy([evaluations[0], evaluations[0]])


def test_other_samples_are_refused(evaluations, folder):
    other = Evaluation(evaluations[1].run, size=50, output=folder)
    with pytest.raises(UserError, match="60 test samples"):
        accuracy([evaluations[0], other], classifier="centre")


def test_runs_of_one_name_are_told_apart_by_their_paths():
    runs = [SimpleNamespace(name=path.rpartition("/")[2], path=path) for path in ("a/x", "b/x", "c/y")]
    assert subject.names_of(runs) == ["a/x", "b/x", "y"]


def test_the_command_writes_every_point_and_says_what_it_is(trained, folder, both, capsys):
    options = ["--samples", "60"]
    assert main(["accuracy", *map(str, trained), *options]) == 0
    out, err = capsys.readouterr()
    path, text = trained[0] / "analysis", " ".join(out.split())
    assert err == "" and out.splitlines()[-1] == f"results: {path}/ (accuracy.csv accuracy.png accuracy.svg)"
    assert "n = 8 points of 2 runs (95 % by Fisher's z; points of one run are not independent" in text
    assert "between runs, alignment and accuracy, objective arms: undefined (n = 2, 3 are needed)" in text
    written = rows(path / "accuracy.csv")
    assert list(written[0]) == list(table.HEADER) and len(written) == len(both.points)
    for row, point in zip(written, both.points, strict=True):
        assert (row["run"], row["arm"], int(row["step"])) == (point.name, point.arm, point.step)
        assert float(row["alignment"]) == point.alignment.value and float(row["accuracy"]) == point.accuracy.value
        assert row["correlated"] == ("" if point.step == 0 else "objectives" if point.objective else "controls")


def test_a_second_call_computes_nothing_and_gives_equal_bytes(trained, evaluations, both, monkeypatch):
    first = [path.read_bytes() for path in [table.write(both), *figure.save(both)]]
    monkeypatch.setattr(points, "streamed", None)
    monkeypatch.setattr("analysis.evaluation.probe.of_all", None)
    monkeypatch.setattr("analysis.evaluation.extraction.extract", None)
    again = accuracy(evaluations)
    assert [path.read_bytes() for path in [table.write(again), *figure.save(again)]] == first


def test_controls_are_hollow_step_0_is_a_cross_and_runs_have_markers(both):
    left, right = figure.draw(both).axes
    drawn = [container[0] for container in left.containers]
    assert len(drawn) == len(right.containers) == len(both.points)
    for line, point in zip(drawn, both.points, strict=True):
        marker = "x" if point.step == 0 else {"seed0": "o", "seed1": "s"}[point.name]
        assert line.get_marker() == marker
        assert (line.get_markerfacecolor() == "white") == (not point.objective and point.step > 0)


def test_evaluations_of_an_iterator_are_handed_over(trained, folder, both):
    given = (Evaluation(analysis.open_run(path), size=60, output=folder) for path in trained)
    assert accuracy(given).within == both.within
    assert not shutil.os.path.exists(trained[1] / "analysis/accuracy.csv")
