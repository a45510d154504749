"""Probes of kept checkpoints: classifiers on the right features and shots, and everything a reader must know."""

import csv
import math
import shutil
import sys
from itertools import product

import numpy as np
import pytest
import torch
from probe_curves import ASKED, CLASSIFIERS, one

from analysis.arrays.linear_probe import linear_probe, predicted
from analysis.cli import main
from analysis.evaluation import probe as subject
from analysis.evaluation.features import Place
from analysis.evaluation.probe import figure, probe, table, trials
from analysis.evaluation.probe.settings import settings
from analysis.evaluation.probe.trials import Probed, of_all, of_few
from analysis.evaluation.shots import Shots, pair_of_draw
from coupled.errors import UserError

pytestmark = pytest.mark.kernels


def features(evaluation, arm, step, feature="h"):
    """Train and test features, and their labels."""
    f = [evaluation.features(Place(arm, step, split), feature) for split in ("train", "test")]
    return *f, *(evaluation.sample(split).labels["texture"] for split in ("train", "test"))


def test_there_is_a_curve_of_every_arm_and_kind(curves):
    of_texture = [c for c in curves if c.labelling == "texture" and c.measure == "accuracy"]
    keys = [(c.arm, c.split, c.feature, c.classifier, c.ways, c.shots) for c in of_texture]
    every = product(("cl", "nscl", "twin"), ("train", "test"), ("h", "z"), CLASSIFIERS, (4, 2), (1, 4, None))
    assert set(keys) == set(every) and len(keys) == len(set(keys))
    assert {c.measure for c in curves if c.reference} == {"accuracy_difference", "class_accuracy_difference"}
    assert all(c.steps.tolist() == [0, 6] for c in curves)


def literal_accuracy(predict, test, labels):
    return sum(predict(row) == label for row, label in zip(test.tolist(), labels.tolist(), strict=True)) / len(labels)


def test_centres_equal_a_literal_loop_over_all_draws(evaluation, curves):
    train, test, y, y_test = features(evaluation, "nscl", 6)
    accuracies = []
    for draw in range(3):
        drawn = Shots(y, draw)
        means = {int(c): train[own].double().mean(0) for c, own in zip(drawn.classes, drawn.first(4), strict=True)}

        def predict(row, means=means):
            apart = {c: ((torch.tensor(row).double() - mean) ** 2).sum().item() for c, mean in means.items()}
            return min(apart, key=apart.get)

        accuracies.append(literal_accuracy(predict, test, y_test))
    curve = one(curves, arm="nscl", split="test", feature="h", classifier="centre", ways=4, shots=4)
    assert curve.at(6) == pytest.approx(np.mean(accuracies), abs=1e-12) and curve.draws == 3


def test_neighbours_equal_a_literal_loop(evaluation, curves):
    train, test, y, y_test = features(evaluation, "cl", 6, "z")
    unit = [rows.double() / rows.double().norm(dim=1, keepdim=True) for rows in (train, test)]

    def predict(row):
        order = sorted(range(len(y)), key=lambda j: -float(unit[0].new_tensor(row) @ unit[0][j]))
        votes = [int(y[j]) for j in order[:5]]
        return min(set(votes), key=lambda c: (-votes.count(c), c))

    right = literal_accuracy(predict, unit[1], y_test)
    curve = one(curves, arm="cl", split="test", feature="z", classifier="knn5", ways=4, shots=None)
    assert curve.at(6) == pytest.approx(right) and curve.draws == 1
    assert "95 % interval over test samples" in curve.interval.what


def norm_of_gradient(weights, f, index):
    """Of the mean cross-entropy plus (0.01/2n)‖W‖², f of mean square norm 1, sample by sample."""
    sums = 0.01 / len(f) * weights
    for x, label in zip(f, index.tolist(), strict=True):
        shares = np.exp(weights @ x) / np.exp(weights @ x).sum()
        shares[label] -= 1
        sums = sums + np.outer(shares, x) / len(f)
    return np.linalg.norm(sums)


def test_every_linear_probe_is_at_the_optimum_by_a_literal_loop(evaluation, monkeypatch):
    fits, fit = [], trials._fit
    monkeypatch.setattr(trials, "_fit", lambda *given: fits.append((given, fit(*given))) or fits[-1][1])
    chosen = settings(shots=[1, 4, None], draws=3)
    for arm, feature in product(("cl", "nscl"), ("h", "z")):
        train, test, y, y_test = features(evaluation, arm, 6, feature)
        of_few(Probed(train, y, test, y_test), "linear", chosen)
        of_all(Probed(train, y, test, y_test), "linear", chosen)
    assert len(fits) == 4 * (3 * 2 * 2 + 1 + 3)  # of few: draws, shots, ways; of all: C-way and a pair a draw
    for (_, f, index, classes, *_), fitted in fits:
        size = math.sqrt(f.square().sum(1).mean())
        f, weights = f.numpy() / size, fitted.weights.numpy() * size
        ratio = norm_of_gradient(weights, f, index) / norm_of_gradient(np.zeros((classes, f.shape[1])), f, index)
        assert ratio <= 1e-4 and ratio == pytest.approx(fitted.gradient, rel=1e-6, abs=1e-12)


def test_a_two_way_probe_is_fitted_to_the_pair_of_its_draw_and_tried_on_its_samples(evaluation, curves):
    train, test, y, y_test = features(evaluation, "nscl", 6)
    accuracies = []
    for draw in range(3):
        pair, drawn = list(pair_of_draw(4, draw)), Shots(y, draw).first(4)
        fitted = linear_probe(train[drawn[pair].flatten()].double(), torch.arange(8) // 4, 2)
        of_pair = torch.isin(y_test, torch.tensor(pair))
        right = predicted(fitted, test[of_pair]) == (y_test[of_pair] == pair[1])
        accuracies.append(right.double().mean().item())
    curve = one(curves, arm="nscl", split="test", feature="h", classifier="linear", ways=2, shots=4)
    assert curve.at(6) == pytest.approx(np.mean(accuracies), abs=1e-12)


def test_an_exact_twin_differs_by_nothing_at_any_draw(curves):
    differences = [c for c in curves if c.arm == "twin" and c.reference == "cl"]
    assert differences and all((np.nan_to_num(c.values) == 0).all() for c in differences)


def test_differences_are_paired_over_draws(evaluation, curves):
    facts = {"split": "test", "feature": "h", "classifier": "centre", "ways": 4, "shots": 4}
    own, other = (one(curves, arm=arm, **facts) for arm in ("nscl", "cl"))
    less = one(curves, arm="nscl", measure="accuracy_difference", **facts)
    assert less.at(6) == pytest.approx(own.at(6) - other.at(6), abs=1e-12)
    chosen, per_draw = settings(shots=[4], draws=3), []
    for arm in ("nscl", "cl"):
        train, test, y, y_test = features(evaluation, arm, 6)
        per_draw.append(of_few(Probed(train, y, test, y_test), "centre", chosen)["centre"][0, 0, 0, :, 1, 0].numpy())
    expected = np.subtract(*per_draw)
    half = 4.302652729911275 * expected.std(ddof=1) / math.sqrt(3)  # t of two degrees of freedom
    assert less.interval.high[-1] == pytest.approx(expected.mean() + half, abs=1e-9)


@pytest.mark.parametrize("measure", ["accuracy", "class_accuracy"])
def test_every_difference_is_the_arm_s_accuracy_less_its_reference_s(curves, measure):
    own = {key(c): c for c in curves if c.measure == measure}
    less = [c for c in curves if c.measure == f"{measure}_difference"]
    moved = 0
    for curve in less:
        expected = own[key(curve)].values - own[("cl", *key(curve)[1:])].values
        assert np.allclose(curve.values, expected, rtol=0, atol=1e-12, equal_nan=True) and curve.reference == "cl"
        moved += curve.shots is None and curve.ways > 2 and bool((expected != 0).any())
    assert moved > 0  # so that a wrong sign is seen where one fit is compared sample by sample


def key(curve):
    return curve.arm, curve.split, curve.feature, curve.labelling, curve.classifier, curve.ways, curve.shots


def test_a_second_call_fits_nothing(evaluation, curves, monkeypatch):
    monkeypatch.setattr(subject, "of_all", lambda *_: pytest.fail("fitted again"))
    monkeypatch.setattr(subject, "of_few", lambda *_: pytest.fail("fitted again"))
    again = probe(evaluation, **ASKED)
    assert all(np.array_equal(a.values, b.values, equal_nan=True) for a, b in zip(curves, again, strict=True))


def test_a_paper_s_protocol_has_its_feature_and_shots_and_says_that_it_is_no_optimum(evaluation, monkeypatch):
    curves = probe(evaluation, protocol="p2", groups=["linear"], draws=2)
    assert {(c.feature, c.shots) for c in curves} == {("h", None)}
    assert any(
        "protocol p2 ends after a fixed number of steps, at no optimum" in flag for c in curves for flag in c.flags
    )
    assert settings(protocol="p1").features == ("z",)


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ({"draws": 0}, "0 draws; from 1"),
        ({"shots": [0]}, "whole numbers from 1"),
        ({"shots": []}, "whole numbers from 1"),
        ({"protocol": "p3"}, "protocol p3"),
        ({"groups": ["tree"]}, "classifier tree"),
        ({"features": ["w"]}, "feature w"),
    ],
)
def test_what_cannot_be_is_refused(asked, line):
    with pytest.raises(UserError, match=line):
        settings(**asked)


def test_without_scikit_learn_one_line_says_so_and_centres_still_work(evaluation, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.exceptions", None)
    with pytest.raises(UserError, match=r"needs scikit-learn; .*; pip install 'coupled\[evaluation\]'"):
        probe(evaluation, shots=[3], draws=2)
    assert probe(evaluation, shots=[3], draws=2, groups=["centre"])

    def prepared(**options):
        pytest.fail("features were made before the library was missed")

    monkeypatch.setattr(evaluation, "prepare", prepared)
    with pytest.raises(UserError, match="scikit-learn"):
        probe(evaluation, shots=[3], draws=2)


@pytest.mark.slow
def test_the_command_writes_table_and_figure_and_ends_with_where_they_are(trained, folder, tmp_path, capsys):
    run = shutil.copytree(trained, tmp_path / "run")
    words = [
        "--samples",
        "80",
        "--steps",
        "0",
        "6",
        "--shots",
        "1",
        "4",
        "all",
        "--draws",
        "3",
    ]
    assert main(["probe", str(run), *words]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-1].startswith("results: ") and "probe.csv probe.png probe.svg" in out
    with (run / "analysis" / table.CSV_NAME).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["shots"] for row in rows} == {"1", "4", ""} and {row["ways"] for row in rows} >= {"2", "4"}
    assert all(row["note"] for row in rows if not row["value"])
    first = (run / "analysis" / figure.NAMES[0]).read_bytes()
    assert main(["probe", str(run), *words]) == 0 and (run / "analysis" / figure.NAMES[0]).read_bytes() == first


def test_shots_that_are_no_number_are_refused(trained, capsys):
    assert main(["probe", str(trained), "--shots", "ten"]) == 2
    assert "'ten' is neither a whole number nor all" in capsys.readouterr().err


def test_all_labels_alone_have_a_figure(evaluation, tmp_path):
    curves = probe(evaluation, shots=[None], groups=["centre"], features=["h"])
    panel = figure.draw(evaluation.run, curves).axes[0]
    assert [label.get_text() for label in panel.get_xticklabels()] == ["all"]
