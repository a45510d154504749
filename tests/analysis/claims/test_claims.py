"""From sweeps to findings: each verdict, each reason for none, whatever sweeps and arms are called."""

import math

import numpy as np
import pytest
from claimed_sweeps import ARMS

from analysis.claims import decide
from analysis.claims.other_seeds import pseudo_values
from analysis.claims.sweeps import Sweep, SweepRun
from analysis.claims.table import rule_of
from analysis.claims.verdicts import intervals

SPREAD = (-0.02, -0.01, 0.0, 0.01, 0.02)


def finding(sweeps, row):
    (of_row,) = [each for each in decide(sweeps) if each.row.id == row]
    return of_row


def verdict(sweeps, row):
    return finding(sweeps, row).verdict


def alignments(**arms):
    """CKA of every arm, the same at all steps, with a spread over seeds that nscl alone has."""

    def of_seed(seed):
        values = {arm: value + (0.3 * SPREAD[seed % 5] if arm == "nscl" else 0) for arm, value in arms.items()}
        return {"cka": {arm: lambda steps, v=value: np.full(len(steps), v) for arm, value in values.items()}}

    return of_seed


def test_a_sweep_of_five_seeds_gives_each_of_the_four_verdicts(maker):
    sweep = maker.seeds(alignments(nscl=0.9, scl=0.7, ce=0.97, placebo=0.9, independent=0.88))
    supported, contradicted, equivalent, undecided = (verdict([sweep], row) for row in ("2a", "2b", "12a", "12b"))
    assert [each.verdict for each in (supported, contradicted, equivalent, undecided)] == [
        "supported", "contradicted", "equivalent", "undecided",
    ]  # fmt: skip
    assert supported.effect == pytest.approx(0.2) and contradicted.effect == pytest.approx(-0.07)
    # Deviations of .3 times the spread: their squares add up to .00009.
    half = 2.776445105 * math.sqrt(0.00009 / 4) / math.sqrt(5)
    assert supported.high - supported.effect == pytest.approx(half)
    assert undecided.reason and not math.isnan(undecided.smallest)


def test_the_least_alignment_counts_from_step_100_on(maker):
    early = lambda steps: np.where(steps < 100, 0.1, np.where(steps == 150, 0.87, 0.95))  # noqa: E731
    sweep = maker.seeds(lambda seed: {"cka": {"nscl": lambda steps: early(steps) + 0.1 * SPREAD[seed]}})
    assert verdict([sweep], "1").effect == pytest.approx(0.07)
    assert verdict([sweep], "1").verdict == "supported"


FIRST = alignments(nscl=0.9, scl=0.7)
NO_SCL = {name: ARMS[name] for name in ("cl", "nscl")}


@pytest.mark.parametrize(
    ("curves", "options", "reason"),
    [
        (FIRST, {"seeds": range(4)}, "4 seeds, and 5 are needed"),
        (alignments(nscl=math.nan, scl=0.7), {}, "cka of nscl is undefined at step 100"),
        (FIRST, {"last": 200}, "s0 is unfinished: 200 of 300 steps"),
        (alignments(nscl=0.9), {"arms": NO_SCL}, "made has no arm scl"),
        (FIRST, {"steps": 60}, "cka of nscl is not recorded from step 100 on"),
        (lambda seed: {"motion": {"scl": lambda at: at / 1000}}, {}, "scl has moved 0.1 of |w_0| by step 100, and not"),
        (lambda seed: {"motion": {"cl": lambda at: at / 2000}}, {}, "cl has moved 0.05 of"),
        (lambda seed: {"motion": {"nscl": lambda at: at * math.nan}}, {}, "nscl has moved nan"),
        (lambda seed: {"mass": {"nscl": lambda at: 0 * at}}, {}, "nscl: no batch has two samples of a class"),
    ],
)
def test_what_is_lacking_is_a_reason_and_never_a_verdict(maker, curves, options, reason):
    found = verdict([maker.seeds(curves, **options)], "2a")
    assert found.verdict == "undecided" and reason in found.reason


def test_a_run_that_has_not_begun_or_lacks_a_stream_is_a_reason(maker):
    sweep = maker.seeds(alignments(nscl=0.9, scl=0.7))
    first, *others = sweep.runs
    waiting = SweepRun(first.name, first.path, first.values, None, "it has not begun")
    found = verdict([Sweep(sweep.path, (waiting, *others))], "2a")
    assert (found.verdict, found.reason) == ("undecided", "seed 0: s0: it has not begun")
    for run in sweep.runs:
        assert run.summary is not None
        for part in ("steps", "values"):
            del run.summary.tensors[f"cka.nscl.{part}"]
        run.summary.about["missing"]["cka.nscl"] = "it records no panel"
    assert "it records no panel" in verdict([sweep], "2a").reason


def test_no_sweep_that_fits_is_a_row_that_says_what_is_needed(maker):
    found = finding([maker.seeds(alignments(nscl=0.9))], "4a")
    assert (found.sweep, found.verdict.verdict) == ("", "undecided")
    assert found.verdict.reason == "no such sweep was given: made varies the seed alone"
    assert "a sweep that varies temperature and the seed, with the arms cl, nscl" in rule_of(found.row)


def temperature_sweep(maker, slope, motion=lambda tau: 1.0):
    """Three pairs in one run: CKA and probe accuracy grow by `slope` over the range of log τ, linearly in it; the
    accuracy of CL falls by as much.
    """
    taus = {"cold": 0.1, "mild": 0.5, "hot": 1.0}
    arms = {}
    for name, tau in taus.items():
        arms[f"a_{name}"] = {"objective": "dcl", "temperature": tau}
        arms[f"b_{name}"] = {"objective": "nscl", "temperature": tau, "reference": f"a_{name}"}
    share = {f"b_{name}": math.log(tau / 0.1) / math.log(10) for name, tau in taus.items()}

    def of_seed(seed):
        lines = {
            arm: lambda steps, s=s: 0.5 + (slope + 0.3 * SPREAD[seed]) * s + 0.1 * steps / 300
            for arm, s in share.items()
        }
        ends = {arm: motion(spec["temperature"]) for arm, spec in arms.items()}
        moved = {arm: lambda steps, end=end: end * steps / 300 for arm, end in ends.items()}
        return {"cka": lines, "motion": moved}

    def at_of(seed):
        by_pair = {name: 0.5 + (slope + 0.3 * SPREAD[seed]) * share[f"b_{name}"] for name in taus}
        own = {("probe_accuracy", f"b_{name}"): {300: value} for name, value in by_pair.items()}
        return own | {("probe_accuracy", f"a_{name}"): {300: 1 - value} for name, value in by_pair.items()}

    return maker.seeds(of_seed, arms=arms, at_of=at_of)


def test_what_accuracy_does_over_temperature_is_a_trend_of_each_of_both_arms(maker):
    of_nscl, of_cl = (verdict([temperature_sweep(maker, 0.1)], row) for row in ("4c1", "4c2"))
    assert (of_nscl.verdict, of_cl.verdict) == ("supported", "contradicted")
    assert of_nscl.effect == pytest.approx(0.1) and of_cl.effect == pytest.approx(-0.1)


def test_a_trend_is_the_change_over_the_range_of_the_axis(maker):
    for slope, expected in ((0.1, "supported"), (-0.1, "contradicted")):
        found = verdict([temperature_sweep(maker, slope)], "4a")
        assert found.effect == pytest.approx(slope) and found.verdict == expected
    assert verdict([temperature_sweep(maker, 0.0)], "4a").verdict == "equivalent"


def test_at_equal_motion_the_slope_is_of_the_values_where_arms_had_come_equally_far(maker):
    # The hottest pair gets to 1, half as far as the others, which are looked at where they had come to 1: step 150.
    sweep = temperature_sweep(maker, 0.1, motion=lambda tau: 1.0 if tau == 1 else 2.0)
    by_step, by_motion = (verdict([sweep], row) for row in ("4a", "4b"))
    assert by_step.effect == pytest.approx(0.1)
    # CKA there is .05 lower for two of three points at x = 0 and .699 of the range.
    x, y = np.array([0, math.log10(5), 1]), np.array([0.05, 0.1 * math.log10(5) + 0.05, 0.1 + 0.1])
    assert by_motion.effect == pytest.approx(np.polyfit(x, y, 1)[0])
    early = temperature_sweep(maker, 0.1, motion=lambda tau: 1.0 if tau == 1 else 1.0 / 0.31)
    assert "at step 93, before step 100" in verdict([early], "4b").reason


def at_checkpoints(**effects):
    """Of each seed: the share of cl, and collapse and deviation of both arms falling by so much after step 100."""

    def of_seed(seed):
        shift = 0.3 * SPREAD[seed]
        falls = {"nscl": effects.get("nscl", 0.3) + shift, "cl": effects.get("cl", 0.1)}
        measures = ("within_class_collapse", "simplex_deviation")
        shapes = {(m, arm): {100: 0.9, 300: 0.9 - falls[arm]} for m in measures for arm in falls}
        return shapes | {("nscl_loss_share", "cl"): {0: 0.0, 300: effects.get("share", 0.97) + shift}}

    return of_seed


def test_a_share_at_the_last_checkpoint_is_judged_against_nine_tenths(maker):
    for share, expected in ((0.97, "supported"), (0.8, "contradicted"), (0.9, "equivalent")):
        sweep = maker.seeds(lambda seed: {}, at_of=at_checkpoints(share=share))
        found = verdict([sweep], "8")
        assert found.verdict == expected and found.effect == pytest.approx(share - 0.9)


def test_a_share_is_about_nscl_which_has_to_have_moved_and_to_have_pairs(maker):
    for curves, reason in (
        ({"motion": {"nscl": lambda at: at / 3000}}, "nscl has moved 0.1 of |w_0| by step 300"),
        ({"mass": {"nscl": lambda at: 0 * at}}, "nscl: no batch has two samples of a class"),
    ):
        found = verdict([maker.seeds(lambda seed, c=curves: c, at_of=at_checkpoints())], "8")
        assert found.verdict == "undecided" and reason in found.reason


def test_collapse_is_a_fall_from_step_100_on_and_of_nscl_beyond_that_of_cl(maker):
    sweep = maker.seeds(lambda seed: {}, at_of=at_checkpoints(nscl=0.3, cl=0.1))
    of_row = {row: verdict([sweep], row) for row in ("11a", "11b", "11c", "11d")}
    assert [each.effect for each in of_row.values()] == pytest.approx([-0.3, -0.2, -0.3, -0.2])
    assert {each.verdict for each in of_row.values()} == {"supported"}
    rising = maker.seeds(lambda seed: {}, at_of=at_checkpoints(nscl=-0.1, cl=0.1))
    assert {verdict([rising], row).verdict for row in of_row} == {"contradicted"}


def test_a_sweep_that_keeps_none_of_the_checkpoints_is_not_taken(maker):
    found = finding([maker.seeds(lambda seed: {})], "11a")
    assert (found.sweep, found.verdict.reason) == (
        "", "no such sweep was given: made keeps no checkpoint of step 100",
    )  # fmt: skip


def batch_sweep(maker, slopes, steps=lambda size: 12800 // size):
    """Three batch sizes under two rules; at 64 both are one run."""
    runs = []
    for seed in range(5):
        for size in (32, 64, 128):
            for rules in ((*slopes,),) if size == 64 else [(rule,) for rule in slopes]:
                level = 0.9 + (slopes[rules[0]] + 0.3 * SPREAD[seed]) * math.log2(size / 32) / 2
                runs.append(
                    maker.run(
                        f"{size}-{rules[0]}-{seed}", seed, {"cka": {"nscl": lambda at, v=level: np.full(len(at), v)}},
                        {"batch_size": [size], "lr_rule": rules}, steps=steps(size), batches={"size": size},
                        optimiser={"scaling": rules[0].removeprefix("published-"), "reference_batch": 64},
                    )
                )  # fmt: skip
    return maker.sweep(runs)


def test_a_run_that_stands_for_several_rules_is_a_point_of_each(maker):
    sweep = batch_sweep(maker, {"linear": -0.1, "sqrt": -0.1})
    linear, root = (verdict([sweep], row) for row in ("5a1", "5b1"))
    assert (linear.verdict, root.verdict) == ("supported", "contradicted")
    assert linear.effect == pytest.approx(-0.1)
    assert "made has no run under lr_rule = constant" in verdict([sweep], "5d1").reason
    assert "made has no run under lr_rule = fourth-root" in verdict([sweep], "5c1").reason


def test_the_papers_rates_count_where_a_sweep_has_them(maker):
    both = batch_sweep(maker, {"published-sqrt": -0.1, "sqrt": 0.1})
    apart = Sweep(both.path, tuple(run for run in both.runs if run.values["batch_size"] != (64,)))
    assert verdict([apart], "5b1").effect == pytest.approx(-0.1)
    assert verdict([batch_sweep(maker, {"sqrt": 0.1})], "5b1").effect == pytest.approx(0.1)


def test_unequal_steps_are_no_points_and_a_missing_point_is_named(maker):
    sweep = batch_sweep(maker, {"linear": -0.1, "sqrt": -0.1})
    lacking = Sweep(sweep.path, tuple(run for run in sweep.runs if run.name != "32-linear-3"))
    assert verdict([lacking], "5a1").reason == "seed 3: no run with batch_size = 32"
    short = batch_sweep(maker, {"linear": -0.1}, steps=lambda size: 120 if size == 128 else 200)
    # 32 · 200 samples are the fewest: at 64 that is step 100, at 128 step 50.
    assert "before step 100" in verdict([short], "5a1").reason


def test_class_subsets_are_compared_at_equal_numbers_of_images(maker):
    def run(count, seed):
        alignment, gap = 0.9 + 0.1 * SPREAD[seed], 0.5 * (count - 1) ** (-1 + 0.5 * SPREAD[seed])
        curves = {
            "cka": {"nscl": lambda at: np.full(len(at), alignment)},
            "gap": {"cl": lambda at: np.full(len(at), gap)},
        }
        data = {"labelling": "shape", "classes": list(range(count))}
        return maker.run(f"c{count}-{seed}", seed, curves, {"classes": [count]}, data=data)

    equal = maker.sweep([run(count, seed) for count in (2, 4, 8) for seed in range(5)])
    assert verdict([equal], "3b").verdict == "equivalent"
    slope = verdict([equal], "7b")
    assert (slope.verdict, slope.effect) == ("supported", pytest.approx(0, abs=1e-12))
    for run in equal.runs[:5]:
        assert run.summary is not None
        run.summary.about["images"] = 500
    assert "the number of images varies with that of classes: 500, 1000" in verdict([equal], "3b").reason


def test_granularity_finds_arms_by_their_labels_and_placebos_beside_them(maker):
    arms = {"a": {"objective": "dcl"}}
    for name, labelling in (("x", "size"), ("y", "shape"), ("z", "shape*colour")):
        arms |= {name: {"objective": "nscl", "labelling": labelling}, f"{name}_p": {"kind": "placebo", "of": name}}
    lines = {"x": 0.80, "y": 0.86, "z": 0.95, "x_p": 0.80, "y_p": 0.80, "z_p": 0.80}

    def of_seed(seed):
        return {
            "cka": {
                arm: lambda at, v=value + (0.2 * SPREAD[seed] if arm == "z" else 0): np.full(len(at), v)
                for arm, value in lines.items()
            }
        }

    sweep = maker.seeds(of_seed, arms=arms)
    slope = np.polyfit(np.log([2, 8, 64]), [0.80, 0.86, 0.95], 1)[0] * math.log(32)
    for row in ("3a", "3a1"):
        assert verdict([sweep], row).effect == pytest.approx(slope) and verdict([sweep], row).verdict == "supported"


def test_weights_are_judged_at_the_last_step(maker):
    sweep = maker.seeds(
        lambda seed: {"weight_gap": {"nscl": lambda at: at / 300 + 0.1 * SPREAD[seed], "placebo": lambda at: at / 400}}
    )
    assert verdict([sweep], "6a").effect == pytest.approx(2 / 3)
    assert verdict([sweep], "6c1").effect == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("law", "expected"), [(lambda S: np.exp(S / 8), "supported"), (lambda S: S**2, "contradicted")]
)
def test_the_law_of_growth_is_decided_by_every_seed(maker, law, expected):
    # S of a constant rate of .1 is a tenth of the step. The noise keeps AIC finite.
    def of_seed(seed):
        noise = np.exp(0.001 * np.random.default_rng(seed).standard_normal(301))
        return {"distance": {"nscl": lambda at: law(at / 10) * noise * (at > 0)}}

    sweep = maker.seeds(of_seed)
    assert [verdict([sweep], row).verdict for row in ("6b1", "6b2")] == [expected] * 2
    still = maker.seeds(lambda seed: {"distance": {"nscl": lambda at: 0 * at}})
    assert "no window early" in verdict([still], "6b1").reason


def test_two_sweeps_that_fit_are_two_rows(maker):
    one, two = (maker.seeds(alignments(nscl=0.9, scl=value)) for value in (0.7, 0.9))
    found = [each for each in decide([one, two]) if each.row.id == "2a"]
    assert [each.verdict.verdict for each in found] == ["supported", "equivalent"]


def test_pseudo_values_of_a_mean_over_pairs_give_back_a_sum_of_seeds():
    own = {1: 0.2, 2: 0.5, 3: -0.1, 7: 0.4}
    pairs = {(a, b): own[a] + own[b] for a in own for b in own if a < b}
    assert pseudo_values(pairs) == pytest.approx({seed: 2 * value for seed, value in own.items()})


def test_pairs_of_seeds_are_wrong_at_most_one_time_in_twenty():
    generator, pairs = np.random.default_rng(3), [(a, b) for a in range(5) for b in range(a)]
    for of_seeds, of_pairs in ((1.0, 0.0), (0.0, 1.0), (1.0, 1.0)):
        own = of_seeds * generator.standard_normal((2000, 5))
        values = [own[:, a] + own[:, b] + of_pairs * generator.standard_normal(2000) for a, b in pairs]
        pseudo = pseudo_values(dict(zip(pairs, values, strict=True)))
        _, low, high = intervals(np.stack([pseudo[seed] for seed in range(5)], -1))
        assert max((low > 0).mean(), (high < 0).mean()) <= 0.05


def test_several_runs_at_one_value_are_no_point_of_a_trend(maker):
    """What differs between them is no axis of claims, such as the warm-up."""
    runs = [
        maker.run(f"r{rho}-{i}-s{seed}", seed, {}, {"imbalance": [rho]}, data={"labelling": "size", "imbalance": rho})
        for seed in range(5)
        for rho, i in ((10.0, 0), (100.0, 0), (100.0, 1))
    ]
    found = verdict([maker.sweep(runs)], "13a")
    assert found.verdict == "undecided" and "several runs with one imbalance" in found.reason
