"""Few-shot error of kept checkpoints beside its bounds: the right samples, the right moments, and what must be said."""

import csv
import math
from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pytest
import torch
from helpers import tiny

import analysis
from analysis.arrays import few_shot_bounds
from analysis.arrays.pair_moments import pair_moments
from analysis.evaluation import few_shot as subject
from analysis.evaluation.features import Evaluation, Place
from analysis.evaluation.few_shot import few_shot, figure, measured, table
from analysis.evaluation.shots import Shots, with_replacement
from coupled.driver.train import train
from coupled.errors import UserError

pytestmark = pytest.mark.kernels
SHOTS, DRAWS = [1, 3, 12], 4
LAST = {"setting": "exact", "split": "test", "arm": "cl", "step": 6, "labelling": "shape"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    arms = {"cl": {"objective": "dcl"}, "fine": {"objective": "nscl", "labelling": "shape*size"}}
    return train(tiny(tmp_path_factory.mktemp("runs"), arms=arms, data={"name": "shapes", "labelling": "shape"}))


@pytest.fixture(scope="module")
def evaluation(trained, folder):
    return Evaluation(analysis.open_run(trained), size=100, output=folder)


@pytest.fixture(scope="module")
def measures(evaluation):
    return few_shot(evaluation, shots=SHOTS, draws=DRAWS, pairs=True)


def one(measures, **facts):
    (row,) = [row for row in measures.rows if all(getattr(row, name) == value for name, value in facts.items())]
    return row


def literal(f, labels, drawn, on, labels_on):
    """Errors of classes, and between two: [i] and [i, j] of a draw, by a loop over samples; ties are errors."""
    classes = sorted(set(labels.tolist()))
    means = [f[positions].double().mean(0) for positions in drawn]
    C = len(classes)
    wrong, between, sizes = np.zeros(C), np.zeros((C, C)), np.zeros(C)
    for x, label in zip(on.double(), labels_on.tolist(), strict=True):
        i = classes.index(label)
        apart = [float(((x - mean) ** 2).sum()) for mean in means]
        lost = [j != i and apart[j] <= apart[i] for j in range(C)]
        wrong[i], sizes[i] = wrong[i] + any(lost), sizes[i] + 1
        between[i] += lost
    return wrong / sizes, between / sizes[:, None]


def test_there_is_a_row_of_every_setting_split_arm_step_feature_labelling_ways_and_shots(measures):
    keys = [(r.setting, r.split, r.arm, r.step, r.feature, r.labelling, r.ways, r.shots) for r in measures.rows]
    where = [("exact", "train"), ("exact", "test"), ("practice", "test")]
    under = [("shape", 8, 8), ("shape", 8, 2), ("shape*size", 16, 16), ("shape*size", 16, 2)]
    expected = {
        (*of, arm, step, feature, labelling, ways, m)
        for of, arm, step, feature, (labelling, _, ways), m in product(
            where, ("cl", "fine"), (0, 3, 6), ("h", "z"), under, SHOTS
        )
    }
    assert set(keys) == expected and len(keys) == len(expected)


@pytest.mark.parametrize("split, feature, m", [("test", "z", 3), ("train", "h", 12)])
def test_exact_is_of_one_population_and_shots_drawn_from_it_with_replacement(evaluation, measures, split, feature, m):
    f, labels = evaluation.features(Place("fine", 6, split), feature), evaluation.sample(split).labels["shape"]
    draws = [literal(f, labels, with_replacement(labels, k, m, split), f, labels) for k in range(DRAWS)]
    facts = {"setting": "exact", "split": split, "arm": "fine", "step": 6, "feature": feature, "labelling": "shape"}
    row, two = (one(measures, ways=ways, shots=m, **facts) for ways in (8, 2))
    errors = np.array([wrong.mean() for wrong, _ in draws])
    assert row.error == pytest.approx(errors.mean(), rel=1e-12) and row.n == 100
    assert row.standard_error == pytest.approx(errors.std(ddof=1) / math.sqrt(DRAWS), rel=1e-9, abs=1e-15)
    apart = [[(b[i, j] + b[j, i]) / 2 for i, j in combinations(range(8), 2)] for _, b in draws]
    assert two.error == pytest.approx(np.mean(apart), rel=1e-12)
    assert two.pairs.errors == pytest.approx(np.mean(apart, 0))
    moments = pair_moments(f, labels)
    for name, bound in few_shot_bounds.BOUNDS.items():
        assert row.bounds[name].value == pytest.approx(bound(moments, m).value, nan_ok=True)
        of_pairs = few_shot_bounds.two_way(name, moments, m, list(combinations(range(8), 2)))
        assert two.bounds[name].value == pytest.approx(of_pairs.value, nan_ok=True)
        assert two.pairs.bounds[name] == pytest.approx(of_pairs.pairs.numpy(), nan_ok=True)


def test_ties_are_errors_in_every_setting():
    labels, rows = torch.arange(12) % 3, torch.arange(12)
    f = {"train": torch.ones(12, 2), "test": torch.ones(12, 2)}
    for setting in ("exact", "practice"):
        case = measured.Case(setting, "a", "train", "test", rows, rows, labels, labels, (1, 4), 2, ())
        errors = case.errors(f)
        assert (errors["all"] == 1).all() and (errors["two"] == 1).all() and errors["two"].shape == (2, 2, 3)


def test_practice_is_shots_of_train_errors_on_test_and_moments_of_train(evaluation, measures):
    f, on = (evaluation.features(Place("cl", 3, split), "h") for split in ("train", "test"))
    labels, labels_on = (evaluation.sample(split).labels["shape"] for split in ("train", "test"))
    draws = [literal(f, labels, Shots(labels, k).first(3), on, labels_on)[0].mean() for k in range(DRAWS)]
    row = one(measures, setting="practice", arm="cl", step=3, feature="h", labelling="shape", ways=8, shots=3)
    assert row.error == pytest.approx(np.mean(draws), rel=1e-12) and row.split == "test"
    moments = pair_moments(f, labels)
    assert row.bounds["cantelli"].value == pytest.approx(few_shot_bounds.cantelli(moments, 3).value)
    assert "plug-in: moments of 100 samples of train, no bound on this error" in row.flags


def test_bounds_hold_at_every_step_and_of_practice_nothing_is_said(measures):
    assert measures.violations() == []
    for row in measures.rows:
        for name, bound in row.bounds.items():
            unknown = row.setting == "practice" or math.isnan(bound.value)
            assert row.holds(name) is (None if unknown else True)


def test_an_error_above_its_bound_is_told(measures):
    row = one(
        measures, setting="exact", split="test", arm="cl", step=6, feature="z", labelling="shape", ways=8, shots=1
    )
    wrong = {**row.bounds, "cantelli": replace(row.bounds["cantelli"], value=row.error / 9)}
    (line,) = subject.FewShot([row, replace(row, bounds=wrong, standard_error=1e-3)]).violations()
    assert line.startswith("cl at step 6 on test, z, shape, 8-way, 1 shots: the error ") and "bound cantelli" in line
    assert subject.FewShot([replace(row, setting="practice", bounds=wrong)]).violations() == []
    assert math.isnan(replace(row, error=0.0).tightness("p1"))


def test_a_class_with_fewer_samples_than_shots_leaves_a_gap_that_says_so(evaluation, measures):
    least = min(evaluation.sample("train").labels["shape*size"].bincount().tolist())
    assert 1 <= least < 12
    facts = {"arm": "cl", "step": 6, "feature": "z", "labelling": "shape*size", "ways": 16, "shots": 12}
    row = one(measures, setting="practice", **facts)
    assert math.isnan(row.error) and f"a class of train has {least} samples, not 12" in row.note
    assert not math.isnan(row.bounds["cantelli"].value) and math.isnan(row.tightness("cantelli"))
    assert 0 < one(measures, setting="exact", split="train", **facts).error < 1


def test_a_second_call_computes_nothing_and_equal_features_are_worked_on_once(evaluation, measures, monkeypatch):
    calls, real = [], measured.hits
    monkeypatch.setattr(measured, "pair_moments", lambda *a: calls.append(a) or pair_moments(*a))
    monkeypatch.setattr(measured, "hits", lambda *a, **k: calls.append(a))
    again = few_shot(evaluation, shots=[12, 3, 1, 3], draws=DRAWS, pairs=True)
    assert calls == [] and [row.error for row in again.rows] == pytest.approx(
        [row.error for row in measures.rows], nan_ok=True, rel=0, abs=0
    )
    monkeypatch.undo()
    monkeypatch.setattr(measured, "hits", lambda *a, **k: calls.append(a) or real(*a, **k))
    few_shot(evaluation_at(evaluation, [0]), shots=[2], draws=2, features=["z"], labelling="shape")
    assert len(calls) == 3  # not six: both arms are the same at step 0


def evaluation_at(evaluation, steps, **options):
    return Evaluation(evaluation.run, output=evaluation.folder, steps=steps, **({"size": 100} | options))


def test_classes_that_one_split_lacks_are_told_and_left_out_of_practice(evaluation):
    labels = {split: evaluation.split(split).labels("shape") for split in ("train", "test")}
    ids = {"train": (labels["train"] < 5).nonzero()[:60, 0], "test": (labels["test"] > 1).nonzero()[:60, 0]}
    apart = few_shot(evaluation_at(evaluation, [6], ids=ids), shots=[1], draws=2, labelling="shape")
    facts = {"arm": "cl", "feature": "z", "shots": 1, "split": "test"}
    practice = one(apart, setting="practice", ways=3, **facts)
    assert practice.classes == 3 and "5 of 8 classes have no samples in both splits" in practice.flags
    assert practice.n == int((labels["test"][ids["test"]] < 5).sum())
    assert "2 of 8 classes have no samples" in one(apart, setting="exact", ways=6, **facts).flags


def test_two_classes_are_one_choice_and_one_draw_has_no_standard_error(evaluation):
    labels = {split: evaluation.split(split).labels("shape") for split in ("train", "test")}
    ids = {split: (of < 2).nonzero()[:40, 0] for split, of in labels.items()}
    measures = few_shot(evaluation_at(evaluation, [6], ids=ids), shots=[10], draws=1, labelling="shape", pairs=True)
    assert {row.ways for row in measures.rows} == {2} and len(measures.rows) == 3 * 2 * 2
    for row in measures.rows:
        assert math.isnan(row.standard_error) and row.holds("p3") is None
        assert row.pairs.labels.tolist() == [[0, 1]] and row.pairs.errors[0] == row.error
        assert [row.pairs.bounds[name][0] for name in row.bounds] == pytest.approx(
            [bound.value for bound in row.bounds.values()]
        )
    assert measures.violations() == []


def test_what_has_no_few_shot_error_is_one_line(evaluation, monkeypatch):
    alone = {s: (evaluation.split(s).labels("shape") == 3).nonzero()[:9, 0] for s in ("train", "test")}
    with pytest.raises(UserError, match="few-shot error under shape: 1 classes in train; at least two are needed"):
        few_shot(evaluation_at(evaluation, [6], ids=alone), shots=[1])
    for options, said in [
        ({"shots": []}, "at least 1 is needed"),
        ({"shots": [5, 0]}, "shots 5, 0; at least 1"),
        ({"shots": [1], "draws": 0}, "0 draws"),
        ({"shots": [1], "features": ["x"]}, "unknown feature x"),
        ({"shots": [1], "labelling": "colour"}, "unknown labelling of this run colour"),
    ]:
        with pytest.raises(UserError, match=said):
            few_shot(evaluation, **options)
    monkeypatch.setattr(evaluation, "sample", lambda split: replace(Evaluation.sample(evaluation, split), labels={}))
    with pytest.raises(UserError, match="has no labels; few-shot error is of labelled samples"):
        few_shot(evaluation, shots=[1])


def test_places_side_by_side_fit_in_memory(evaluation, monkeypatch):
    asked, together = [], subject.side_by_side
    monkeypatch.setattr(subject, "side_by_side", lambda *a, most: asked.append(most) or together(*a, most=most))
    of_item = subject._task_bytes(evaluation)
    for budget, most in ((of_item // 2, 1), (3 * of_item, 3)):
        monkeypatch.setattr(subject, "_TASKS_BYTES", budget)
        few_shot(evaluation, shots=SHOTS, draws=DRAWS)
        assert asked.pop() == most


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_files_hold_every_row_and_every_pair(evaluation, measures):
    paths = table.write(evaluation.run, measures)
    assert [path.name for path in paths] == ["few_shot.csv", "few_shot_pairs.csv"]
    whole, pairs = map(rows, paths)
    assert len(whole) == len(measures.rows) and list(whole[0]) == list(table.HEADER)
    for cells, row in zip(whole, measures.rows, strict=True):
        assert cells["p1"] == repr(row.bounds["p1"].value) and (cells["p3"] == "") == (row.shots < 10)
        assert cells["cantelli_holds"] == ("true" if row.setting == "exact" else "")
        assert cells["cantelli_vacuous"] == str(row.bounds["cantelli"].vacuous).lower()
        assert (cells["p1_a"] == "") == (row.ways == 2) and (cells["p3_vacuous"] == "") == (row.shots < 10)
        assert ("p3 is a bound from 10 shots on" in cells["note"]) == (row.shots < 10)
    own = [r for r in pairs if (r["setting"], r["split"], r["arm"], r["step"]) == ("exact", "test", "cl", "6")]
    own = [r for r in own if (r["feature"], r["labelling"], r["shots"]) == ("h", "shape", "12")]
    row = one(
        measures, setting="exact", split="test", arm="cl", step=6, feature="h", labelling="shape", ways=8, shots=12
    )
    contributions = [float(r["p3"]) for r in own if r["ways"] == "8"]
    assert len(contributions) == 56 and sum(contributions) / 8 == pytest.approx(row.bounds["p3"].value)
    assert sum(r["ways"] == "2" and r["p1_a"] != "" and r["error"] != "" for r in own) == 28
    bare = few_shot(evaluation, shots=SHOTS, draws=DRAWS)
    assert [path.name for path in table.write(evaluation.run, bare)] == ["few_shot.csv"]


def test_the_terminal_marks_vacuous_bounds_and_says_what_that_is(evaluation, measures):
    tables = list(table.printed(evaluation.run, measures))
    assert len(tables) == 4  # two labellings, two numbers of ways
    columns = {str(column.header): list(column.cells) for column in tables[0].columns}
    assert columns["arm"] == ["cl", "", "", "fine", "", ""] and columns["shots"] == ["1", "3", "12"] * 2
    assert all(cell.startswith("(") for cell in columns["P1"]) and columns["P3"][0] == "–"
    assert "vacuous, no less than the error of guessing, 0.875" in str(tables[0].caption)
    assert "guessing, 0.5" in str(tables[1].caption) and "over pairs of classes" in str(tables[1].caption)
    assert table._spread([1, 5, 10, 20, 50, 100, 200, 500]) == [1, 10, 100, 500]


def test_the_figure_has_both_settings_and_both_ways_of_h_and_z_and_the_same_bytes_again(evaluation, measures):
    drawn = figure.draw(evaluation.run, measures)
    titles = [axes.get_title(loc="left") or axes.get_title() for axes in drawn.axes]
    ways = [("2-way", "exact"), ("8-way", "exact"), ("2-way", "practice"), ("8-way", "practice")]
    assert titles == [f"{feature}  {way}, {setting}" for feature in "hz" for way, setting in ways]
    words = [" ".join(text.get_text() for text in axes.texts) for axes in drawn.axes]
    assert all(f"vacuous: ≥ {0.5 if k % 2 == 0 else 0.875}" in of_panel for k, of_panel in enumerate(words))
    assert all(("promise nothing" in of_panel) == (k % 4 > 1) for k, of_panel in enumerate(words))
    first = [path.read_bytes() for path in figure.save(evaluation.run, measures)]
    assert [path.read_bytes() for path in figure.save(evaluation.run, measures)] == first


def test_errors_that_are_all_0_or_undefined_are_said_in_their_panel(evaluation, measures):
    for value, said in ((0.0, "no errors"), (math.nan, "undefined")):
        changed = subject.FewShot([replace(row, error=value) for row in measures.rows])
        for axes in figure.draw(evaluation.run, changed).axes:
            assert said in {text.get_text() for text in axes.texts}
