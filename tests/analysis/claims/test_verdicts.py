"""Verdicts against numbers by hand, and how often they are wrong in simulated sweeps."""

import math

import numpy as np
import pytest
from scipy import integrate, stats

from analysis.aggregation.gap import Gap
from analysis.claims.verdicts import (
    STATISTICAL,
    codes,
    intervals,
    judged,
    judged_by_every_seed,
    smallest_effect,
)

SEEDS, SWEEPS, MARGIN = 5, 2000, 0.02
VALUES = {0: 0.10, 1: 0.12, 2: 0.08, 3: 0.11, 4: 0.09}


def test_effect_and_interval_are_those_of_students_t():
    verdict = judged(VALUES, MARGIN, "above")
    # The squared deviations from .1 add up to .001, t of 4 degrees of freedom is 2.7764.
    half = 2.776445105 * math.sqrt(0.001 / 4) / math.sqrt(5)
    assert verdict.effect == pytest.approx(0.1, abs=1e-12)
    assert (verdict.low, verdict.high) == pytest.approx((0.1 - half, 0.1 + half), abs=1e-9)
    assert (verdict.verdict, verdict.seeds, verdict.reason) == ("supported", 5, "")
    by_scipy = stats.t.interval(0.95, 4, 0.1, stats.sem(list(VALUES.values())))
    assert (verdict.low, verdict.high) == pytest.approx(by_scipy, abs=1e-12)


def test_the_smallest_effect_is_found_with_a_power_of_80_per_cent():
    spread = math.sqrt(0.001 / 4)
    smallest = judged(VALUES, MARGIN, "above").smallest
    assert smallest == pytest.approx(smallest_effect(spread, 5, MARGIN))

    def power(chi):
        # Given s/σ = chi/2, the mean of five has to exceed t·s/√5.
        noncentrality = (smallest - MARGIN) * math.sqrt(5) / spread
        return stats.chi.pdf(chi, 4) * stats.norm.sf(2.776445105 * chi / 2 - noncentrality)

    assert integrate.quad(power, 0, 20)[0] == pytest.approx(0.8, abs=1e-6)


@pytest.mark.parametrize(
    ("shift", "side", "verdict"),
    [
        (0.10, "above", "supported"), (-0.10, "above", "contradicted"), (0.0, "above", "equivalent"),
        (0.10, "below", "contradicted"), (-0.10, "below", "supported"), (0.0, "below", "equivalent"),
        (0.0, "within", "supported"), (0.10, "within", "contradicted"), (-0.10, "within", "contradicted"),
        (0.02, "above", "undecided"), (-0.02, "below", "undecided"), (0.02, "within", "undecided"),
    ],
)  # fmt: skip
def test_each_side_of_the_margin_has_its_verdict(shift, side, verdict):
    effects = {seed: shift + 0.01 * value for seed, value in enumerate((-1, 1, 0, -0.5, 0.5))}
    assert judged(effects, MARGIN, side).verdict == verdict


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({4: None}, "4 seeds, and 5 are needed"),
        ({2: math.nan}, "seed 2: undefined"),
        ({2: math.inf}, "seed 2: undefined"),
        ({1: Gap("no arm scl"), 3: Gap("no arm scl")}, "seeds 1, 3: no arm scl"),
        ({5: Gap("never gets there")}, "seed 5: never gets there"),
    ],
)
def test_what_is_lacking_is_never_a_verdict(change, reason):
    effects = {seed: value for seed, value in {**VALUES, **change}.items() if value is not None}
    for verdict in (judged(effects, MARGIN, "above"), judged_by_every_seed(effects, 0.01, ("a", "b"))):
        assert (verdict.verdict, verdict.reason) == ("undecided", reason)
        assert math.isnan(verdict.smallest)
    assert judged({}, MARGIN, "above").reason == "0 seeds, and 5 are needed"


def test_every_seed_counts_where_each_decides_by_itself():
    names = ("exponential", "a power law")
    above = dict.fromkeys(range(5), 11.0)
    assert judged_by_every_seed(above, 10, names).verdict == "supported"
    assert judged_by_every_seed({seed: -value for seed, value in above.items()}, 10, names).verdict == "contradicted"
    mixed = judged_by_every_seed({**above, 3: 9.0, 4: -12.0}, 10, names)
    assert (mixed.verdict, mixed.reason) == ("undecided", "of 5 seeds exponential: 3, a power law: 1")
    assert judged_by_every_seed({**above, 4: 9.0}, 10, names).verdict == "undecided"


# Centred noise of unit spread, (sweeps, seeds): what the spread over seeds may look like.
def noise(kind, generator, shape=(SWEEPS, SEEDS)):
    if kind == "normal":
        return generator.standard_normal(shape)
    if kind == "t3":
        return generator.standard_t(3, shape) / math.sqrt(3)
    if kind == "bimodal":
        return (generator.choice([-1.0, 1.0], shape) + 0.1 * generator.standard_normal(shape)) / math.sqrt(1.01)
    if kind == "unequal spread":
        spreads = np.geomspace(0.2, 4, shape[-1])
        return generator.standard_normal(shape) * spreads / math.sqrt(float((spreads**2).mean()))
    assert kind == "skewed"
    return generator.exponential(1, shape) - 1


KINDS = ("normal", "t3", "bimodal", "unequal spread")


def rates(effects, side, margin=MARGIN):
    """How often each verdict comes out of effects (sweeps, seeds)."""
    _, low, high = intervals(effects)
    counts = np.bincount(codes(low, high, margin, side), minlength=len(STATISTICAL))
    return dict(zip(STATISTICAL, counts / len(effects), strict=True))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", ["above", "below", "within"])
@pytest.mark.parametrize("spread", [0.003, 0.03])
def test_at_the_edge_of_the_margin_each_verdict_is_wrong_at_most_one_time_in_twenty(kind, side, spread):
    for edge in (MARGIN, -MARGIN):
        effects = edge + spread * noise(kind, np.random.default_rng(7))
        wrong = rates(effects, side)
        assert max(wrong[verdict] for verdict in STATISTICAL if verdict != "undecided") <= 0.05


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sign", [1, -1])
def test_twice_the_smallest_effect_is_found_nine_times_in_ten(kind, sign):
    generator, spread = np.random.default_rng(8), 0.03
    effect = 2 * smallest_effect(spread, SEEDS, MARGIN)
    found = rates(sign * effect + spread * noise(kind, generator), "above")
    assert found["supported" if sign == 1 else "contradicted"] >= 0.9
    # The smallest effect that another sweep of five states, from its own spread.
    stated = smallest_effect((spread * noise(kind, generator)).std(-1, ddof=1), SEEDS, MARGIN)
    found = rates(sign * 2 * stated[:, None] + spread * noise(kind, generator), "above")
    assert found["supported" if sign == 1 else "contradicted"] >= 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_true_and_reversed_trends_are_told_apart(kind):
    generator, spread, x = np.random.default_rng(9), 0.03, np.log([2, 8, 64, 512])
    centred = x - x.mean()
    scale = np.ptp(x) / (centred @ centred)  # from noise of the points to that of the slope over the whole range
    effect = 2 * smallest_effect(spread * scale * np.sqrt(centred @ centred), SEEDS, MARGIN)
    for sign, verdict in ((1, "supported"), (-1, "contradicted")):
        points = sign * effect * x / np.ptp(x) + spread * noise(kind, generator, (SWEEPS * SEEDS, 4))
        slopes = (points @ centred * scale).reshape(SWEEPS, SEEDS)
        assert rates(slopes, "above")[verdict] >= 0.9


def test_the_rate_of_wrong_verdicts_on_a_skewed_null_is_the_documented_one():
    generator = np.random.default_rng(10)
    at_edges = [rates(sign * MARGIN + 0.03 * noise("skewed", generator, (20_000, SEEDS)), "above") for sign in (1, -1)]
    assert at_edges[0]["equivalent"] == pytest.approx(0.115, abs=0.01)
    assert at_edges[1]["contradicted"] == pytest.approx(0.115, abs=0.01)
    assert max(at_edges[0]["supported"], at_edges[1]["equivalent"]) <= 0.01
