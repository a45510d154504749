"""Curves hold what the shards hold, know what their values are of, and survive the way through a CSV."""

import csv
import math

import numpy as np
import pytest
import torch
from helpers import tiny

import analysis
from analysis.curves import table
from analysis.output.csv import HEADER
from analysis.runs import alignment as aligned
from analysis.runs import features
from analysis.runs.curve import pick
from analysis.runs.recorded import labellings_of, waiting
from coupled.driver.train import train
from coupled.errors import UserError
from coupled.store import open_tensors
from coupled.theory import alignment

pytestmark = pytest.mark.kernels


def by_hand(trained, stream, arm, column):
    """step → row, from the shard files alone."""
    rows = {}
    for path in trained.glob(f"records/{stream}/{arm}/*.safetensors"):
        file = open_tensors(path)
        if column in file:
            rows |= dict(zip(file[f"{column.split('.')[0]}.step"].tolist(), file[column], strict=True))
    return rows


def unit(z):
    """z as it is compared: rows of norm 1 in float64."""
    return z / np.linalg.norm(z.astype(np.float64), axis=1, keepdims=True)


def test_the_headline_is_debiased_cka_of_panel_h_with_the_arms_reference(run, trained):
    curve = run.curve("cka", arm="fine")
    assert (curve.measure, curve.arm, curve.reference, curve.n, curve.d) == ("cka", "fine", "nscl", 32, 32)
    assert (curve.feature, curve.source, curve.split) == ("h", "panel", "test")
    assert curve.estimator == "debiased linear CKA"
    own, other = (by_hand(trained, "panel", arm, "state.h") for arm in ("fine", "nscl"))
    assert curve.steps.tolist() == sorted(own) == [0, 1, 3, 10, 20]
    values = [analysis.linear_cka(own[step], other[step]) for step in sorted(own)]
    assert np.allclose(curve.values, values, rtol=0, atol=1e-12)


@pytest.mark.parametrize("chunk", [1, 10**9])
def test_batch_cka_is_there_at_every_step_whatever_the_chunks(trained, monkeypatch, chunk):
    monkeypatch.setattr(features, "_CHUNK_BYTES", chunk)
    curve = analysis.open_run(trained).curve("cka", arm="nscl", source="batch", debiased=False)
    assert (curve.n, curve.d, curve.feature, curve.split) == (32, 8, "z", "train")
    assert curve.steps.tolist() == list(range(20)) and curve.estimator == "biased linear CKA"
    own, other = (by_hand(trained, "similarity", arm, "batch.z") for arm in ("nscl", "cl"))
    values = [analysis.linear_cka(unit(own[step]), unit(other[step]), debiased=False) for step in range(20)]
    assert np.allclose(curve.values, values, rtol=0, atol=1e-12)


def test_a_curve_of_many_steps_has_bands_at_some_evenly_spaced_in_its_logarithm(trained, monkeypatch):
    every = analysis.open_run(trained).curve("rsa", arm="nscl", source="batch")
    monkeypatch.setattr(aligned, "_BANDED", 5)
    some = analysis.open_run(trained).curve("rsa", arm="nscl", source="batch")
    there = np.isfinite(some.interval.low)
    assert some.steps[there].tolist() == [0, 1, 3, 5, 10, 19] and np.isfinite(every.interval.low).all()
    assert np.array_equal(some.values, every.values)
    for band in ("interval", "null"):
        for edge in ("low", "high"):
            sparse, full = (getattr(getattr(curve, band), edge) for curve in (some, every))
            assert np.allclose(sparse[there], full[there], rtol=0, atol=1e-12) and np.isnan(sparse[~there]).all()


def test_rsa_takes_any_reference_and_every_source(run, trained):
    own, other = (by_hand(trained, "panel", arm, "state.z")[10] for arm in ("nscl", "nudged"))
    curve = run.curve("rsa", arm="nscl", reference="nudged", feature="z")
    assert curve.reference == "nudged" and curve.at(10) == pytest.approx(analysis.rsa(own, other), abs=1e-12)
    assert run.curve("rsa", arm="nscl", source="surrogate").n == 16
    assert curve.at(11) is None


def test_a_twin_is_its_original_in_every_measure(run):
    assert not run.curve("weight_gap", arm="twin").values.any()
    assert not run.curve("distance", arm="twin").values.any()
    for measure in ("cka", "rsa"):
        for source in ("panel", "batch", "surrogate"):
            assert np.allclose(run.curve(measure, arm="twin", source=source).values, 1, rtol=0, atol=1e-12)


def test_an_old_anchor_is_taken_as_the_reference_with_a_warning(run):
    with pytest.warns(FutureWarning, match="anchor: this option is now called reference"):
        old = run.curve("cka", arm="fine", anchor="cl")
    assert old.reference == "cl" and np.array_equal(old.values, run.curve("cka", arm="fine", reference="cl").values)
    with pytest.raises(UserError, match="they are one option, now called reference"):
        run.curve("cka", arm="fine", anchor="cl", reference="nscl")


def test_motion_is_the_way_from_the_start(run, trained):
    curve = run.curve("motion", arm="nscl")
    assert dict(zip(curve.steps.tolist(), curve.values.tolist(), strict=True)) == by_hand(
        trained, "motion", "nscl", "state.moved"
    )
    assert (curve.reference, curve.source, curve.at(0)) == (None, "weights", 0.0)
    cosine = run.curve("motion_cosine", arm="fine")
    assert cosine.reference == "nscl" and np.isnan(cosine.at(0)) and -1 <= cosine.at(7) <= 1
    with pytest.raises(UserError, match="cl has no reference"):
        run.curve("motion_cosine", arm="cl")


def test_weight_gap_is_the_mean_over_the_layers_that_run_json_names(run, trained):
    gap = run.curve("weight_gap", arm="nscl")
    counted = [layer["in_weight_gap"] for layer in run.facts["layers"]]
    distance = by_hand(trained, "layers", "nscl", "state.distance")[7][counted]
    norms = [by_hand(trained, "layers", arm, "state.norm")[7][counted] for arm in ("nscl", "cl")]
    expected = alignment.weight_gap(*(torch.tensor(v.copy()) for v in (*norms, distance)))
    assert gap.at(7) == pytest.approx(expected.item(), rel=1e-12)
    assert gap.n is None and gap.d == sum(
        math.prod(layer["shape"]) for layer in run.facts["layers"] if layer["in_weight_gap"]
    )


def test_losses_and_gaps_are_the_recorded_ones(run, trained):
    recorded = by_hand(trained, "scalars", "cl", "batch.gap.shape*colour")
    curve = run.curve("gap", arm="cl", labelling="shape*colour")
    assert curve.values.tolist() == [recorded[step] for step in range(20)]
    assert (curve.labelling, curve.n, curve.reference) == ("shape*colour", 32, None)
    assert run.curve("gap", arm="fine").labelling == "shape*colour"
    losses = by_hand(trained, "scalars", "nscl", "batch.loss")
    assert run.curve("loss", arm="nscl").values.tolist() == [losses[step] for step in range(20)]
    assert 0 < run.curve("mass", arm="nscl").at(3) < 1


@pytest.mark.parametrize(
    "measure, options, said",
    [
        ("ckaa", {"arm": "nscl"}, "unknown measure ckaa; .*did you mean cka?"),
        ("cka", {"arm": "nope"}, "unknown arm nope"),
        ("cka", {"arm": "cl"}, "cl has no reference"),
        ("cka", {"arm": "nscl", "reference": "nope"}, "unknown arm nope"),
        ("cka", {"arm": "nscl", "source": "batch", "feature": "h"}, "h of batch; recorded are h of panel, z of panel"),
        ("cka", {"arm": "nscl", "labelling": "shape"}, "cka takes no labelling; it takes reference, source, feature"),
        ("weight_gap", {"arm": "cl"}, "cl has no reference"),
        ("weight_gap", {"arm": "nscl", "reference": "twin"}, "recorded are they against cl alone"),
        ("gap", {"arm": "cl", "labelling": "colour"}, "unknown labelling of this run colour; allowed: shape, "),
        ("loss", {"arm": "cl", "reference": "nscl"}, "loss takes no reference; it takes no options"),
    ],
)
def test_a_wrong_question_is_one_clear_line(run, measure, options, said):
    with pytest.raises(UserError, match=said) as error:
        run.curve(measure, **options)
    assert "\n" not in str(error.value)


def test_curves_are_frozen(run):
    curve = run.curve("loss", arm="cl")
    with pytest.raises(ValueError, match="read-only"):
        curve.values[0] = 1


def test_curves_are_all_there_is_of_every_arm(run, found):
    kinds = {(c.measure, c.source, c.feature, c.labelling) for c in found if c.arm == "nscl"}
    sources = (("panel", "h"), ("panel", "z"), ("batch", "z"))
    features = {(m, s, f, None) for m in ("cka", "rsa") for s, f in sources}
    features |= {(m, "panel", "h", None) for m in ("rsa_spearman", "knn_overlap", "procrustes", "gram_angle")}
    features |= {(m, s, "z", None) for m in aligned.DRIFTS for s in ("panel", "batch")}
    labels = {(m, "batch", "z", name) for m in ("gap", "mass") for name in ("shape", "shape*colour")}
    weights = {(m, "weights", None, None) for m in ("weight_gap", "distance")}
    assert kinds == features | labels | weights | {("loss", "batch", "z", "shape")}
    assert labellings_of(run, "fine") == ["shape*colour"]
    assert {c.measure for c in found if c.arm == "cl"} == {"loss", "gap", "mass"}


def test_pick_finds_by_facts(found):
    assert pick(found, "cka", "nscl", source="batch").feature == "z"
    assert pick(found, "cka", "cl") is None


def test_the_csv_holds_every_value_to_the_last_bit(trained, run, found):
    path = analysis.write_csv(run, found)
    assert path == trained / "analysis" / "curves.csv"
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == HEADER and len(rows) == sum(len(curve.steps) for curve in found)
    rows = iter(rows)
    for curve in found:
        for step, value in zip(curve.steps, curve.values, strict=True):
            row = next(rows)
            assert (int(row["step"]), float(row["value"])) == (step, value)
            assert (row["arm"], row["measure"], row["estimator"]) == (curve.arm, curve.measure, curve.estimator)
            assert (row["n"], row["reference"], row["note"]) == (str(curve.n or ""), curve.reference or "", "")
    assert not [p.name for p in path.parent.iterdir() if p.name.endswith(".tmp")]


def test_an_undefined_value_is_an_empty_cell_that_says_why(spoilt):
    def flatten(tensors):
        tensors["state.h"][:] = 1

    spoilt.rewrite(spoilt.shard("panel", "nscl", 1), flatten)
    run = analysis.open_run(spoilt.path)
    curve = run.curve("cka", arm="nscl")
    assert np.isnan(curve.values).tolist() == [False, True, True, False, False]
    rows = list(csv.DictReader(analysis.write_csv(run, [curve]).read_text(encoding="utf-8").splitlines()))
    assert (
        [row["value"] == "" for row in rows] == [row["note"] != "" for row in rows] == [False, True, True, False, False]
    )
    assert rows[1]["note"] == "0/0: a representation is constant over the samples"


def test_streams_that_a_run_never_records_are_left_out_but_an_error_by_name(tmp_path):
    config = tiny(tmp_path, train={"steps": 2}, record={"similarity": {"every": 0}, "panel": {"steps": [1]}})
    run = analysis.open_run(train(config))
    found = analysis.curves(run)
    assert pick(found, "cka", "nscl", source="batch") is None
    assert pick(found, "cka", "nscl", source="panel").steps.tolist() == [1]
    with pytest.raises(UserError, match=r"records no similarity; .*record.similarity"):
        run.curve("cka", arm="nscl", source="batch")


def test_a_stream_that_starts_late_leaves_an_unfinished_run_its_other_curves(spoilt):
    spoilt.keep_lines(lambda entry: entry.last < 10 and "/panel/" not in (entry.name or ""))
    run = analysis.open_run(spoilt.path)
    found = analysis.curves(run)
    assert pick(found, "cka", "nscl", source="panel") is None
    assert pick(found, "cka", "nscl", source="batch").steps.tolist() == list(range(10))
    assert waiting(run) == ["panel: nothing committed yet"] and table.rows(run, found)
    assert table.markdown(run, found).endswith("\n\npanel: nothing committed yet.")
    with pytest.raises(UserError, match="no step of panel/nscl yet"):
        run.curve("cka", arm="nscl")


def test_an_arm_whose_first_shard_is_on_its_way_is_named(spoilt):
    spoilt.keep_lines(lambda entry: entry.last < 1 and "/panel/nscl/" not in (entry.name or ""))
    run = analysis.open_run(spoilt.path)
    found = analysis.curves(run)
    assert waiting(run) == ["panel: nothing committed yet of nscl"]
    assert pick(found, "cka", "nscl", source="panel") is pick(found, "cka", "fine", source="panel") is None
    assert pick(found, "cka", "nudged", source="panel").steps.tolist() == [0]


def test_a_finished_run_waits_for_nothing(run):
    assert waiting(run) == []
