"""Alignment at kept checkpoints: the panel's values on the panel's ids, records' distances from weights, and errors."""

import csv
import shutil
from dataclasses import replace
from itertools import product
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
import torch
from helpers import rewrite, tiny

import analysis
from analysis.cli import main
from analysis.evaluation.alignment import _curve as alignment_curve
from analysis.evaluation.alignment import all_pairs, features, figure, table
from analysis.evaluation.alignment.features import Columns
from analysis.evaluation.alignment.pairs import pairs_across
from analysis.evaluation.alignment.weights import compared, layer_maps
from analysis.evaluation.features import Place
from analysis.statistics.estimates import estimates
from analysis.statistics.streamed import memory, streamed, whole
from coupled.driver.train import train
from coupled.errors import UserError
from coupled.recording.layout import STREAMS

pytestmark = [pytest.mark.kernels, pytest.mark.threads]

ARMS = {
    "cl": {"objective": "dcl"},
    "nscl": {"objective": "nscl"},
    "ce": {"objective": "ce"},
    "twin": {"kind": "twin"},
    "nudged": {"kind": "nudged"},
}
KEPT = [0, 6]

FEW = {"checkpoints": {"keep": {"steps": KEPT}}}


def trained(folder, **sections):
    torch.set_num_threads(1)
    common = {"arms": ARMS, "panel": {"size": 32, "stages": True}, "record": {"panel": {"steps": KEPT}}, **FEW}
    return train(tiny(folder, **{**common, **sections}))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("one"))


@pytest.fixture(scope="module")
def other_path(tmp_path_factory):
    arms = {"cl": {"objective": "dcl"}, "scl": {"objective": "scl"}, "ce": {"objective": "ce"}}
    keep = {"keep": {"steps": [0, 4, 6]}}
    return trained(tmp_path_factory.mktemp("two"), seed=1, arms=arms, checkpoints=keep)


@pytest.fixture
def copied(path, tmp_path):
    return shutil.copytree(path, tmp_path / "copied", ignore=shutil.ignore_patterns("analysis"))


def evaluated(path, folder, **options):
    return analysis.Evaluation(analysis.open_run(path), output=folder, **{"size": 50, **options})


@pytest.fixture(scope="module")
def curves(path, folder):
    return analysis.alignment(evaluated(path, folder, stages=True), pairs=[("nscl", "ce")])


def pick(curves, **facts):
    (curve,) = [c for c in curves if all(getattr(c, name) == value for name, value in facts.items())]
    return curve


def test_on_the_panels_ids_the_recorded_panel_comes_out_again(path, folder):
    run = analysis.open_run(path)
    ids = torch.from_numpy(np.array(run.fixed("panel", "fixed.ids")))
    curves = analysis.alignment(evaluated(path, folder, ids={"test": ids}, stages=True))
    kinds = [("cka", {}), ("cka_biased", {"debiased": False}), ("rsa", {})]
    for arm, feature, (measure, options) in product(("nscl", "ce", "nudged"), ("h", "z", "stage.0"), kinds):
        own = pick(curves, arm=arm, measure=measure, feature=feature, split="test")
        recorded = run.curve(measure.partition("_")[0], arm=arm, feature=feature, **options)
        assert own.steps.tolist() == recorded.steps.tolist() == KEPT and own.n == recorded.n == 32
        assert (own.d, own.estimator, own.interval.what) == (recorded.d, recorded.estimator, recorded.interval.what)
        for a, b in zip(numbers(own), numbers(recorded), strict=True):
            assert np.allclose(a, b, rtol=0, atol=1e-6), (arm, feature, measure)


def test_values_are_those_of_the_whole_features(path, folder, curves):
    of = evaluated(path, folder, stages=True)
    x, y = (of.features(Place(arm, 6, "train"), "h") for arm in ("nscl", "ce"))
    literal = {**estimates(("cka", "cka_biased"), x, y), **estimates(("rsa",), x, y, unit=True)}
    for measure, estimate in literal.items():
        curve = pick(curves, arm="nscl", reference="ce", measure=measure, feature="h", split="train")
        values = curve.values[-1], curve.interval.low[-1], curve.interval.high[-1], curve.null.low[-1]
        fields = estimate.value, estimate.low, estimate.high, estimate.null_low
        assert np.allclose(values, fields, rtol=0, atol=1e-10)
        assert (curve.n, curve.d, curve.source) == (50, 32, "checkpoint")


def test_the_map_compares_every_stage_with_every_other(path, folder, curves):
    of = evaluated(path, folder, stages=True)
    maps = {(map_.arm, map_.reference, map_.step): map_.values for map_ in figure.maps(curves)}
    assert len(maps) == 5 * 2 and {values.shape for values in maps.values()} == {(4, 4)}
    for i in range(4):
        for j in range(4):
            x, y = (of.features(Place(arm, 6, "test"), f"stage.{k}") for arm, k in (("nscl", i), ("cl", j)))
            assert maps["nscl", "cl", 6][i, j] == pytest.approx(analysis.linear_cka(x, y), abs=1e-10)


def test_features_that_are_not_held_give_the_same(path, folder, monkeypatch):
    held = analysis.alignment(evaluated(path, folder))
    monkeypatch.setattr(features, "_HELD_BYTES", 0)
    for one, other in zip(held, analysis.alignment(evaluated(path, folder)), strict=True):
        assert one.values.tobytes() == other.values.tobytes()


def numbers(curve):
    return curve.values, curve.interval.low, curve.interval.high, curve.null.low, curve.null.high


@pytest.mark.parametrize("arm", ["nscl", "ce", "twin", "nudged"])
def test_weights_of_checkpoints_are_as_far_apart_as_training_recorded(path, curves, arm):
    run = analysis.open_run(path)
    recorded = {c.measure: c for c in analysis.divergence(run) if c.arm == arm and c.kind == "measured"}
    for measure in ("distance", "relative_distance", "weight_gap", "angle"):
        own, its = pick(curves, arm=arm, reference="cl", measure=measure), recorded[measure]
        at = np.isin(its.steps, KEPT)
        assert own.d == its.d and own.flags == its.flags
        # (60) divides by what is left of nearly equal norms.
        tolerance = 1e-6 if measure == "angle" else 1e-12
        assert np.allclose(own.values, its.values[at], rtol=tolerance, atol=0, equal_nan=True), measure


def test_layers_of_checkpoints_are_as_far_apart_as_training_recorded(path, folder):
    run = analysis.open_run(path)
    (pair,) = (pair for pair in all_pairs(evaluated(path, folder)) if pair.arm == "ce")
    for own in layer_maps(pair):
        its = analysis.layers(run, "ce", own.measure)
        assert own.layers == its.layers and not any(name.startswith("head.") for name in own.layers)
        at = np.isin(its.steps, KEPT)
        assert np.allclose(own.values, its.values[at], rtol=1e-12, atol=1e-12, equal_nan=True), own.measure


def test_angles_are_literal_and_undefined_for_a_layer_of_zeros():
    own = {"a": np.array([[3.0, 0.0]]), "b": np.zeros(2)}
    other = {"a": np.array([[0.0, 2.0]]), "b": np.ones(2)}
    of = compared(["a", "b"], own, other)
    assert of.angle[0] == pytest.approx(np.pi / 2) and of.angle[1].isnan()
    assert of.distance.tolist() == pytest.approx([13**0.5, 2**0.5])


def test_a_twin_is_equal_everywhere(curves):
    for curve in curves:
        if curve.arm == "twin" and " × " not in (curve.feature or ""):
            zero = curve.source == "checkpoint" and curve.feature is None
            assert np.allclose(curve.values, 0 if zero else 1, rtol=0, atol=0 if zero else 1e-12)


def test_one_arm_in_two_runs_is_compared_on_the_same_ids(path, other_path, folder):
    own, other = evaluated(path, folder), evaluated(other_path, folder)
    curves = [c for c in analysis.alignment(own, across=other) if c.reference not in ARMS]
    assert {(c.arm, c.reference) for c in curves} == {(a, f"{a} of {other_path}") for a in ("cl", "ce")}
    assert all(c.steps.tolist() == [0, 6] for c in curves)
    x, y = (e.features(Place("cl", 6, "test"), "h") for e in (own, other))
    value = pick(curves, arm="cl", measure="cka", feature="h", split="test").at(6)
    assert value == pytest.approx(analysis.linear_cka(x, y), abs=1e-10) and value < 1


def test_what_two_runs_do_not_share_is_one_line_that_names_both(path, other_path, folder, tmp_path, monkeypatch):
    own = evaluated(path, folder)
    with pytest.raises(UserError, match="the run itself"):
        pairs_across(own, evaluated(path, folder))
    with pytest.raises(UserError, match=r"50 train samples of .*, 40 others of "):
        pairs_across(own, evaluated(other_path, folder, size=40))
    with pytest.raises(UserError, match=r"keeps steps 6; .* keeps steps 4; no step is kept by both"):
        pairs_across(evaluated(path, folder, steps=[6]), evaluated(other_path, folder, steps=[4]))
    arms = {"base": {"objective": "dcl"}}
    renamed = trained(tmp_path / "renamed", arms=arms, record={}, train={"steps": 3})
    with pytest.raises(UserError, match=r"trains cl, nscl, ce; .* trains base; arms are compared by name"):
        pairs_across(own, evaluated(renamed, folder))
    other = evaluated(other_path, folder)
    monkeypatch.setattr(other, "split", lambda split: SimpleNamespace(fingerprint=lambda: "another"))
    with pytest.raises(UserError, match=r"train images of .* have SHA-256 .*; those of .* have another; compare runs"):
        pairs_across(own, other)


def test_another_encoder_has_features_to_compare_and_no_weights(path, folder, tmp_path, capsys):
    model = {"width": 8, "projection_hidden": 16, "projection_dim": 8}
    wide = trained(tmp_path, model=model, arms={"cl": {"objective": "dcl"}}, record={})
    of = analysis.alignment(evaluated(path, folder), across=evaluated(wide, folder))
    across = [c for c in of if c.reference not in ARMS]
    assert {c.measure for c in across} == {"cka", "cka_biased", "rsa"}
    assert np.isfinite(pick(across, measure="cka", feature="h", split="test").values).all()
    assert figure.draw(analysis.open_run(path), across)


def test_one_arm_has_nothing_to_compare_but_another_run(other_path, folder, tmp_path):
    alone = trained(tmp_path, arms={"cl": {"objective": "dcl"}}, record={})
    with pytest.raises(UserError, match="nothing to compare; the run has one arm; name --pair A B, or --across RUN"):
        analysis.alignment(evaluated(alone, folder))
    assert analysis.alignment(evaluated(alone, folder), across=evaluated(other_path, folder))


@pytest.mark.parametrize(("pair", "words"), [(("nscl", "cll"), "did you mean cl"), (("cl", "cl"), "an arm is equal")])
def test_a_pair_that_is_none_is_one_line(path, folder, pair, words):
    with pytest.raises(UserError, match=words):
        analysis.alignment(evaluated(path, folder), pairs=[pair])


def test_a_pair_that_is_there_already_is_compared_once(path, folder):
    pairs = all_pairs(evaluated(path, folder), pairs=[("nscl", "cl"), ("ce", "nscl"), ("ce", "nscl")])
    assert [(p.arm, p.reference) for p in pairs] == [*((arm, "cl") for arm in list(ARMS)[1:]), ("ce", "nscl")]


def test_features_that_are_not_finite_are_one_line(copied, tmp_path, capsys):
    def spoil(tensors):
        tensors["weights.encoder.stem.weight"][0] = np.nan

    rewrite(copied, "checkpoints/step-000000006/nscl.safetensors", spoil)
    assert main(["alignment", str(copied), "--samples", "20"]) == 2
    assert "h of nscl at step 6 on train is not finite" in capsys.readouterr().err


def test_a_run_without_records_has_alignment(folder, tmp_path):
    empty = {stream: {"every": 0} for stream in STREAMS}
    bare = trained(tmp_path, record=empty, panel={"size": 16})
    curves = analysis.alignment(evaluated(bare, folder))
    run = analysis.open_run(bare)
    assert {c.steps.tolist()[-1] for c in curves} == {6} and run.steps is None
    assert figure.draw(run, curves).axes[0].get_xlim()[1] > 6


@pytest.mark.slow
def test_the_command_writes_tables_and_figures_and_says_where(copied, other_path, capsys):
    options = ["--samples", "20", "--layers", "--pair", "ce", "nscl", "--across", str(other_path)]
    assert main(["alignment", str(copied), *options]) == 0
    out, err = capsys.readouterr()
    pictures = [*figure.NAMES, *figure.ACROSS_NAMES, *figure.LAYERS_NAMES]
    names = ["alignment.csv", "alignment_weights.csv", *pictures]
    assert out.splitlines()[-1] == f"results: {copied}/analysis/ ({' '.join(names)})" and err == ""
    assert {p.name for p in (copied / "analysis").iterdir()} == {*names, "features"}
    rows, layers = (list(csv.DictReader((copied / "analysis" / name).read_text().splitlines())) for name in names[:2])
    assert {row["source"] for row in rows} == {"checkpoint"} and "stage.0 × stage.3" in {r["feature"] for r in rows}
    assert len(layers) == (5 * 2 + 2 * 2) * len(analysis.open_run(copied).facts["layers"])


@pytest.mark.slow
def test_equal_curves_give_equal_bytes_and_pictures_say_what_they_are_of(copied, curves):
    run = analysis.open_run(copied)
    before = [path.read_bytes() for path in figure.save(run, curves)]
    assert [path.read_bytes() for path in figure.save(run, curves)] == before and len(before) == 4
    words = "\n".join(text.get_text() for text in figure.draw(run, curves).findobj(matplotlib.text.Text))
    for part in ("test, n = 50", "train, n = 50", "nscl with ce", "twin: 0 at every step", "debiased linear CKA"):
        assert part in words


def test_the_table_has_a_row_for_every_pair_and_step(curves):
    rows = table.rows(curves)
    assert len(rows) == 5 * 2 and rows[0][:3] == ["nscl", "cl", "0"] and rows[0][-1] == "0"
    undefined = [replace(c, values=np.full(2, np.nan)) for c in curves]
    assert set(table.rows(undefined)[0][3:]) == {"undefined"}
    assert "both of h, d = 32, of 50 train and 50 test images" in table.notes(curves)


def test_a_run_that_is_written_shows_what_is_committed(copied, capsys):
    manifest = copied / "manifest.jsonl"
    lines = manifest.read_bytes().splitlines(keepends=True)
    last = next(i for i, line in enumerate(lines) if b"step-000000006/state.json" in line)
    manifest.write_bytes(b"".join(lines[:last]))
    assert main(["alignment", str(copied), "--samples", "20"]) == 0
    out = capsys.readouterr().out
    assert "UNFINISHED" in out.replace("\n", " ") and "│     0 │" in out and "│     6 │" not in out


def test_columns_have_names_that_read_as_what_they_compare():
    assert [str(Columns("h", "h")), str(Columns("stage.0", "stage.2"))] == ["h", "stage.0 × stage.2"]


def test_curves_say_where_digits_are_lost_and_samples_lack(path, folder):
    (pair, *_) = all_pairs(evaluated(path, folder))
    short = replace(pair.own.sample("test"), asked=60)
    own = SimpleNamespace(sample=lambda split: short, run=pair.own.run, stages=False, stage_names=list)
    pair = replace(pair, own=own, other=own)
    fine = streamed(("rsa",), whole(torch.randn(8, 3)), whole(torch.randn(8, 3)), unit=True)["rsa"]
    estimates = [fine, replace(fine, ill_conditioned=np.array(True))]
    flags = alignment_curve(pair, "test", Columns("h", "h"), "rsa", estimates).flags
    assert flags[0] == "test has 50 samples, 60 were asked for" and flags[1].startswith("ill-conditioned from step 6")


@pytest.mark.slow
def test_results_that_a_call_does_not_make_again_are_gone(copied, other_path):
    options = ["--samples", "20", "--steps", "6"]
    assert main(["alignment", str(copied), *options, "--layers", "--across", str(other_path)]) == 0
    assert (copied / "analysis" / figure.LAYERS_NAMES[0]).exists()
    assert main(["alignment", str(copied), *options]) == 0
    names = {"alignment.csv", "alignment_weights.csv", *figure.NAMES, "features"}
    assert {path.name for path in (copied / "analysis").iterdir()} == names


@pytest.mark.parametrize("d", [64, 512, 2048, 4096, 16384])
def test_pairs_side_by_side_fit_in_memory_and_one_is_always_worked_on(d):
    of_pair, budget = memory(10_000, d, d), 7 << 28
    assert of_pair > 3 * 3 * 8 * d * d  # what is held at least: the sums of all, of a group, and without it
    for held in (0, 512 << 20):
        most = features.side_by_side_at_most(held, of_pair)
        assert most >= 1 and (most == 1 or held + most * of_pair <= budget)
        assert held + (most + 1) * of_pair > budget


def test_a_mistake_about_a_later_run_comes_before_the_first_result(path, other_path, capsys):
    assert main(["alignment", str(path), str(other_path), "--pair", "cl", "nscl", "--samples", "16"]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and "unknown arm nscl" in printed.err and len(printed.err.splitlines()) == 1


def test_epochs_are_not_compared_with_steps(path, other_path, folder, monkeypatch):
    own, other = evaluated(path, folder), evaluated(other_path, folder)
    monkeypatch.setattr(
        type(own), "imported", property(lambda self: SimpleNamespace(unit="epochs") if self is own else None)
    )
    with pytest.raises(UserError, match=r"steps of .* are epochs; steps of .* are steps; import with --batch"):
        pairs_across(own, other)
