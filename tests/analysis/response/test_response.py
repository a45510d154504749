"""What came out over what was put in: points, curves and bounds of a small float64 run, and what cannot be told."""

import csv
import itertools
import math

import numpy as np
import pytest
import torch
from helpers import tiny
from safetensors.numpy import load_file

import analysis
from analysis.cli import main
from analysis.response import figure, paths, response, table
from analysis.response.paths import path_of
from analysis.runs.curve import pick
from coupled.driver.train import train

pytestmark = pytest.mark.slow
STEPS = 12
LEDGER = {"ledger": {"every": 1}, "flips": {"every": 1}}
COPIES = {
    f"{of}-{draw}": {"kind": "nudged", "of": of, "scale": 1e-4, "draw": draw}
    for of, draws in (("cl", (1, 2, 3)), ("nscl", (4, 5)))
    for draw in draws
}
ARMS = {
    "cl": {"objective": "dcl"},
    "nscl": {"objective": "nscl"},
    "placebo": {"kind": "placebo", "of": "nscl"},
    "tiny": {"kind": "nudged", "scale": 1e-13},
    "independent": {"kind": "independent"},
    "twin": {"kind": "twin"},
    **COPIES,
}


def made(folder, **sections):
    torch.set_num_threads(1)
    sections = {"arms": ARMS, "record": LEDGER, "ledger": {"contrast": ["nscl", "placebo"]}, **sections}
    return train(tiny(folder, **{"train": {"steps": STEPS, "precision": "float64"}, **sections}))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return made(tmp_path_factory.mktemp("response"))


@pytest.fixture(scope="module")
def run(path):
    return analysis.open_run(path)


@pytest.fixture(scope="module")
def found(run):
    return response(run)


def point_of(found, arm):
    return next(point for point in found.points if point.arm == arm)


def totals(path, arm, column, *, norm):
    shards = [load_file(file) for file in sorted((path / "records/ledger" / arm).iterdir())]
    rows = np.concatenate([shard[column] for shard in shards if column in shard])
    return np.sqrt((rows**2).sum(1)) if norm else rows.sum(1)


def test_a_nudge_puts_in_its_distance_at_the_start(run, found):
    for arm in ("tiny", *COPIES):
        distance, point = run.curve("distance", arm=arm), point_of(found, arm)
        assert point.put_in == distance.values[0] > 0
        assert point.amplification == distance.values[-1] / distance.values[0]
        assert (point.distance, point.step) == (distance.values[-1], STEPS)


def test_another_loss_puts_in_what_its_gradients_push(path, found):
    config = analysis.open_run(path).config
    pushed = totals(path, "nscl", "batch.objective", norm=True)
    rates = [0.3 * 0.5 * (1 + math.cos(math.pi * t / STEPS)) for t in range(STEPS)]
    literal = sum(
        rates[s] * sum(config.optimiser.momentum ** (s - r) * pushed[r] for r in range(s + 1)) for s in range(STEPS)
    )
    assert point_of(found, "nscl").put_in == pytest.approx(literal, rel=1e-12)


def test_what_puts_in_nothing_small_says_why(found):
    for arm, why in (("independent", "it starts elsewhere"), ("twin", "nothing is put in")):
        assert math.isnan(point_of(found, arm).put_in) and math.isnan(point_of(found, arm).amplification)
        assert any(line.startswith("no amplification of") and arm in line and why in line for line in found.missing)


def test_every_path_bound_holds_at_every_step(run, found):
    bounds = [curve for curve in found.curves if curve.kind == "upper bound"]
    assert {(bound.arm, bound.bound) for bound in bounds} == {
        (arm, name) for arm in ("nscl", "placebo") for name in ("along the path", "joint", "the second paper's form")
    }
    for bound in bounds:
        distance = run.curve("distance", arm=bound.arm)
        assert len(bound.steps) == STEPS + 1
        # With momentum the second paper's form is no bound, and says so.
        if bound.bound == "the second paper's form":
            assert any("not a bound with momentum" in flag for flag in bound.flags)
        else:
            assert (bound.values >= distance.values * (1 - 1e-9)).all()


def test_without_momentum_there_is_the_contracted_bound_too(tmp_path):
    root = made(tmp_path, arms={"cl": ARMS["cl"], "nscl": ARMS["nscl"]}, optimiser={"momentum": 0.0}, ledger={})
    run = analysis.open_run(root)
    for curve in response(run).curves:
        if curve.kind == "upper bound":
            assert not any("not a bound" in flag for flag in curve.flags)
            assert (curve.values >= run.curve("distance", arm="nscl").values * (1 - 1e-9)).all()
    assert pick(response(run).curves, "distance", "nscl", bound="contracted") is not None


ODD = {
    "k": {"kind": "kicked", "match": "nscl"},
    "kk": {"kind": "kicked", "match": "nscl", "reference": "nscl", "draw": 2},
    "kt": {"kind": "nudged", "of": "k", "scale": 1e-4},
    "late": {"kind": "nudged", "scale": 1e-3, "at": 2},
    "far": {"kind": "nudged", "of": "nscl", "reference": "cl", "scale": 0.1},
}


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_arms_that_are_moved_have_bounds_that_hold_and_no_amplification_of_two_things(tmp_path, precision):
    arms, short = {"cl": ARMS["cl"], "nscl": ARMS["nscl"], **ODD}, {"steps": 5, "precision": precision}
    root = made(tmp_path, arms=arms, ledger={}, train=short)
    found = response(analysis.open_run(root))
    assert not table.violations(found)
    bounds = {curve.arm for curve in found.curves if curve.kind == "upper bound"}
    assert bounds == {"nscl", "k", "kk", "late", "far"}
    beside = next(line for line in found.missing if "nudges or kicks come beside another loss" in line)
    assert "kk, far" in beside
    kicked, matched = point_of(found, "k"), totals(root, "nscl", "batch.objective", norm=True)
    rates = [0.3 * 0.5 * (1 + math.cos(math.pi * t / 5)) for t in range(5)]
    assert kicked.put_in == pytest.approx(sum(r * b for r, b in zip(rates, matched, strict=True)), rel=1e-6)


def test_a_bound_that_does_not_hold_is_said(path, monkeypatch):
    monkeypatch.setattr(paths.bounds, "joint", lambda of: of.distance / 2)
    found = response(analysis.open_run(path))
    assert any("path bound joint is VIOLATED at step 1" in line for line in table.violations(found))


@pytest.mark.parametrize("schedule", [{"last": True}, {"every": 5}])
def test_a_ledger_that_lacks_steps_gives_what_there_is(tmp_path, schedule):
    arms, short = {"cl": ARMS["cl"], "nscl": ARMS["nscl"]}, {"steps": 5}
    root = made(tmp_path, arms=arms, record={"ledger": schedule}, ledger={}, train=short)
    found = response(analysis.open_run(root))
    assert any(line.startswith("no path bounds of nscl") for line in found.missing)
    figure.save(analysis.open_run(root), found)


@pytest.mark.parametrize(
    ("optimiser", "train_", "ledger", "flags"),
    [
        ({}, {}, {"every": 1}, []),
        ({}, {}, {"every": 2}, ["the gradient split only: record.ledger does not look at every step"]),
        ({}, {"precision": "bf16"}, {"every": 1}, ["the gradient split only: train.precision = bf16"]),
        (
            {"clip_norm": 0.1}, {}, {"every": 1},
            ["gradients before clipping", "the gradient split only: optimiser.clip_norm scales every arm"],
        ),
        (
            {"name": "lars"}, {}, {"every": 1},
            ["gradients before scaling by lars", "the gradient split only: optimiser.name = lars"],
        ),
    ],
)  # fmt: skip
def test_curves_of_a_ledger_say_what_its_gradients_are_and_lack(tmp_path, optimiser, train_, ledger, flags):
    arms, train_ = {"cl": ARMS["cl"], "nscl": ARMS["nscl"]}, {"steps": 2, "precision": "float32", **train_}
    root = made(
        tmp_path, arms=arms, optimiser=optimiser, train=train_, record={"ledger": ledger}, ledger={"contrast": ["nscl"]}
    )
    found = response(analysis.open_run(root))
    for measure, lacks in (("instability", flags), ("objective", flags), ("contrast", flags[:-1])):
        curve = pick(found.curves, measure, "nscl")
        assert len(curve.flags) == len(lacks)
        assert all(flag.startswith(start) for flag, start in zip(curve.flags, lacks, strict=True))
        assert all(any(flag in line for line in table.lines(analysis.open_run(root), found)) for flag in curve.flags)


def test_a_path_is_the_recorded_one(path, run):
    read = path_of(run, "nscl")
    assert read.distance.tolist() == totals(path, "nscl", "state.distance", norm=True).tolist()
    assert read.instability_distance.tolist() == totals(path, "nscl", "batch.instability_distance", norm=False).tolist()
    assert len(read.rates) == STEPS == read.steps and not read.added.any()


def test_flips_are_added_up_and_the_first_is_named(path, run, found):
    curve = pick(found.curves, "flipped", "nscl")
    rows = np.concatenate([load_file(f)["state.flipped"] for f in sorted((path / "records/flips/nscl").iterdir())])
    assert curve.values.tolist() == rows.sum(1).tolist() and rows[0].sum() == 0
    assert point_of(found, "nscl").first_flip == int(np.flatnonzero(rows.sum(1))[0])
    assert point_of(found, "tiny").first_flip is None and point_of(found, "tiny").growth > 0


def test_energy_shares_are_of_kept_weights(path, found):
    (share,) = [share for share in found.shares if share.step == STEPS]
    weights = {
        name: np.concatenate([
            values.ravel()
            for key, values in load_file(path / f"checkpoints/step-{STEPS:09d}/{name}.safetensors").items()
            if key.startswith("weights.")
        ])
        for name in COPIES
    }  # fmt: skip
    x, y = ([name for name in COPIES if name.startswith(f"{of}-")] for of in ("cl", "nscl"))

    def mean(pairs):
        return np.mean([((weights[a] - weights[b]) ** 2).sum() for a, b in pairs])

    within = mean(itertools.combinations(x, 2)) / 2 + mean(itertools.combinations(y, 2)) / 2
    assert share.share == pytest.approx(within / mean(itertools.product(x, y)), rel=1e-9)
    assert (share.first, share.second, share.runs, share.scale) == ("cl", "nscl", (3, 2), 1e-4)


def test_an_arm_is_ranked_among_its_placebos(tmp_path):
    placebos = {f"p{k}": {"kind": "placebo", "of": "nscl", "draw": k, "across": "run"} for k in range(1, 20)}
    arms = {"cl": ARMS["cl"], "nscl": ARMS["nscl"], **placebos}
    root = made(tmp_path, arms=arms, train={"steps": 1}, record={}, ledger={})
    run = analysis.open_run(root)
    gap, cka = response(run).ranks
    values = [run.curve("weight_gap", arm=arm).values[-1] for arm in placebos]
    assert (gap.measure, gap.placebos, gap.exact) == ("weight_gap", 19, True)
    assert (gap.rank.below, gap.rank.above) == (sum(v < gap.value for v in values), sum(v > gap.value for v in values))
    assert cka.measure == "cka" and 0 < cka.rank.p <= 1


def test_a_run_without_ledger_and_flips_says_so_and_still_has_its_nudges(tmp_path):
    arms, short = {name: ARMS[name] for name in ("cl", "nscl", "tiny")}, {"steps": 2, "precision": "float64"}
    root = made(tmp_path, arms=arms, record={}, ledger={}, train=short)
    found = response(analysis.open_run(root))
    assert "no path bounds of nscl, tiny: it has no ledger" in found.missing
    assert point_of(found, "tiny").amplification > 1 and math.isnan(point_of(found, "nscl").amplification)


def test_a_run_with_one_arm_is_refused(tmp_path, capsys):
    root = made(tmp_path, arms={"cl": ARMS["cl"]}, record={}, ledger={}, train={"steps": 1})
    assert main(["response", str(root)]) == 2
    assert "train two arms" in capsys.readouterr().err


def test_the_command_writes_tables_and_figure_and_says_where(path, capsys):
    assert main(["response", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "energy share of cl and nscl" in shown and "at the weights of cl the gradient of its loss differs" in shown
    assert (
        shown.rstrip()
        .splitlines()[-1]
        .endswith("(response.csv response_curves.csv response_shares.csv response.png response.svg)")
    )
    with (path / "analysis/response.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["arm"] for row in rows] == [arm for arm in ARMS if arm != "cl"]
    assert rows[-1]["put_in"] and not next(row for row in rows if row["arm"] == "twin")["put_in"]
    before = (path / "analysis/response.png").read_bytes()
    assert main(["response", str(path)]) == 0 and (path / "analysis/response.png").read_bytes() == before
