"""p-values of alignment: the measures themselves as statistics, chance at no step, and false positives on nulls."""

import numpy as np
import pytest
import torch
from helpers import tiny

import analysis
from analysis.aggregation.significance import pairings, significance, statistics
from analysis.statistics.max_statistic import corrected
from coupled.driver.train import train
from coupled.errors import UserError

MEASURES = {"cka": analysis.linear_cka, "rsa": analysis.rsa}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    torch.set_num_threads(1)
    arms = {"cl": {"objective": "dcl"}, "nscl": {"objective": "nscl"}, "independent": {"kind": "independent"}}
    return analysis.open_run(train(tiny(tmp_path_factory.mktemp("run"), train={"steps": 2}, arms=arms)))


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("scale", [1.0, 1e-200, 1e200])
def test_every_permutations_statistic_is_the_measure_of_the_permuted_rows(measure, scale):
    rng = torch.Generator().manual_seed(0)
    x, y = (torch.randn(12, d, generator=rng, dtype=torch.float64) + 3 for d in (5, 7))
    orders = pairings(12, 9)
    literal = [MEASURES[measure](x, y[order]) for order in orders]
    assert statistics(measure, x * scale, y, orders) == pytest.approx(literal, abs=1e-10)
    assert orders[0].tolist() == list(range(12)) and len({tuple(order.tolist()) for order in orders}) == 10


@pytest.mark.parametrize("measure", MEASURES)
def test_looks_at_every_step_feature_and_arm_are_one_family(run, measure):
    looks = significance(run, measure, permutations=99)
    steps = run.curve("cka", arm="nscl").steps.tolist()
    assert [(look.arm, look.feature, look.step) for look in looks] == [
        (arm, feature, step) for arm in ("nscl", "independent") for feature in ("h", "z") for step in steps
    ]
    curve = run.curve(measure, arm="nscl")
    values = [look.value for look in looks if look.arm == "nscl" and look.feature == "h"]
    assert values == pytest.approx(curve.values.tolist(), abs=1e-5)
    assert all(0.01 <= look.p <= look.corrected <= 1 for look in looks)
    start = looks[0]
    assert start.step == 0 and start.value == pytest.approx(1) and start.p == 0.01  # the shared initialisation


def test_more_looks_never_make_one_of_them_more_significant(run):
    few = significance(run, arms=["independent"], features=["h"], steps=[2], permutations=99)
    (alone,) = few
    assert alone.corrected == alone.p
    among = [look for look in significance(run, permutations=99) if look.arm == "independent" and look.step == 2]
    assert among[0].p == alone.p and among[0].corrected >= alone.corrected


def test_what_has_no_p_is_one_line(run):
    with pytest.raises(UserError, match="measure with p-values"):
        significance(run, "procrustes")
    with pytest.raises(UserError, match="permutations = 0"):
        significance(run, permutations=0)
    with pytest.raises(UserError, match="steps 77; the panel of .* has none of them"):
        significance(run, steps=[77])
    with pytest.raises(UserError, match="has no reference"):
        significance(run, arms=["cl"])


@pytest.mark.slow
def test_of_unrelated_features_at_most_5_percent_have_a_false_positive_over_all_steps():
    # Two walks of features, unrelated to each other: neighbouring steps nearly the same, as in training.
    rng, orders, trials, false, single = torch.Generator().manual_seed(1), pairings(16, 39), 400, 0, 0
    for _ in range(trials):
        walks = [torch.randn(8, 16, 4, generator=rng, dtype=torch.float64).cumsum(0) for _ in range(2)]
        rows = np.stack([statistics("cka", x, y, orders) for x, y in zip(*walks, strict=True)], 1)
        p, joint = corrected(rows[0], rows[1:])
        false, single = false + (joint <= 0.05).any(), single + (p <= 0.05).any()
    assert false / trials <= 0.05 + 0.03 and single / trials > 0.08  # .03: near three standard errors
