"""Exponentials give their slope, intervals cover it as often as they say, and what has no slope has a reason."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import linalg, stats

import analysis
from analysis.divergence.growth import cumulative_rate, fit, growth, named_windows
from analysis.statistics import slopes as module
from analysis.statistics.slopes import LEAST_POINTS, slopes
from coupled.errors import UserError

pytestmark = pytest.mark.kernels
WARMED = np.cumsum(np.minimum(0.03 * np.arange(1, 31), 0.3))
SERIES = 200


def noise(rho, n, seed):
    """AR(1) errors of stationary variance, (n, SERIES)."""
    drawn = np.random.default_rng(seed).standard_normal((n, SERIES))
    drawn[0] /= math.sqrt(1 - rho**2)
    for step in range(1, n):
        drawn[step] += rho * drawn[step - 1]
    return drawn


def coverage(x, y, true):
    found = slopes(x, y)
    return ((found.low <= true) & (true <= found.high)).mean()


def ols_coverage(x, y, true):
    """Of the textbook interval for independent errors."""
    fits = [stats.linregress(x, column) for column in y.T]
    quantile = stats.t.ppf(0.975, len(x) - 2)
    return np.mean([abs(f.slope - true) <= quantile * f.stderr for f in fits])


@pytest.mark.parametrize("slope", [-0.3, 1e-3, 2.0, 40.0])
def test_an_exact_exponential_gives_its_slope_inside_a_tight_interval(slope):
    (found,) = fit(WARMED, 1e-6 * np.exp(slope * WARMED)[:, None])
    assert found["exponent"] == pytest.approx(slope, abs=1e-10)
    assert found["low"] <= slope <= found["high"] and found["high"] - found["low"] < 1e-10
    assert found["r2"] == pytest.approx(1) and found["aic"] < found["power_aic"] - 10


def test_an_exact_power_law_gives_its_power_and_is_the_better_model():
    (found,) = fit(WARMED, 3 * WARMED[:, None] ** 1.7)
    assert found["power"] == pytest.approx(1.7, abs=1e-10) and found["power_aic"] < found["aic"] - 10


@pytest.mark.parametrize("rho, n", [(0, 30), (0.5, 30), (0.5, 100), (0.8, 100), (0.9, 300)])
def test_intervals_cover_the_slope_of_noised_exponentials_as_often_as_they_say(rho, n):
    s = np.cumsum(np.minimum(0.03 * np.arange(1, n + 1), 0.3))
    y = np.log(1e-6 * np.exp(1.3 * s))[:, None] + noise(rho, n, seed=n)
    assert 0.91 <= coverage(s, y, 1.3) <= 1


@pytest.mark.parametrize("rho, n", [(0.5, 30), (0.8, 100), (0.9, 300)])
def test_intervals_for_independent_errors_would_fail_that_test(rho, n):
    s = np.cumsum(np.minimum(0.03 * np.arange(1, n + 1), 0.3))
    assert ols_coverage(s, 1.3 * s[:, None] + noise(rho, n, seed=n), 1.3) < 0.85


def test_intervals_are_not_just_wide():
    y = WARMED[:, None] + noise(0, 30, seed=1)
    found = slopes(WARMED, y)
    true_sd = 1 / math.sqrt(((WARMED - WARMED.mean()) ** 2).sum())
    assert np.median(found.high - found.low) / 2 < 1.6 * 1.96 * true_sd


def test_the_table_of_the_error_process_is_that_of_the_full_matrices():
    x = np.stack([np.ones(30), WARMED])
    m = np.eye(30) - x.T @ np.linalg.solve(x @ x.T, x)
    shift = (np.eye(30, k=1) + np.eye(30, k=-1)) / 2
    unit = (WARMED - WARMED.mean()) / np.linalg.norm(WARMED - WARMED.mean())
    table = module._table(WARMED)
    for i in (0, 10, 29):
        omega = linalg.toeplitz(module._RHOS[i] ** np.arange(30.0))
        trace = np.trace(m @ omega)
        dof = trace**2 / np.trace(m @ omega @ m @ omega)
        expected = [np.trace(m @ shift @ m @ omega) / trace, trace, stats.t.ppf(0.975, dof), unit @ omega @ unit]
        assert np.allclose(table[:, i], expected, rtol=1e-9)


def test_named_windows_meet_where_half_the_maximum_is_reached():
    distance = np.array([5.0, 0, 1, 2, 4, 8, 7, 8])
    early, late = named_windows(np.arange(8), distance)
    assert early == ("early", 2, 4) and late == ("late", 4, 7)
    assert named_windows(np.arange(8), np.zeros(8)) == []


def test_the_cumulative_rate_is_that_of_the_recorded_column(run):
    steps, rates = run.column("scalars", "shared", "batch.learning_rate")
    assert cumulative_rate(run).tolist() == [0, *np.cumsum(rates[np.argsort(steps)]).tolist()]


def test_growth_is_the_least_squares_slope_of_the_records_in_the_window(run):
    found = next(g for g in growth(run, windows=[(3, 12)]) if (g.arm, g.window) == ("nscl", "3:12"))
    s, log = cumulative_rate(run)[3:13], np.log(run.curve("distance", arm="nscl").values[3:13])
    expected = stats.linregress(s, log)
    assert found.exponent == pytest.approx(expected.slope, rel=1e-10) and found.n == 10
    assert found.r2 == pytest.approx(expected.rvalue**2, rel=1e-10)
    assert found.power == pytest.approx(stats.linregress(np.log(s), log).slope, rel=1e-10)
    assert found.doubling_steps == pytest.approx(math.log(2) / found.exponent / ((s[-1] - s[0]) / 9))


def test_every_table_has_a_time_to_double_only_where_growth_is_told_from_none(run):
    windows = [(first, first + width) for first in range(1, 15) for width in (4, 6)]
    fits = [g for g in growth(run, windows=windows) if not g.undefined]
    assert any(g.low > 0 for g in fits) and any(g.low <= 0 < g.exponent for g in fits)
    assert all(math.isnan(g.doubling_steps) == (not g.low > 0) for g in fits)


def test_every_arm_with_a_reference_grows_but_the_exact_twin(run):
    assert [(g.arm, g.window) for g in growth(run)] == [
        (arm, window) for arm in ("nscl", "fine", "nudged", "independent") for window in ("early", "late")
    ]


def test_a_layer_is_fitted_in_the_windows_of_the_whole(run):
    of_layers = [g for g in growth(run, per_layer=True) if (g.arm, g.window) == ("nscl", "late")]
    whole = next(g for g in growth(run) if (g.arm, g.window) == ("nscl", "late"))
    map_ = analysis.layers(run, "nscl", "distance")
    assert tuple(g.layer for g in of_layers) == map_.layers
    assert {(g.first, g.last) for g in of_layers} == {(whole.first, whole.last)}
    values = map_.values[whole.first :, 0]
    (alone,) = fit(cumulative_rate(run)[whole.first :], values[:, None])
    assert of_layers[0].exponent == pytest.approx(alone["exponent"], rel=1e-12)
    assert of_layers[0].low == pytest.approx(alone["low"], rel=1e-12)


@pytest.mark.parametrize("value, said", [(0, "is 0"), (math.nan, "is not a finite number")])
def test_a_distance_without_a_logarithm_is_undefined_and_says_where(spoilt, value, said):
    def spoil(tensors):
        tensors["state.distance"][4] = value

    spoilt.rewrite(spoilt.shard("scalars", "nscl", 1), spoil)
    found = next(g for g in growth(analysis.open_run(spoilt.path), windows=[(1, 12)]) if g.window == "1:12")
    assert found.undefined == f"the distance {said} at step 5" and found.better == ""
    assert all(math.isnan(v) for v in (found.exponent, found.low, found.high, found.doubling_steps, found.power))


def test_too_few_points_and_a_rate_of_zero_are_reasons():
    few = np.arange(1.0, LEAST_POINTS)
    assert fit(few, few[:, None]) == "recorded steps in the window: 5, fewer than 6"
    assert fit(np.ones(9), np.arange(1.0, 10)[:, None]) == "the learning rate is 0 throughout"


def test_a_window_not_yet_recorded_has_no_points(spoilt):
    spoilt.keep_lines(lambda entry: entry.last < 1)
    found = growth(analysis.open_run(spoilt.path), windows=[(12, 20)])[-1]
    assert (found.first, found.last, found.n) == (12, 20, 0) and found.undefined and math.isnan(found.s_first)


@pytest.mark.parametrize("window, said", [((0, 5), "1 <= FIRST"), ((5, 5), "FIRST < LAST"), ((5, 21), "has 20 steps")])
def test_a_window_outside_the_run_is_an_error(run, window, said):
    with pytest.raises(UserError, match=said):
        growth(run, windows=[window])


def test_a_close_call_between_models_is_undecided(run):
    found = growth(run)[1]
    assert replace(found, aic=0.0, power_aic=9.0).better == "undecided"
    assert replace(found, aic=0.0, power_aic=11.0).better == "exponential"
    assert replace(found, aic=0.0, power_aic=-11.0).better == "power law"
