"""Distances and angles are those of the weights; floors, ceilings and twins are named; mistakes are one line.

The oracle computes from the weights in the kept checkpoints, not from the records.
"""

import csv
import math
from dataclasses import replace

import numpy as np
import pytest
from helpers import tiny
from matplotlib.figure import Figure

import analysis
from analysis.cli import main
from analysis.divergence import angle, divergence, figure, twin_faults
from analysis.divergence.growth import Growth, growth
from analysis.output.styles import styles
from analysis.runs.curve import pick
from coupled.driver.train import train
from coupled.errors import UserError
from coupled.store import open_tensors

EVERY_MEASURE = ("distance", "relative_distance", "angle", "weight_norm", "gradient_norm", "update_norm")
EXCESS = "distance over that of nudged (one-ulp nudge, float32)"


@pytest.fixture(scope="module")
def diverged(run):
    return divergence(run)


def weights(run, step, arm):
    """name → float64 weights of a kept checkpoint."""
    file = open_tensors(run.path / f"checkpoints/step-{step:09d}/{arm}.safetensors")
    return {row["name"]: file[f"weights.{row['name']}"].astype(np.float64) for row in run.facts["layers"]}


def kept(run):
    return sorted(int(path.name.removeprefix("step-")) for path in run.path.glob("checkpoints/step-*"))


@pytest.mark.parametrize("arm, reference", [("nscl", "cl"), ("fine", "nscl"), ("nudged", "cl"), ("independent", "cl")])
def test_curves_are_those_of_the_weights(run, diverged, arm, reference):
    for step in kept(run):
        w, v = (np.concatenate([t.ravel() for t in weights(run, step, a).values()]) for a in (arm, reference))
        distance, norms = np.linalg.norm(w - v), (np.linalg.norm(w), np.linalg.norm(v))
        expected = {"distance": distance, "relative_distance": distance / (sum(norms) / 2)}
        u, u_ = w / norms[0], v / norms[1]
        expected["angle"] = 2 * math.atan2(np.linalg.norm(u - u_), np.linalg.norm(u + u_))
        for measure, value in expected.items():
            assert pick(diverged, measure, arm).at(step) == pytest.approx(value, rel=1e-6), (measure, step)


def test_layer_maps_are_those_of_the_weights(run):
    maps = {measure: analysis.layers(run, "nscl", measure) for measure in EVERY_MEASURE}
    for step in kept(run):
        for i, (w, v) in enumerate(zip(*(weights(run, step, arm).values() for arm in ("nscl", "cl")), strict=True)):
            at = {measure: map_.values[map_.steps == step] for measure, map_ in maps.items()}
            distance, mean = np.linalg.norm(w - v), (np.linalg.norm(w) + np.linalg.norm(v)) / 2
            assert at["distance"][0, i] == pytest.approx(distance, rel=1e-12)
            assert at["weight_norm"][0, i] == pytest.approx(np.linalg.norm(w), rel=1e-12)
            ratio = distance / mean if mean else math.nan
            assert at["relative_distance"][0, i] == pytest.approx(ratio, rel=1e-12, nan_ok=True)


def test_layer_maps_know_what_they_are_of(run):
    map_ = analysis.layers(run, "fine", "relative_distance")
    assert (map_.arm, map_.reference, map_.units) == ("fine", "nscl", "|w-w'| / ((|w|+|w'|)/2)")
    assert map_.layers[0] == "encoder.stem.weight" and map_.in_weight_gap[:3].tolist() == [True, True, False]
    assert analysis.layers(run, "cl", "update_norm").reference is None
    assert analysis.layers(run, "cl", "gradient_norm").values.shape == (20, len(map_.layers))
    with pytest.raises(ValueError, match="read-only"):
        map_.values[0] = 1


def test_the_excess_is_the_ratio_to_the_nudged_twin_with_scale_and_precision(run, diverged):
    excess = pick(diverged, "excess", "nscl")
    ratio = run.curve("distance", arm="nscl").values / run.curve("distance", arm="nudged").values
    assert excess.values.tolist() == ratio.tolist() and excess.estimator == EXCESS
    assert {c.arm for c in diverged if c.measure == "excess"} == {"nscl", "independent"}


def test_floor_and_ceiling_are_limits_of_each_arm(run, diverged):
    for bound, arm in (("nudged twin (one ulp, float32)", "nudged"), ("independent twin", "independent")):
        limit = pick(diverged, "angle", "nscl", bound=bound)
        assert limit.kind == "limit" and limit.bounds(pick(diverged, "angle", "nscl"))
        assert limit.values.tolist() == pick(diverged, "angle", arm).values.tolist()
    assert pick(diverged, "distance", "independent").flags == ("ceiling: other initial weights",)
    assert pick(diverged, "distance", "nudged").flags == ("floor: one-ulp nudge, float32",)
    assert not [c for c in diverged if c.bound and c.arm in ("twin", "fine")]


def test_an_excess_over_nothing_is_undefined_and_says_why(spoilt):
    def still(tensors):
        tensors["state.distance"][:3] = 0

    spoilt.rewrite(spoilt.shard("scalars", "nudged", 1), still)
    excess = pick(divergence(analysis.open_run(spoilt.path)), "excess", "nscl")
    assert np.isnan(excess.values[:5]).tolist() == [False, True, True, True, False]
    assert excess.undefined == "the nudged twin nudged is at distance 0"


@pytest.mark.parametrize("theta", [1e-3, 1e-6, 1e-9, 1e-12])
def test_a_tiny_angle_keeps_its_digits(theta):
    norm = np.array([3.0])
    found = angle(norm, norm, 2 * norm * np.sin(theta / 2))
    assert found[0] == pytest.approx(theta, rel=1e-9)


@pytest.mark.parametrize("theta", [1e-5, 0.3, math.pi / 2, 3.0, math.pi])
def test_an_angle_is_the_one_between_vectors_of_other_lengths(theta):
    own, other = np.array([2.0]), np.array([0.7])
    distance = np.sqrt((own - other) ** 2 + 4 * own * other * np.sin(theta / 2) ** 2)
    assert angle(own, other, distance)[0] == pytest.approx(theta, rel=1e-5)


def test_an_angle_without_digits_is_undefined_and_of_nothing_zero():
    one, short = np.ones(1), np.full(1, 1 - 1e-10)
    assert np.isnan(angle(one, short, np.full(1, 1e-10)))
    assert np.isnan(angle(one, one, np.full(1, 1e-16)))
    assert np.isnan(angle(np.zeros(1), one, one))
    assert angle(one, one, np.zeros(1)) == 0


@pytest.mark.parametrize("value", [1e-300, -0.0, math.nan])
def test_a_twin_that_strayed_in_one_layer_alone_is_named(spoilt, value):
    def move(tensors):
        tensors["state.distance"][4, 7] = value

    spoilt.rewrite(spoilt.shard("layers", "twin", 1), move)
    run = analysis.open_run(spoilt.path)
    assert twin_faults(run, divergence(run)) == ["twin is no exact twin: it left cl at step 5"]


def test_an_exact_twin_is_at_zero_and_without_growth(run, diverged):
    assert not twin_faults(run, diverged)
    assert not pick(diverged, "angle", "twin").values.any()
    assert "twin" not in {g.arm for g in growth(run)}


def test_a_run_at_its_shared_start_has_a_figure(run, diverged, tmp_path):
    start = [replace(curve, values=np.zeros_like(curve.values), interval=None) for curve in diverged]
    figure.draw(run, start, []).savefig(tmp_path / "start.png")


def test_the_law_that_is_drawn_is_the_one_that_fits(run):
    """Made distances, exactly of one law: the dots lie on them, and there are none where neither is preferred."""
    rate = np.arange(1.0, 31)
    steps, rates = np.arange(30), np.concatenate([rate, [31.0]])
    about = {"arm": "nscl", "reference": "cl", "layer": None, "window": "early", "first": 0, "last": 29, "n": 30}
    about |= {"s_first": 1.0, "s_last": 30.0, "undefined": "", "exponent": 0.2, "power": 1.5}
    of_law = {"exponential": np.exp(0.2 * rate), "power law": rate**1.5}
    for law, values in of_law.items():
        aic = {"aic": 0.0, "power_aic": 50.0 if law == "exponential" else -50.0}
        curve = replace(pick(divergence(run), "relative_distance", "nscl"), steps=steps, values=values)
        axes = Figure().add_subplot()
        figure._fit(axes, curve, Growth(**about, **aic), rates, styles(run.arms)["nscl"])
        (dots,) = axes.lines
        assert np.allclose(dots.get_ydata(), values)
        figure._fit(axes, curve, Growth(**about, aic=0.0, power_aic=1.0), rates, styles(run.arms)["nscl"])
        assert len(axes.lines) == 1


def test_arms_that_are_not_drawn_have_no_entry_in_the_legend(run, diverged):
    (legend,) = figure.draw(run, diverged, []).legends
    named = [text.get_text().partition(":")[0] for text in legend.get_texts()]
    assert named == [arm for arm in run.arms if arm not in ("cl", "twin")]


def test_the_command_writes_tables_and_the_same_figure_every_time(trained, run, diverged, capsys):
    assert main(["divergence", str(trained), "--window", "2:12"]) == 0
    out = capsys.readouterr().out.rstrip()
    assert out.endswith("(divergence.csv growth.csv layers.csv divergence.png divergence.svg)")
    assert "2:12" in out and "one-ulp nudge, float32" in " ".join(out.split())
    rows = list(csv.DictReader((trained / "analysis/divergence.csv").read_text().splitlines()))
    assert len(rows) == sum(len(c.steps) for c in diverged if c.kind == "measured")
    image = (trained / "analysis/divergence.png").read_bytes()
    grown = growth(run, windows=[(2, 12)])
    assert figure.save(run, diverged, grown)[0].read_bytes() == image


def test_growth_csv_has_every_layer_and_window(trained, run):
    assert main(["divergence", str(trained)]) == 0
    rows = list(csv.DictReader((trained / "analysis/growth.csv").read_text().splitlines()))
    assert len(rows) == 4 * 2 * (1 + len(run.facts["layers"]))
    assert all((row["exponent"] == "") == (row["note"] != "") for row in rows)
    layers = list(csv.DictReader((trained / "analysis/layers.csv").read_text().splitlines()))
    assert len(layers) == 5 * len(run.facts["layers"]) and {row["step"] for row in layers} == {"20"}


@pytest.mark.parametrize("window", ["5", "a:b", "0:5", "7:7", "9:3", "-1:5", "1:2:3", "1:21"])
def test_a_bad_window_is_one_line(trained, capsys, window):
    assert main(["divergence", str(trained), f"--window={window}"]) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and "window" in said.err and not said.out


def test_a_strayed_twin_is_a_warning(strayed, capsys):
    assert main(["divergence", str(strayed)]) == 0
    assert "twin is no exact twin: it left cl at step 0; the run was not in lockstep" in capsys.readouterr().err


def test_an_unfinished_run_is_analysed_as_far_as_it_goes(spoilt, capsys):
    spoilt.keep_lines(lambda entry: entry.last < 10)
    assert main(["divergence", str(spoilt.path)]) == 0
    assert "UNFINISHED, records up to step 9 of 20" in " ".join(capsys.readouterr().out.split())


def test_an_arm_that_is_a_shard_ahead_waits_for_its_reference(spoilt):
    spoilt.keep_lines(lambda entry: entry.last < 1 or (entry.last < 20 and "/nscl/" in (entry.name or "")))
    found = divergence(analysis.open_run(spoilt.path))
    assert pick(found, "angle", "nscl").steps.tolist() == pick(found, "excess", "nscl").steps.tolist() == [0]


def test_a_run_with_one_arm_is_one_line(tmp_path, capsys):
    path = train(tiny(tmp_path, train={"steps": 1}, arms={"cl": {"objective": "dcl"}}))
    assert main(["divergence", str(path)]) == 2
    assert "has nothing to compare" in capsys.readouterr().err


def test_what_is_not_recorded_is_one_line(tmp_path, capsys):
    path = train(tiny(tmp_path, train={"steps": 2}, record={"layers": {"every": 0}}))
    assert main(["divergence", str(path)]) == 0
    assert "records none (record.layers)" in capsys.readouterr().out
    with pytest.raises(UserError, match="records no layers"):
        analysis.layers(analysis.open_run(path), "nscl", "distance")


def test_without_scalars_nothing_is_compared(tmp_path, capsys):
    path = train(tiny(tmp_path, name="bare", train={"steps": 2}, record={"scalars": {"every": 0}}))
    assert main(["divergence", str(path)]) == 2
    assert "records no scalars" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arm, measure, said",
    [("cl", "distance", "cl has no reference"), ("x", "distance", "unknown arm x"), ("cl", "norm", "unknown measure")],
)
def test_a_wrong_question_about_layers_is_one_line(run, arm, measure, said):
    with pytest.raises(UserError, match=said) as error:
        analysis.layers(run, arm, measure)
    assert "\n" not in str(error.value)
