"""Runs side by side: what may be mixed, what is refused with both sides shown, and curves over seeds."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import tiny

import analysis
from analysis.runs.seeds import by_seed, check, over_seeds
from coupled.driver.train import train
from coupled.errors import UserError
from coupled.recording.run_json import SCHEMA


def trained_with(folder, **sections):
    return analysis.open_run(train(tiny(folder, train={"steps": 2}, **sections)))


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    return [trained_with(tmp_path_factory.mktemp(f"seed{seed}"), seed=seed) for seed in range(3)]


def test_runs_of_several_seeds_are_one_group(seeds, tmp_path):
    other = trained_with(tmp_path, seed=1, optimiser={"learning_rate": 0.1})
    assert by_seed([seeds[0], other, *seeds[1:]]) == [seeds, [other]]


def test_a_run_given_twice_is_refused(seeds):
    with pytest.raises(UserError, match=f"{seeds[1].path} is {seeds[1].path} again; every run once"):
        by_seed([*seeds, seeds[1]])


@pytest.mark.parametrize(
    "sections, said",
    [
        ({"panel": {"size": 20}}, r"different panel samples; .* has 16 samples with .* has 20 samples with digest"),
        ({"panel": {"surrogate_size": 5}}, r"different surrogate samples; .* has 4 samples.* has 5 samples"),
        (
            {"data": {"seed": 3}},
            r"different images; .* has name = shapes, seed = 0, .* seed = 3; analyse",
        ),
    ],
)
def test_runs_of_different_samples_are_refused_with_both_sides(seeds, tmp_path, sections, said):
    other = trained_with(tmp_path, **sections)
    with pytest.raises(UserError, match=said) as error:
        check([*seeds, other])
    assert str(seeds[0].path) in str(error.value) and str(other.path) in str(error.value)
    assert "\n" not in str(error.value)


def test_another_schema_is_refused_with_both_sides(seeds):
    other = analysis.open_run(seeds[1].path)
    other.facts = {**other.facts, "schema": 7}
    with pytest.raises(UserError, match=f"different schema; .* has {SCHEMA}, .* has 7"):
        check([seeds[0], other])


def test_what_is_the_same_images_may_be_compared(seeds, tmp_path):
    other = trained_with(tmp_path, data={"labelling": "shape*colour"}, record={"surrogate": {"every": 0}})
    check([*seeds, other])


def test_a_curve_over_seeds_is_their_mean_and_range(seeds):
    each = [run.curve("weight_gap", arm="nscl") for run in seeds]
    joint = over_seeds(each)
    values = np.stack([curve.values for curve in each])
    assert np.array_equal(joint.values, values.mean(0)) and np.ptp(values[:, -1]) > 0
    assert np.array_equal(joint.interval.low, values.min(0)) and np.array_equal(joint.interval.high, values.max(0))
    assert joint.interval.what == "range over 3 seeds" and joint.estimator.endswith("; mean over 3 seeds")
    assert over_seeds(each[:1]) is each[0]


def test_a_curve_over_seeds_has_the_steps_of_all_and_is_undefined_where_one_is(seeds):
    each = [run.curve("weight_gap", arm="nscl") for run in seeds]
    late = replace(each[1], steps=each[1].steps[1:].copy(), values=np.array([np.nan, 1.0]), flags=("late",))
    joint = over_seeds([each[0], late])
    assert joint.steps.tolist() == [1, 2] and joint.flags == ("late",)
    assert np.isnan([joint.values[0], joint.interval.low[0], joint.interval.high[0]]).all()
    assert joint.values[1] == (each[0].values[2] + 1) / 2


def test_curves_of_different_quantities_are_never_averaged(seeds):
    with pytest.raises(AssertionError):
        over_seeds([seeds[0].curve("loss", arm="cl"), seeds[1].curve("loss", arm="nscl")])
