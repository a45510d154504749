"""Pictures: the same samples everywhere, rows that are turned onto each other, and everything a reader must know."""

import csv
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import tiny

import analysis
from analysis.cli import main
from analysis.evaluation import extraction
from analysis.evaluation.features import Evaluation
from analysis.evaluation.picture import figure, picture, table
from analysis.evaluation.picture.looks import about, looks, meaning
from analysis.evaluation.picture.samples import _flags as flags_of
from analysis.evaluation.picture.samples import shown
from coupled.driver.train import train
from coupled.errors import UserError

pytestmark = pytest.mark.kernels
ARMS = {"cl": {"objective": "dcl"}, "nscl": {"objective": "nscl"}, "nudged": {"kind": "nudged"}}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train(tiny(tmp_path_factory.mktemp("runs"), arms=ARMS))


@pytest.fixture(scope="module")
def evaluation(trained, folder):
    return Evaluation(analysis.open_run(trained), size=60, output=folder)


@pytest.fixture(scope="module")
def pictures(evaluation):
    return picture(evaluation, method="pca", labelling="shape", classes=3, per_class=6)


def fake(evaluation, monkeypatch, features):
    """The evaluation with other features: `features(place)` (n, D)."""
    monkeypatch.setattr(evaluation, "prepare", lambda **_: None)
    monkeypatch.setattr(evaluation, "blocks", lambda place, _: ((part,) for part in features(place).split(25)))


def spread_out(step, sizes=(9.0, 5.0, 1.0, 0.5)):
    """Features (60, 4) of a step whose variances along the axes are far apart."""
    generator = torch.Generator().manual_seed(step)
    q = torch.linalg.qr(torch.randn(60, 4, generator=generator, dtype=torch.float64)).Q
    return q * torch.tensor(sizes, dtype=torch.float64) + 0.3


def test_golden_ids(evaluation):
    samples = shown(evaluation, "test", "shape", 2, 4)
    assert samples.classes == [5, 7] and samples.ids.tolist() == [267, 783, 1464, 3339, 3368, 3877, 3881, 3961]
    assert samples.labels.tolist() == [7, 5, 7, 7, 7, 5, 5, 5]
    other = shown(evaluation, "train", "shape", 2, 4)
    assert other.classes == samples.classes and other.ids.tolist() == [1058, 1263, 4237, 6240, 6762, 7441, 10538, 18936]


def test_more_samples_and_classes_contain_fewer_and_each_is_of_its_class(evaluation):
    few, many = shown(evaluation, "test", "shape", 2, 3), shown(evaluation, "test", "shape", 3, 5)
    assert set(few.ids.tolist()) < set(many.ids.tolist()) and set(few.classes) < set(many.classes)
    labels = evaluation.split("test").labels("shape")
    assert torch.equal(many.labels, labels[many.ids]) and torch.equal(many.ids, many.ids.sort().values)


def test_too_few_classes_and_samples_are_taken_whole_and_flagged(evaluation):
    samples = shown(evaluation, "test", "size", 5, 200)
    assert len(samples) == 60 and torch.equal(samples.ids, evaluation.sample("test").ids)
    of_classes, of_samples = samples.flags
    assert list(flags_of({0: 30, 1: 30}, 2, 200)) == ["30 samples of each class, 200 were asked for"]
    assert of_classes == "2 classes have samples, 5 were asked for"
    assert "of class 0" in of_samples and of_samples.endswith("200 of each were asked for")


def test_each_arm_has_a_picture_of_each_step_of_the_same_samples(pictures):
    assert [(p.arm, p.step) for p in pictures.pictures] == [(arm, step) for arm in ARMS for step in (0, 3, 6)]
    n = len(pictures.ids)
    assert all(p.points.shape == (n, 2) and np.abs(p.points.mean(0)).max() < 1e-12 for p in pictures.pictures)
    assert set(pictures.classes.tolist()) == set(pictures.names) and len(pictures.names) == 3


def test_arms_that_start_equal_have_the_same_first_picture_bit_by_bit(pictures):
    first = {p.arm: p for p in pictures.pictures if p.step == 0}
    assert first["cl"].points.tobytes() == first["nscl"].points.tobytes()
    assert first["nscl"].distance < 1e-7  # the root of a rounding of 1
    assert np.isnan(first["cl"].distance)


def test_points_are_the_two_largest_components_but_for_a_turn(evaluation, monkeypatch):
    fake(evaluation, monkeypatch, lambda place: spread_out(place.step))
    made = picture(evaluation, method="pca", labelling="shape", classes=4, per_class=60)
    X = spread_out(6)[np.searchsorted(evaluation.sample("test").ids.numpy(), made.ids)].numpy()
    X = X - X.mean(0)
    values, vectors = np.linalg.eigh(X.T @ X)
    (last,) = (p for p in made.pictures if (p.arm, p.step) == ("cl", 6))
    plane = X @ vectors[:, -2:]
    np.testing.assert_allclose(last.points @ last.points.T, plane @ plane.T, atol=1e-10)
    assert last.share == pytest.approx(values[-2:].sum() / values.sum(), rel=1e-12)


def test_turning_or_mirroring_features_changes_no_row(evaluation, monkeypatch):
    generator = torch.Generator().manual_seed(9)
    turns = {place: torch.linalg.qr(torch.randn(4, 4, generator=generator).double()).Q for place in range(20)}

    def features(place):
        same = place.arm == "cl"
        return spread_out(place.step) @ (torch.eye(4).double() if same else turns[place.step])

    fake(evaluation, monkeypatch, features)
    made = picture(evaluation, method="pca", labelling="shape", classes=4, per_class=60)
    of_cl, of_nscl = ([p.points for p in made.pictures if p.arm == arm] for arm in ("cl", "nscl"))
    # Components of sizes 5 and 1 are told apart to 1e-15 · 9² / (5² − 1²): 1e-10 leaves room for any order of sums.
    np.testing.assert_allclose(of_cl, of_nscl, atol=1e-10)


def test_each_picture_is_nearest_to_the_one_before_it(pictures):
    for before, own in zip(pictures.pictures, pictures.pictures[1:], strict=False):
        if before.arm == own.arm:
            product = own.points.T @ before.points
            # At the optimum M is symmetric and has no negative eigenvalue: no further turn raises its trace.
            scale = np.abs(product).max() + 1e-300
            assert np.abs(product - product.T).max() < 1e-9 * scale
            assert np.linalg.eigvalsh(product).min() > -1e-9 * scale


def test_equal_features_are_one_point_with_a_flag(evaluation, monkeypatch):
    fake(evaluation, monkeypatch, lambda place: torch.ones(60, 4) if place.arm == "nscl" else spread_out(place.step))
    made = picture(evaluation, method="pca", classes=2, per_class=9)
    flat = [p for p in made.pictures if p.arm == "nscl"]
    assert not any(p.points.any() for p in flat) and np.isnan([p.share for p in flat]).all()
    assert "nscl at step 3: all features are equal, so all points are one" in made.flags
    assert "all points are one" in " ".join(meaning(made)) and figure.draw(evaluation.run, made)


def test_features_of_rank_one_have_no_second_coordinate(evaluation, monkeypatch):
    fake(evaluation, monkeypatch, lambda place: torch.arange(60.0)[:, None])
    made = picture(evaluation, method="pca", classes=2, per_class=9)
    assert not made.pictures[0].points[:, 1].any() and made.pictures[0].share == 1


def test_of_many_kept_steps_some_are_shown_and_a_flag_says_so(evaluation):
    made = picture(evaluation, method="pca", most=2)
    assert made.steps == [0, 6]
    assert "2 of 3 kept steps, about evenly spaced in log(step): --steps names others" in made.flags


@pytest.mark.parametrize(
    "asked, line",
    [
        ({"classes": 0}, "0 for --classes; at least 1 is needed"),
        ({"per_class": -1}, "-1 for --per-class; at least 1 is needed"),
        ({"classes": 1, "per_class": 3}, "3 samples of test; a picture needs at least 4; raise --classes"),
        ({"labelling": "shap"}, "shap"),
        ({"feature": "x"}, "x"),
        ({"split": "all"}, "all"),
        ({"method": "tsne"}, "tsne"),
    ],
)
def test_what_is_not_allowed_is_one_line(evaluation, asked, line):
    with pytest.raises(UserError, match=line):
        picture(evaluation, **({"method": "pca"} | asked))


def test_a_data_set_without_labels_is_one_line(evaluation, monkeypatch):
    monkeypatch.setattr(evaluation, "sample", lambda split: SimpleNamespace(labels={}))
    with pytest.raises(UserError, match="has no labels; a picture shows classes"):
        picture(evaluation, method="pca")


def test_without_the_library_one_line_says_what_works_before_any_feature_is_made(
    trained, tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "umap", None)
    monkeypatch.setattr(extraction, "extract", lambda *_, **__: pytest.fail("a feature"))
    assert main(["picture", str(trained), "--samples", "20", "--output", str(tmp_path)]) == 2
    line = "--method umap needs umap-learn; it is not installed here; pip install 'coupled[evaluation]', or"
    assert capsys.readouterr().err == f"coupled-analyze: {line} --method pca needs no library\n"


def test_the_command_writes_what_it_says(trained, folder, capsys):
    options = ["--samples", "60", "--steps", "0", "6", "--method", "pca", "--feature", "z"]
    assert main(["picture", str(trained), *options]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == f"results: {trained}/analysis/ (picture.csv picture.png picture.svg)" and err == ""
    with (trained / "analysis/picture.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(ARMS) * 2 * 60 and tuple(rows[0]) == table.HEADER
    facts = {(row["feature"], row["split"], row["method"], row["labelling"]) for row in rows}
    assert facts == {("z", "test", "pca", "size")} and {row["step"] for row in rows} == {"0", "6"}


def test_the_figure_has_rows_of_arms_columns_of_steps_and_says_what_is_seen(evaluation, pictures):
    drawn = figure.draw(evaluation.run, pictures)
    words = " ".join(" ".join(t.get_text().split()) for t in drawn.findobj(lambda artist: hasattr(artist, "get_text")))
    assert len(drawn.axes) == 9 and all(name in words for name in (*ARMS, "step 0", "step 3", "step 6"))
    assert about(pictures) in words and "% of the variance" in words and f"n = {len(pictures.ids)}" in words
    assert all(axes.get_xlim() == axes.get_ylim() for axes in drawn.axes)
    assert len(drawn.legends[0].get_texts()) == 3


def test_arms_at_one_step_stand_in_a_row(evaluation):
    made = picture(Evaluation(evaluation.run, size=60, steps=[6], output=evaluation.folder), method="pca", classes=1)
    drawn = figure.draw(evaluation.run, made)
    assert [axes.get_title("center") for axes in drawn.axes] == list(ARMS)
    assert len({axes.get_position().y0 for axes in drawn.axes}) == 1
    assert next(meaning(made)).endswith("onto the first arm's.")


def test_forty_classes_have_forty_looks():
    assert len(set(looks(range(40)).values())) == 40 and looks(range(41))[40] == looks(range(41))[0]
    assert len({look.colour for look in looks(range(10)).values()}) == 10


def test_equal_pictures_give_equal_bytes(evaluation, pictures):
    first = [
        path.read_bytes() for path in (table.write(evaluation.run, pictures), *figure.save(evaluation.run, pictures))
    ]
    again = picture(evaluation, method="pca", labelling="shape", classes=3, per_class=6)
    assert [p.read_bytes() for p in (table.write(evaluation.run, again), *figure.save(evaluation.run, again))] == first
