"""Class geometry of kept checkpoints: the array functions on the right features, and everything a reader must know."""

import csv
import shutil
from itertools import combinations, product
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import rewrite, tiny

import analysis
from analysis.arrays.optimum import MEASURES
from analysis.cli import main
from analysis.evaluation import geometry as subject
from analysis.evaluation.features import Evaluation, Place
from analysis.evaluation.geometry import figure, geometry, table
from coupled.driver.train import train
from coupled.errors import UserError

pytestmark = pytest.mark.kernels
FACTORS = ("shape", "colour", "texture", "size")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    arms = {"cl": {"objective": "dcl"}, "fine": {"objective": "nscl", "labelling": "shape*size"}}
    return train(tiny(tmp_path_factory.mktemp("runs"), arms=arms))


@pytest.fixture(scope="module")
def evaluation(trained, folder):
    return Evaluation(analysis.open_run(trained), size=60, output=folder)


@pytest.fixture(scope="module")
def measured(evaluation):
    return geometry(evaluation)


def one(curves, **facts):
    (curve,) = [c for c in curves if all(getattr(c, name) == value for name, value in facts.items())]
    return curve


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_there_is_a_curve_of_every_arm_split_feature_labelling_and_measure(measured):
    keys = [(c.arm, c.split, c.feature, c.labelling, c.measure) for c in measured.curves]
    assert set(keys) == set(
        product(("cl", "fine"), ("train", "test"), ("z", "h"), ("size", "shape*size"), MEASURES)
    ) and len(keys) == len(set(keys))
    assert all(c.steps.tolist() == [0, 3, 6] and c.n == 60 for c in measured.curves)


@pytest.mark.parametrize("split, feature, step", [("test", "z", 6), ("train", "h", 3)])
def test_values_are_those_of_the_features_and_of_two_views_of_each_sample(evaluation, measured, split, feature, step):
    place, labels = Place("fine", step, split), evaluation.sample(split).labels["size"]
    f = evaluation.features(place, feature)
    first, second = evaluation.views(place).double().chunk(2)
    apart = evaluation.view_distances(place) if feature == "h" else ((first - second) ** 2).sum(1)
    expected = analysis.class_geometry(f, labels, apart=apart)
    for name in MEASURES:
        curve = one(measured.curves, arm="fine", split=split, feature=feature, labelling="size", measure=name)
        assert curve.at(step) == expected.values[name] and curve.d == f.shape[1]
    assert expected.values["cdnv"] == analysis.cdnv(f, labels)


def test_each_says_what_it_is_where_nscl_has_its_minimum_and_of_h_that_it_is_not_about_it(measured):
    for curve in measured.curves:
        classes = {"size": 2, "shape*size": 16}[curve.labelling]
        assert curve.classes == classes and curve.estimator == MEASURES[curve.measure].meaning
        stated = {"centre_norm": 1, "effective_rank": classes - 1}.get(curve.measure, 0)
        assert curve.at_optimum == (None if curve.feature == "h" else stated)
        assert (subject.ABOUT_H in curve.flags) == (curve.feature == "h")


def test_what_the_samples_lack_is_flagged(measured):
    fine = one(measured.curves, arm="cl", split="test", feature="z", labelling="shape*size", measure="cdnv").flags
    coarse = one(measured.curves, arm="cl", split="test", feature="z", labelling="size", measure="cdnv").flags
    assert any("d = 8 < C - 1 = 15" in flag for flag in fine) and not any("d = 8" in flag for flag in coarse)
    assert any("the theorem about NSCL assumes equal ones" in flag for flag in fine)
    assert any("cosine is -1 always" in flag for flag in coarse)
    assert "plug-in: moments of 60 samples of test, not of all" in fine


def test_axes_are_of_all_basic_labellings_of_the_data_set(evaluation, measured):
    assert {at.labellings for at in measured.axes} == set(combinations(FACTORS, 2))
    at = next(a for a in measured.axes if a.place == Place("cl", 6, "test") and a.feature == "h")
    ids = evaluation.sample("test").ids
    labels = [evaluation.split("test").labels(name)[ids] for name in at.labellings]
    f = evaluation.features(at.place, "h")
    (alone,) = analysis.decision_axes(f, *labels, pairs=[(at.axes.first, at.axes.second)])
    assert (alone.n, alone.uneven) == (at.axes.n, at.axes.uneven)
    assert alone.cosine == pytest.approx(at.axes.cosine, rel=1e-9, abs=1e-12)
    assert measured.violations() == []


def test_a_cosine_above_the_bound_that_always_holds_is_told(measured):
    at = measured.axes[0]
    wrong = at._replace(axes=SimpleNamespace(**{**vars(at.axes), "cosine": 2 * at.axes.bound_any}))
    (line,) = measured._replace(axes=[at, wrong]).violations()
    assert line.startswith(f"cl at step {at.place.step} on train, z, ") and "is above its bound" in line


def test_labellings_that_lie_in_one_another_have_no_axes_and_say_so(evaluation, monkeypatch):
    classes = {"size": 2, "texture": 4}
    monkeypatch.setattr(subject, "data_info", lambda _: SimpleNamespace(classes=classes))
    kept = evaluation.split("test").labels
    monkeypatch.setattr(evaluation.split("test"), "labels", lambda name: kept("texture") // {"size": 2}.get(name, 1))
    axes_of, notes = subject._all_axes(evaluation)
    assert axes_of["test"] == [] and len(axes_of["train"]) == 1
    (note,) = notes
    assert note.startswith("test: no decision axes of size and texture: no two classes of each have samples in all")


def test_pairs_of_classes_are_drawn_by_address_and_all_where_they_are_few():
    grid = [g.ravel() for g in np.indices((8, 8))]
    pairs = analysis.ClassPairs(*grid)
    chosen = subject.chosen_pairs(pairs)
    assert len(set(chosen)) == 100 and chosen == subject.chosen_pairs(pairs) and set(chosen) <= set(pairs)
    assert chosen != list(pairs[:100])
    few = analysis.ClassPairs(*(g.ravel() for g in np.indices((3, 4))))
    assert subject.chosen_pairs(few) == list(few)
    many = subject.chosen_pairs(analysis.ClassPairs(*(g.ravel() for g in np.indices((80, 80)))))
    assert len(set(many)) == 100 and max(many)[0][0] > 40  # from all of some ten million


def test_geometry_writes_the_results_and_says_where(trained, capsys):
    options = ["--samples", "60", "--steps", "0", "6"]
    assert main(["geometry", str(trained), *options]) == 0
    out, err = capsys.readouterr()
    names = "geometry.csv axes.csv geometry.png geometry.svg"
    assert out.splitlines()[-1] == f"results: {trained}/analysis/ ({names})" and err == ""
    assert "about h the theorem on nscl says nothing" in " ".join(out.split()).lower()
    by_measure = [row for row in rows(trained / "analysis/geometry.csv") if row["measure"] == "effective_rank"]
    assert {(row["feature"], row["at_optimum"]) for row in by_measure} == {("z", "1.0"), ("z", "15.0"), ("h", "")}
    assert {row["step"] for row in by_measure} == {"0", "6"} and all(float(row["value"]) >= 1 for row in by_measure)
    axes = rows(trained / "analysis/axes.csv")
    assert all(float(row["cosine"]) <= float(row["bound_any"]) * (1 + 1e-9) + 1e-12 for row in axes)
    assert all("is not promised" in row["flags"] for row in axes if float(row["uneven"]))


def test_one_class_alone_is_a_stated_gap_in_table_figure_and_file(trained, folder):
    run = analysis.open_run(trained)
    every = Evaluation(run, size=None)
    ids = {s: (every.split(s).labels("shape*size") == 3).nonzero()[:12, 0] for s in ("train", "test")}
    alone = geometry(Evaluation(run, ids=ids, steps=[6], output=folder))
    cdnv = one(alone.curves, arm="cl", split="test", feature="z", labelling="size", measure="cdnv")
    assert np.isnan(cdnv.values).all() and "of 1 classes; at least two are needed" in cdnv.undefined
    assert "1 of 2 classes have no samples" in cdnv.flags
    rank = one(alone.curves, arm="cl", split="test", feature="z", labelling="size", measure="effective_rank")
    assert 1 <= rank.at(6) <= 8
    table.write(run, alone)
    (row,) = [
        r
        for r in rows(trained / "analysis/geometry.csv")
        if (r["arm"], r["split"], r["feature"], r["labelling"], r["measure"]) == ("cl", "test", "z", "size", "cdnv")
    ]
    assert row["value"] == "" and "at least two are needed" in row["note"]
    assert "undefined" in {text.get_text() for axes in figure.draw(run, alone.curves).axes for text in axes.texts}
    assert "at least two are needed" in table.notes(alone.curves)


def test_a_data_set_without_labels_is_one_line(evaluation, monkeypatch):
    monkeypatch.setattr(evaluation, "sample", lambda split: SimpleNamespace(labels={}))
    with pytest.raises(UserError, match="has no labels; class geometry is of labelled samples"):
        geometry(evaluation)


def test_features_that_are_not_finite_are_one_line(trained, tmp_path, capsys):
    path = shutil.copytree(trained, tmp_path / "spoilt", ignore=shutil.ignore_patterns("analysis"))
    rewrite(path, "checkpoints/step-000000006/cl.safetensors", lambda t: [a.fill(np.nan) for a in t.values()])
    assert main(["geometry", str(path), "--samples", "20", "--steps", "6"]) == 2
    out, err = capsys.readouterr()
    assert err == "coupled-analyze: z of cl at step 6 on train is not finite; no measure is defined on it\n"
    assert out == "" and not (path / "analysis/geometry.csv").exists()


def test_train_and_test_are_two_lines_of_an_arm_s_own_colour(evaluation, measured):
    run = evaluation.run
    drawn = figure.draw(run, measured.curves)
    assert len(drawn.axes) == 10
    for axes in drawn.axes:
        lines = [line for line in axes.lines if len(line.get_xdata()) == 3]
        assert len(lines) == 4
        assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 4
        assert len({line.get_color() for line in lines}) == 2
    words = " ".join(text.get_text() for text in drawn.findobj(lambda artist: hasattr(artist, "get_text")))
    assert "solid: test, n = 60" in words and "dashed: train, n = 60" in words and "classes: size" in words


def test_the_same_curves_give_the_same_bytes(evaluation, measured):
    first = [path.read_bytes() for path in figure.save(evaluation.run, measured.curves)]
    assert [path.read_bytes() for path in figure.save(evaluation.run, measured.curves)] == first
    paths = table.write(evaluation.run, measured)
    before = [path.read_bytes() for path in paths]
    assert [path.read_bytes() for path in table.write(evaluation.run, geometry(evaluation))] == before


def test_the_terminal_s_tables_have_the_optimum_first_and_a_row_for_each_split(evaluation, measured):
    of_size, of_both, axes = table.printed(evaluation.run, measured)
    columns = {str(column.header): list(column.cells) for column in of_size.columns}
    assert (
        columns["rank"][0] == "1.0000" and columns["norms (cv)"][0] == "1.0000 (0)" and columns["arm"][0] == "optimum"
    )
    assert len(columns["arm"]) == 1 + 2 * 2 * 2 and next(iter(of_both.columns[-1].cells)) == "15"
    assert axes.row_count == 8


def test_places_side_by_side_fit_in_memory_and_one_is_always_worked_on(evaluation, measured, monkeypatch):
    asked, real = [], subject.side_by_side
    monkeypatch.setattr(subject, "side_by_side", lambda *a, most: asked.append(most) or real(*a, most=most))
    of_place = subject._task_bytes(evaluation)
    for budget, most in ((of_place // 2, 1), (3 * of_place, 3)):
        monkeypatch.setattr(subject, "_TASKS_BYTES", budget)
        again = geometry(evaluation)
        assert asked.pop() == most
        assert all(np.array_equal(a.values, b.values) for a, b in zip(again.curves, measured.curves, strict=True))


def test_axes_of_an_earlier_call_go_and_what_is_of_no_command_stays(trained, monkeypatch, tmp_path):
    path = shutil.copytree(trained, tmp_path / "run")
    (path / "analysis").mkdir(exist_ok=True)
    for name in ("axes.csv", "my_axes.csv"):
        (path / "analysis" / name).write_text("old")
    monkeypatch.setattr(subject, "_all_axes", lambda evaluation: ({"train": [], "test": []}, []))
    assert main(["geometry", str(path), "--samples", "60", "--steps", "6"]) == 0
    assert not (path / "analysis/axes.csv").exists() and (path / "analysis/my_axes.csv").exists()


def test_a_run_s_results_are_there_before_the_next_run_is_looked_at(trained, folder, tmp_path):
    whole, spoilt = (shutil.copytree(trained, tmp_path / n, ignore=shutil.ignore_patterns("analysis")) for n in "ab")
    rewrite(spoilt, "checkpoints/step-000000006/cl.safetensors", lambda t: [a.fill(np.nan) for a in t.values()])
    assert main(["geometry", str(whole), str(spoilt), "--samples", "20", "--steps", "6"]) == 2
    assert (whole / "analysis/geometry.csv").exists() and not (spoilt / "analysis/geometry.csv").exists()
