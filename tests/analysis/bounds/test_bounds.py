"""Bounds beside what a run measured: they hold on every recorded step, and one that does not is reported."""

import csv
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import tiny
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

import analysis
from analysis.arrays.similarity_drift import similarity_drift
from analysis.bounds import BY_ROW, BY_STEP, TRIVIAL, bounds, figure
from analysis.bounds.checks import factors, vacuity, violations
from analysis.cli import main
from analysis.runs.curve import pick
from coupled.driver.train import train
from coupled.store import open_tensors
from coupled.theory import alignment
from coupled.theory.bounds import p2_cka, p2_rsa, sharp_cka, sharp_rsa
from coupled.theory.learning_rate import learning_rates
from coupled.theory.scale import unit_rows

pytestmark = pytest.mark.kernels


@pytest.fixture(scope="module")
def bounded(run):
    return bounds(run)


def recorded(trained, stream, arm, column):
    """step → row, from the shard files alone."""
    rows = {}
    for path in trained.glob(f"records/{stream}/{arm}/*.safetensors"):
        file = open_tensors(path)
        if column in file:
            rows |= dict(zip(file[f"{column.split('.')[0]}.step"].tolist(), file[column], strict=True))
    return rows


def test_every_bound_of_a_trained_run_holds_at_every_recorded_step(bounded):
    assert violations(bounded) == []
    slack = [curve for curve in bounded if curve.measure == "gap_slack"]
    assert len(slack) == 2 * 7 and min(curve.values.min() for curve in slack) >= -1e-12


def test_every_bound_has_the_facts_of_what_it_bounds(bounded):
    for bound in (curve for curve in bounded if curve.kind != "measured"):
        beside = [curve for curve in bounded if bound.bounds(curve)]
        assert len(beside) == 1 and np.isin(beside[0].steps, bound.steps).all(), (bound.measure, bound.bound)
        assert (beside[0].n, beside[0].d) == (bound.n, bound.d)


def test_the_gap_is_the_recorded_one_and_has_all_its_bounds(run, bounded):
    for arm, labelling in (("cl", "shape"), ("nscl", "shape*colour"), ("fine", "shape*colour")):
        measured = pick(bounded, "gap", arm, labelling=labelling)
        assert np.allclose(measured.values, run.curve("gap", arm=arm, labelling=labelling).values, rtol=1e-5)
        names = {curve.bound: curve for curve in bounded if curve.bounds(measured)}
        assert set(names) == {"data set", "per anchor", "tighter", "equal similarity"}
        assert (measured.values <= names["tighter"].values).all()
        assert (names["tighter"].values <= names["per anchor"].values).all()
        assert "not a bound for mini-batches: batches are uniform" in names["data set"].flags


def test_drift_is_the_distance_of_the_recorded_similarities(bounded, trained):
    curve = pick(bounded, "drift", "nscl")
    own, other = (recorded(trained, "surrogate", arm, "state.z") for arm in ("nscl", "cl"))
    for step, value in zip(curve.steps.tolist(), curve.values.tolist(), strict=True):
        a, b = (F.normalize(torch.tensor(rows[step], dtype=torch.float64), dim=1).numpy() for rows in (own, other))
        assert value == pytest.approx(np.linalg.norm(a @ a.T - b @ b.T), rel=1e-12, abs=1e-12)
    assert curve.at(0) == 0 and pick(bounded, "drift", "twin").values.max() == 0
    moved = pick(bounded, "moved", "cl")
    assert moved.at(0) == 0 and moved.at(20) > 0


def test_the_drift_bounds_stand_in_their_order(bounded):
    by = {name: pick(bounded, "drift", "nscl", bound=name).values for name in ("free", "rows", BY_STEP, BY_ROW)}
    simulated = pick(bounded, "surrogate_drift", "nscl").values
    assert len(simulated) == 21
    for low, high in zip(
        (simulated, by[BY_ROW], by[BY_STEP], by["rows"]),
        (*list(by.values())[:1:-1], by["rows"], by["free"]),
        strict=True,
    ):
        assert (low <= high * (1 + 1e-9)).all()
    assert pick(bounded, "drift", "nscl", bound=TRIVIAL).values[0] == pytest.approx(math.sqrt(2) * 16)
    assert pick(bounded, "surrogate_drift", "nscl", bound=TRIVIAL).values[0] == 32


def test_the_rates_are_the_recorded_ones(run, trained):
    rows = recorded(trained, "scalars", "shared", "batch.learning_rate")
    made = learning_rates(run.config.optimiser, run.planned_steps, run.config.batches.size)
    assert made.tolist() == pytest.approx([float(rows[step]) for step in range(20)], rel=1e-14)


def test_arms_that_the_bounds_are_not_about_say_why(bounded):
    flags = {arm: pick(bounded, "drift", arm).flags for arm in ("fine", "twin", "nudged", "independent")}
    assert "not nscl against nscl" in flags["fine"][0] and "not dcl against dcl" in flags["twin"][0]
    assert "nudged does not start where cl does" in flags["nudged"][0]
    assert {curve.arm for curve in bounded if curve.measure == "surrogate_drift"} == {"nscl"}
    assumed = pick(bounded, "drift", "nscl", bound="rows").flags[-1]
    assert "momentum 0.9" in assumed and "batch-norm" in assumed


@pytest.mark.parametrize("measure", ["cka_biased", "rsa"])
@pytest.mark.parametrize("source", ["batch", "surrogate", "panel"])
def test_the_sharp_bound_lies_between_p2s_and_the_measured_value(bounded, run, measure, source):
    for arm in ("nscl", "fine", "nudged", "independent"):
        measured, sharp, p2 = (
            pick(bounded, measure, arm, source=source, feature="z", bound=bound) for bound in (None, "sharp", "P2")
        )
        assert (p2.values <= sharp.values + 1e-12).all() and (sharp.values <= measured.values + 1e-9).all()
        assert sharp.kind == p2.kind == "lower bound" and "this same Σ" in sharp.flags[0]
    assert pick(bounded, "cka_biased", "nscl", source=source).estimator == "biased linear CKA"


def cosine_drift(x, y):
    """As curves have it: of unit rows."""
    return similarity_drift(unit_rows(x), unit_rows(y))


def literal_drift(x, y):
    """ρ, ρ*, r, r* word for word from docs/theory.md (32), (33)."""
    n = len(x)
    H = np.eye(n) - np.ones((n, n)) / n
    K, L = H @ x @ x.T @ H, H @ y @ y.T @ H
    unit = [t / np.linalg.norm(t, axis=1, keepdims=True) for t in (x, y)]
    a, b = ((1 - t @ t.T)[np.triu_indices(n, 1)] for t in unit)
    a, b = a - a.mean(), b - b.mean()
    norm = np.linalg.norm
    rho, r = norm(K - L), norm(b - a)
    return rho / norm(K), rho / max(norm(K), norm(L)), r / norm(a), r / max(norm(a), norm(b))


def pair_of(seed, n=7, d=3, apart=1.0):
    made = torch.Generator().manual_seed(seed)
    x, y = (torch.randn(n, d, generator=made, dtype=torch.float64) for _ in range(2))
    return F.normalize(x, dim=1), F.normalize(x + apart * y, dim=1)


def test_relative_drift_is_that_of_a_literal_computation():
    pairs = [pair_of(seed) for seed in range(3)]
    found = cosine_drift(*(torch.stack(side) for side in zip(*pairs, strict=True)))[1:]
    for k, (x, y) in enumerate(pairs):
        assert [float(t[k]) for t in found] == pytest.approx(literal_drift(x.numpy(), y.numpy()), rel=1e-10)
    flat = torch.tensor([[0.6, 0.8, 0.1]], dtype=torch.float64).expand(5, 3)
    assert all(value.isnan() for value in cosine_drift(flat, flat)[1:])


@given(st.integers(0, 10**6), st.integers(4, 9), st.integers(2, 5), st.sampled_from([1e-6, 0.1, 1.0, 10.0]))
def test_both_corollaries_hold_for_biased_cka_and_rsa(seed, n, d, apart):
    x, y = pair_of(seed, n, d, apart)
    drift, cka, rsa = (
        cosine_drift(x, y),
        alignment.linear_cka(x, y, debiased=False),
        alignment.rsa_with_error(x, y).value,
    )
    assert p2_cka(drift.rho) <= sharp_cka(drift.rho_star) + 1e-12 <= cka + 1e-9
    assert p2_rsa(drift.r) <= sharp_rsa(drift.r_star) + 1e-12 <= rsa + 1e-9


def orthogonal_cka():
    """(x, y) (4, 2): K − L is orthogonal to the smaller, L."""
    u, v = torch.tensor([[1.0, -1, 1, -1], [1, 1, -1, -1]], dtype=torch.float64)
    return torch.stack([u, 0.6 * v], 1), torch.stack([u, 0 * v], 1)


def orthogonal_rsa():
    """(x, y) (4, 4): unit rows whose cosines are .2(v + w) and .2v, v ⟂ w both of mean 0."""
    rows = []
    for entries in ({(0, 1): 1, (0, 2): -1, (0, 3): 0.5, (1, 2): -0.5}, {(0, 1): 1, (0, 2): -1}):
        sigma = torch.eye(4, dtype=torch.float64)
        for (i, j), value in entries.items():
            sigma[i, j] = sigma[j, i] = 0.2 * value
        rows.append(torch.linalg.cholesky(sigma))
    return rows


def test_an_error_orthogonal_to_the_smaller_matrix_attains_the_sharp_bounds():
    for x, y in (orthogonal_cka(), orthogonal_cka()[::-1]):
        drift, cka = similarity_drift(x, y), alignment.linear_cka(x, y, debiased=False)
        assert sharp_cka(drift.rho_star).item() == pytest.approx(cka.item(), abs=1e-12) and cka < 0.99
    for x, y in (orthogonal_rsa(), orthogonal_rsa()[::-1]):
        drift, rsa = cosine_drift(x, y), alignment.rsa_with_error(x, y).value
        assert sharp_rsa(drift.r_star).item() == pytest.approx(rsa.item(), abs=1e-12) and rsa < 0.99


def test_a_sharp_bound_relative_to_the_smaller_matrix_or_of_debiased_cka_is_not_attained():
    x, y = orthogonal_cka()[::-1]  # the smaller matrix first: ρ is relative to it, ρ* is not
    cka, drift = alignment.linear_cka(x, y, debiased=False), similarity_drift(x, y)
    assert abs(sharp_cka(drift.rho) - cka) > 1e-3 and drift.rho > drift.rho_star
    assert abs(alignment.linear_cka(x, y) - cka) > 1e-3


def test_p2s_bound_for_rsa_is_false_beyond_one():
    x = torch.linalg.cholesky(torch.eye(4, dtype=torch.float64) + 0.02 * (torch.ones(4, 4) - torch.eye(4)))
    a = torch.eye(4, dtype=torch.float64)
    a[0, 1] = a[1, 0] = 0.1
    b = torch.eye(4, dtype=torch.float64)
    b[0, 1] = b[1, 0] = -0.9
    x, y = torch.linalg.cholesky(a), torch.linalg.cholesky(b)
    r, rsa = cosine_drift(x, y).r, alignment.rsa_with_error(x, y).value
    assert r > 1 and rsa < (1 - r) / (1 + r) and p2_rsa(r) <= rsa + 1e-12


def spoilt_curves(bounded, measure, bound, factor, arm="nscl"):
    wrong = pick(bounded, measure, arm, bound=bound)
    return [replace(c, values=c.values * factor) if c is wrong else c for c in bounded]


@pytest.mark.parametrize(
    ("measure", "bound", "factor"),
    [
        ("gap", "tighter", 0.1),
        ("drift", "free", 1e-6),
        ("drift", BY_ROW, 0.9),
        ("cka_biased", "sharp", 1.5),
        ("rsa", "P2", 9.0),
    ],
)
def test_a_bound_that_does_not_hold_is_reported(bounded, measure, bound, factor):
    (said,) = violations(spoilt_curves(bounded, measure, bound, factor))
    assert bound in said and f"{measure} of nscl" in said and "does not hold" in said


def test_one_anchor_below_its_bound_is_reported(bounded):
    slack = pick(bounded, "gap_slack", "cl")
    values = slack.values.copy()
    values[3] = -0.01
    (said,) = violations([replace(c, values=values) if c is slack else c for c in bounded])
    assert "least slack" in said and "step 3" in said


def test_a_flag_that_takes_the_promise_away_silences_the_report(bounded):
    wrong = spoilt_curves(bounded, "gap", "data set", 1e-3)
    assert violations(wrong) == []


def test_vacuity_is_the_first_step_above_each_trivial_limit(bounded):
    free = pick(bounded, "drift", "nscl", bound="free")
    raised = spoilt_curves(bounded, "drift", "free", 32.0001 / free.at(10))
    (found,) = [each for each in vacuity(raised) if each.bound == "free"]
    assert found.surrogate_limit == 10 and 0 < found.true_limit < 10
    assert {each.bound for each in vacuity(bounded)} == {"paper", "free", "rows", BY_STEP, BY_ROW}


def test_the_factors_of_the_slack_multiply_to_it(run, bounded):
    found = factors(run, bounded)
    assert [each.bound for each in found] == ["paper", "free", "rows"]
    for each in found[1:]:
        assert each.ratio == pytest.approx(each.over_rows * each.over_surrogate * each.over_measured, rel=1e-12)
        assert each.step == 20 and each.over_surrogate >= 1
    assert found[0].exponential > 1 == found[1].exponential


def test_the_command_writes_its_results_and_says_where(spoilt, capsys):
    assert main(["bounds", str(spoilt.path), "--verbose"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == f"results: {spoilt.path}/analysis/ (bounds.csv bounds.png bounds.svg)"
    assert err == "" and "÷ measured" in out and "momentum 0.9" in out.replace("\n", " ")
    with (spoilt.path / "analysis" / "bounds.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["bound"] == "rows"]
    assert [int(row["step"]) for row in rows] == list(range(21)) and {row["kind"] for row in rows} == {"upper bound"}


def test_a_broken_bound_is_a_warning_of_the_command(spoilt, bounded, capsys, monkeypatch):
    wrong = spoilt_curves(bounded, "drift", "rows", 1e-9)
    monkeypatch.setattr("analysis.commands.bounds.bounds", lambda run: wrong)
    assert main(["bounds", str(spoilt.path)]) == 0
    assert "warning: the upper bound rows does not hold: drift of nscl" in capsys.readouterr().err


def test_equal_curves_give_equal_figures(spoilt, bounded):
    run = analysis.open_run(spoilt.path)  # a copy: others look into the results of the run itself
    first = [path.read_bytes() for path in figure.save(run, bounded)]
    assert first == [path.read_bytes() for path in figure.save(run, bounded)]


def test_labels_keep_their_order_and_do_not_overlap():
    places = figure._apart([0.5, 0.5, 0.51, 0.99, 2.0])
    assert places == sorted(places) and np.diff(places).min() > 0.06 and places[-1] <= 0.985


def test_an_unfinished_run_has_the_bounds_of_its_steps(spoilt):
    spoilt.keep_lines(lambda entry: entry.last < 10)
    found = bounds(analysis.open_run(spoilt.path))
    assert violations(found) == [] and pick(found, "gap", "cl").steps[-1] == 9
    assert pick(found, "drift", "nscl").steps.tolist() == [0, 1, 3]


def test_with_the_positive_in_the_denominator_the_bounds_are_of_that_gap(tmp_path):
    arms = {"cl": {"objective": "nt_xent"}, "ns": {"objective": "nscl", "positive_in_denominator": True}}
    run = analysis.open_run(train(tiny(tmp_path, arms=arms)))
    found = bounds(run)
    assert violations(found) == [] and pick(found, "surrogate_drift", "ns").values[-1] > 0
    rows = recorded(run.path, "scalars", "cl", "batch.gap_with_positive.size")
    measured = pick(found, "gap_with_positive", "cl")
    assert measured.values.tolist() == pytest.approx([float(rows[step]) for step in range(6)], rel=1e-4)
    assert {curve.bound for curve in found if curve.bounds(measured)} >= {"per anchor", "tighter", "data set"}


def test_balanced_batches_keep_the_data_set_bound(tmp_path):
    run = analysis.open_run(train(tiny(tmp_path, batches={"stream": "balanced"})))
    found = bounds(run)
    assert violations(found) == []
    assert not any("not a bound" in flag for flag in pick(found, "gap", "cl", bound="data set").flags)


NEVER = {"every": 0, "log": 0, "last": False}


@pytest.mark.parametrize(
    ("sections", "missing"),
    [
        ({"arms": {"cl": {"objective": "dcl"}}}, {"drift", "cka_biased"}),
        ({"record": {"surrogate": NEVER}}, {"drift", "moved"}),
        ({"record": {"similarity": NEVER}}, {"gap", "gap_slack"}),
        ({"record": {"surrogate": NEVER | {"steps": [3]}}}, {"surrogate_drift", "moved"}),
    ],
)
def test_what_is_not_recorded_is_left_out_by_the_command_too(tmp_path, capsys, sections, missing):
    path = train(tiny(tmp_path, **sections))
    assert main(["bounds", str(path)]) == 0 and capsys.readouterr().err == ""
    measures = {curve.measure for curve in bounds(analysis.open_run(path))}
    assert measures and not measures & missing
