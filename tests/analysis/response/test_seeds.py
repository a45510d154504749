"""The response over seeds: means with intervals, arms less their controls, contrasts and energy shares."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import tiny
from scipy import stats

import analysis
from analysis.arrays.amplification import rank_among
from analysis.cli import main
from analysis.output.table import title
from analysis.response import response, seeds, seeds_table
from analysis.response.paths import bounds
from analysis.response.ranks import PlaceboRank, joint_ranks
from analysis.response.seeds import SeedCurve, compared, seed_curves
from analysis.runs.curve import pick
from analysis.runs.numbers import number
from coupled.driver.train import train

pytestmark = pytest.mark.slow
COPIES = {
    f"{of}-{draw}": {"kind": "nudged", "of": of, "scale": 1e-3, "draw": draw}
    for of, draws in (("cl", (1, 2)), ("nscl", (3, 4)))
    for draw in draws
}
ARMS = {
    "cl": {"objective": "dcl"},
    "nscl": {"objective": "nscl"},
    "placebo": {"kind": "placebo", "of": "nscl"},
    "kicked": {"kind": "kicked", "match": "nscl"},
    "matched": {"kind": "nudged", "scale": "matched", "match": "nscl"},
    "scl": {"objective": "scl"},
    "twin": {"kind": "twin"},
    **COPIES,
}


def trained(folder, seed, **sections):
    torch.set_num_threads(1)
    sections = {
        "arms": ARMS,
        "record": {"ledger": {"every": 1}},
        "ledger": {"contrast": ["nscl", "placebo"]},
        "checkpoints": {"keep": {"steps": [2], "last": True}},
        **sections,
    }
    return train(tiny(folder, seed=seed, train={"steps": 3}, **sections))


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return [trained(tmp_path_factory.mktemp(f"seed-{seed}"), seed) for seed in (0, 1, 7)]


@pytest.fixture(scope="module")
def runs(paths):
    return [analysis.open_run(path) for path in paths]


@pytest.fixture(scope="module")
def responses(runs):
    return [response(run) for run in runs]


@pytest.fixture(scope="module")
def curves(runs, responses):
    return {(curve.measure, curve.arm, curve.against): curve for curve in seed_curves(runs, responses)}


def test_an_arm_has_the_value_of_every_seed_and_students_interval(runs, curves):
    for measure in ("weight_gap", "cka"):
        curve = curves[measure, "nscl", ""]
        each = [run.curve(measure, arm="nscl").at(3) for run in runs]
        assert curve.values[:, -1].tolist() == each and curve.steps[-1] == 3
        interval = curve.interval()
        known = stats.ttest_1samp(each, 0).confidence_interval()
        assert interval == pytest.approx((np.mean(each), known.low, known.high), rel=1e-9)


def test_a_difference_is_that_of_a_paired_test(runs, curves):
    curve = curves["weight_gap", "nscl", "placebo"]
    pair = [[run.curve("weight_gap", arm=arm).at(3) for run in runs] for arm in ("nscl", "placebo")]
    known = stats.ttest_rel(*pair).confidence_interval()
    assert curve.interval()[1:] == pytest.approx((known.low, known.high), rel=1e-9)


def test_an_arm_is_compared_with_what_stands_for_its_loss_and_with_nudges_of_its_reference(runs):
    controls = ["placebo", "kicked", "matched", "cl-1", "cl-2"]
    assert compared(runs[0]) == [("nscl", control) for control in controls]  # and scl, without controls, with none


def test_contrasts_are_over_those_of_the_placebo(responses, curves):
    curve = curves["contrast", "nscl", "placebo"]
    for row, found in zip(curve.values, responses, strict=True):
        own, other = (pick(found.curves, "contrast", arm) for arm in ("nscl", "placebo"))
        assert own is not None and other is not None
        assert row.tolist() == (own.values / other.values).tolist() and len(row) == 3


def test_shares_are_joined_step_by_step(responses, curves):
    curve = curves["energy_share", "cl", "nscl"]
    assert curve.steps.tolist() == [2, 3]
    assert curve.values.tolist() == [[share.share for share in found.shares] for found in responses]


def test_only_steps_that_all_have_are_joined(runs):
    whole = [run.curve("weight_gap", arm="nscl") for run in runs]
    cut = [replace(whole[0], steps=whole[0].steps[1:], values=whole[0].values[1:]), *whole[1:]]
    joined = seeds._joined("weight_gap", "nscl", "", cut)
    assert joined is not None and joined.steps.tolist() == [1, 2, 3] and joined.values[1, 0] == whole[1].values[1]
    assert seeds._joined("weight_gap", "nscl", "", [*whole[1:], None]) is None


def test_what_is_not_known_of_one_seed_is_not_known_of_the_mean():
    curve = SeedCurve("cka", "nscl", "placebo", np.array([3]), np.array([[0.5], [np.nan], [0.7]]))
    assert all(np.isnan(curve.interval()))
    assert seeds_table._differences([curve]) == [("nscl", "placebo", "–", "–")]


@pytest.mark.parametrize(
    "values, cell",
    [
        ([0.0, 0.0, 0.0], "0"),
        ([0.2, 0.3, 0.4], "+0.300 ± 0.248 *"),
        ([-0.1, 0.0, 0.1], "0 ± 0.248"),
        ([1e-9, 3e-9, 2e-9], "+2e-09 ± 2e-09"),
    ],
)
def test_cells_show_the_half_width_and_mark_what_leaves_out_0(values, cell):
    curve = SeedCurve("weight_gap", "nscl", "placebo", np.array([3]), np.array(values)[:, None])
    assert seeds_table._differences([curve])[0][2] == cell


def test_the_command_joins_runs_of_several_seeds_and_says_where(paths, capsys):
    assert main(["response", *map(str, paths)]) == 0
    shown = capsys.readouterr().out
    assert "seeds 0, 1, 7" in shown and "Mean over 3 seeds" in shown
    assert shown.rstrip().splitlines()[-1].endswith("(response_seeds.csv response_seeds.png response_seeds.svg)")
    with (paths[0] / "analysis/response_seeds.csv").open() as file:
        rows = {(row["measure"], row["arm"], row["against"], row["step"]): row for row in csv.DictReader(file)}
    assert {measure for measure, *_ in rows} == {"weight_gap", "cka", "contrast", "energy_share"}
    row = rows["weight_gap", "nscl", "placebo", "3"]
    assert float(row["low"]) <= float(row["mean"]) <= float(row["high"]) and row["seed 7"]
    assert not (paths[1] / "analysis/response_seeds.csv").exists()


def test_arms_that_end_at_different_steps_are_shown_at_one(runs, responses, monkeypatch):
    whole = seeds._measured

    def cut(run, measure, arm):
        curve = whole(run, measure, arm)
        if arm != "scl":
            return curve
        return replace(curve, steps=curve.steps[:-1], values=curve.values[:-1], interval=None, null=None)

    monkeypatch.setattr(seeds, "_measured", cut)
    own = [curve for curve in seed_curves(runs, responses) if not curve.against and curve.measure == "weight_gap"]
    assert len({int(curve.steps[-1]) for curve in own}) == 1 and own[0].steps[-1] < 3


def test_nudges_of_two_scales_are_two_shares(responses):
    other = [[replace(share, scale=0.5) for share in found.shares] for found in responses]
    twice = [replace(found, shares=[*found.shares, *more]) for found, more in zip(responses, other, strict=True)]
    assert [curve.scale for curve in seeds._shares(twice)] == [1e-3, 0.5]


def test_a_run_that_is_not_finished_cuts_the_steps_and_is_named(runs, curves):
    cut = [replace(curve, steps=curve.steps[:-1], values=curve.values[:, :-1]) for curve in curves.values()]
    whole = [curve for curve in curves.values() if curve.measure == "weight_gap"]
    assert seeds_table.notes(runs, cut).startswith("At step 1,")  # the panel's last but one
    apart = [*whole, *(curve for curve in cut if curve.measure == "cka")]
    assert "At the last step that all seeds have, 3 (weight gap), 1 (CKA)" in seeds_table.notes(runs, apart)
    assert seeds_table.notes(runs, whole).endswith("No CKA: not recorded, or not yet in every seed.")


def test_markdown_has_two_tables_and_leaves_the_paths_to_standard_error(paths, capsys):
    assert main(["response", "--markdown", *map(str, paths[:2])]) == 0
    printed = capsys.readouterr()
    assert printed.out.count("| --- | --- | ---: | ---: |") == 2 and "results:" not in printed.out
    assert printed.err.count("results:") == 3


def test_what_an_earlier_call_joined_goes_when_a_run_is_shown_with_others(paths):
    assert main(["response", *map(str, paths)]) == 0
    assert (paths[0] / "analysis/response_seeds.csv").exists()
    assert main(["response", str(paths[1]), str(paths[0])]) == 0
    assert (paths[1] / "analysis/response_seeds.png").exists()
    assert not list((paths[0] / "analysis").glob("response_seeds.*"))


def test_a_violated_bound_of_one_seed_is_said_with_the_seed(paths, monkeypatch, capsys):
    monkeypatch.setattr(bounds, "joint", lambda of: of.distance / 2)
    assert main(["response", *map(str, paths[1:])]) == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if "VIOLATED" in line]
    assert any("seed 7: nscl: the path bound joint" in line for line in warnings) and len(warnings) >= 2


def test_titles_name_an_activation_that_is_not_the_encoders_own(runs, tmp_path):
    other = analysis.open_run(trained(tmp_path, 0, model={"activation": "gelu"}, record={}, ledger={}))
    assert "gelu" in title(other) and "relu" not in title(runs[0])


def test_runs_that_differ_in_more_than_the_seed_are_not_joined(paths, tmp_path, capsys):
    other = trained(tmp_path, 1, optimiser={"learning_rate": 0.1}, record={}, ledger={})
    assert main(["response", str(paths[0]), str(other)]) == 0
    assert "Mean over" not in capsys.readouterr().out


def test_a_run_given_twice_is_refused_before_anything_is_written(paths, capsys):
    assert main(["response", str(paths[0]), str(paths[0])]) == 2
    assert "every run once" in capsys.readouterr().err


def test_ranks_of_all_seeds_are_joined_and_written(tmp_path, capsys):
    placebos = {f"p{k}": {"kind": "placebo", "of": "nscl", "draw": k, "across": "run"} for k in range(1, 20)}
    arms = {"cl": ARMS["cl"], "nscl": ARMS["nscl"], **placebos}
    short = {"arms": arms, "record": {}, "ledger": {}, "checkpoints": {}}
    roots = [trained(tmp_path / str(seed), seed, **short) for seed in (0, 1)]
    ranks = [response(analysis.open_run(root)).ranks for root in roots]
    assert main(["response", *map(str, roots)]) == 0
    shown = capsys.readouterr().out
    with (roots[0] / "analysis/response_seeds_ranks.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["measure"] == "weight_gap"]
    assert [row["seed"] for row in rows] == ["0", "1", "all"]
    below = [of_seed[0].rank.below for of_seed in ranks]
    assert [int(row["below"]) for row in rows] == [*below, sum(below)] and rows[-1]["placebos"] == "38"
    # No ties: the chance that two places, each any of 0 to 19, add up to as little, or as much.
    sums = [a + b for a in range(20) for b in range(20)]
    extreme = min(sum(below), 38 - sum(below))
    p = min(1, 2 * sum(each <= extreme for each in sums) / 400)
    assert float(rows[-1]["p_two_sided"]) == pytest.approx(p) and rows[-1]["exact"] == "True"
    line = next(line for line in shown.splitlines() if line.startswith("nscl: weight_gap over 2 seeds"))
    assert (
        f"{sum(below)} of 38 placebos below ({below[0]}, {below[1]})" in line
        and f"joint p = {number(p)} two-sided" in line
    )
    assert main(["response", "--markdown", *map(str, roots)]) == 0
    assert line in capsys.readouterr().out
    assert main(["response", str(roots[0])]) == 0
    assert not (roots[0] / "analysis/response_seeds_ranks.csv").exists()


def test_a_joint_rank_is_exact_where_every_seed_is_and_needs_every_seed():
    one = PlaceboRank("nscl", "cka", "batch", 3, 0.5, 19, rank_among(0.5, [1.0] * 19), True, "within the first epoch")
    other = replace(one, exact=False, why="beyond the first epoch")
    joint = joint_ranks([[one], [other]])
    assert [(each.exact, each.why) for each in joint] == [(False, "beyond the first epoch")]
    assert joint[0].p == pytest.approx(2 / 400) and "for orientation: beyond" in seeds_table.rank_lines(joint)[0]
    assert joint_ranks([[one], [one]])[0].exact and not joint_ranks([[one], []])
    assert not joint_ranks([[one], [replace(one, across="run")]])
