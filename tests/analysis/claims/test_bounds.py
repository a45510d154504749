"""Bounds: one violation decides, and what was not recorded decides nothing."""

import math

import numpy as np
import pytest
import torch

from analysis.aggregation.gap import Gap
from analysis.arrays.few_shot_bounds import Bound
from analysis.claims import bounds, sweeps
from analysis.claims.rules import rules
from analysis.evaluation.few_shot import FewShot, Row
from analysis.runs.curve import Curve
from coupled.errors import UserError

STEPS = np.arange(10)


def curve(arm, values, **facts):
    about = {
        "measure": "gap", "reference": None, "n": 16, "d": 8, "feature": "z", "source": "batch", "split": "train",
        "labelling": "size", "estimator": "made", "undefined": "made", **facts,
    }  # fmt: skip
    return Curve(arm=arm, steps=STEPS.copy(), values=np.broadcast_to(np.float64(values), (10,)).copy(), **about)


def gaps(gap, bound):
    """What `gap_curves` gives of an arm, with the slack of one bound."""

    def of(run, arm):
        return [
            curve(arm, gap),
            curve(arm, bound, kind="upper bound", bound="per anchor"),
            curve(arm, bound - gap, measure="gap_slack"),
        ]

    return of


@pytest.fixture
def judged(maker, monkeypatch):
    """The verdict of a row on five made runs whose curves are made too."""
    monkeypatch.setattr(sweeps, "open_run", lambda path: path)
    sweep = maker.seeds(lambda seed: {})

    def of(row_id, kind, curves):
        monkeypatch.setattr(bounds, kind, curves)
        row = next(row for claim in rules() for row in claim.rows if row.id == row_id)
        return bounds.JUDGES[row.kind](row, sweep.runs)

    return of


def test_a_bound_on_the_gap_holds_or_is_violated(judged):
    holds = judged("7a", "gap_curves", gaps(0.2, 0.5))
    # Five runs, two arms, ten steps. A violation shows in the mean and in the slack.
    assert (holds.verdict, holds.reason, holds.effect, holds.seeds) == ("holds", "0 of 100 checks", 2.5, 5)
    violated = judged("7a", "gap_curves", gaps(0.5, np.where(np.arange(10) == 7, 0.4, 0.6)))
    assert violated.verdict == "violated" and violated.reason.startswith("20 bounds are violated, first: ")


def test_a_step_without_a_gap_has_no_tightness(judged):
    """A batch without two samples of a class has neither gap nor bound."""
    none = STEPS == 3
    some = judged("7a", "gap_curves", gaps(np.where(none, 0, 0.2), np.where(none, 0, 0.5)))
    assert (some.verdict, some.effect) == ("holds", pytest.approx(2.5))
    one = judged("7a", "gap_curves", lambda run, arm: gaps(*((0, 0) if run.name == "s1" else (0.2, 0.5)))(run, arm))
    assert (one.verdict, one.effect) == ("holds", pytest.approx(2.5))
    assert one.reason == "0 of 100 checks; tightness of 4 of 5 seeds, as in the others all that is bounded is 0"
    nothing = judged("7a", "gap_curves", gaps(np.zeros(10), np.zeros(10)))
    assert (nothing.verdict, math.isnan(nothing.effect)) == ("holds", True)


def test_the_data_sets_bound_is_checked_where_it_is_one(judged):
    def with_data_set(*flags):
        def of(run, arm):
            promised = curve(arm, 0.4, kind="upper bound", bound="data set", flags=flags)
            return [*gaps(0.5, 0.6)(run, arm), promised]

        return of

    assert judged("7a", "gap_curves", with_data_set()).verdict == "violated"
    fine = judged("7a", "gap_curves", with_data_set("not a bound for mini-batches: batches are uniform"))
    assert (fine.verdict, fine.reason, fine.effect) == ("holds", "0 of 100 checks", pytest.approx(1.2))


def test_what_is_not_recorded_or_undefined_decides_nothing(judged):
    assert judged("7a", "gap_curves", lambda run, arm: []).reason == "s0 records no batch: record.similarity"
    undefined = judged("7a", "gap_curves", gaps(math.nan, 0.5))
    assert (undefined.verdict, math.isnan(undefined.effect)) == ("undecided", True)
    assert judged("9", "drift_curves", lambda run, arm: []).reason == "s0: it records no surrogate panel"


def test_a_violation_decides_whatever_another_run_lacks(judged, judged_errors):
    def only_in(name, violated, lacking):
        return lambda run, arm: (violated if run.name == name else lacking)(run, arm)

    broken = gaps(0.5, 0.4)
    for lacking in (lambda run, arm: [], gaps(math.nan, 0.5), raising):
        assert judged("7a", "gap_curves", only_in("s3", broken, lacking)).verdict == "violated"
        assert judged("7a", "gap_curves", only_in("s3", gaps(0.4, 0.5), lacking)).verdict == "undecided"
    drift = only_in("s3", drifts(5.0, 4.0), lambda run, arm: [])
    assert judged("9", "drift_curves", drift).verdict == "violated"
    assert judged("9", "drift_curves", only_in("s3", drifts(4.0, 5.0), lambda run, arm: [])).verdict == "undecided"
    undefined = [few_shots(0.5, math.nan)]
    assert judged_errors(*[Gap("no checkpoint")] * 4, [few_shots(0.5, 0.4)]).verdict == "violated"
    assert judged_errors(Gap("no checkpoint"), *[[few_shots(0.3, 0.4)]] * 4).reason == "no checkpoint"
    assert judged_errors(*[undefined] * 4, [few_shots(0.5, 0.4)]).verdict == "violated"


def raising(run, arm):
    raise UserError("records of another run", "its own", "coupled-run verify")


def drifts(surrogate, bound, true=3.0):
    def of(run, arm):
        facts = {"reference": "cl", "source": "surrogate", "labelling": None}
        return [
            curve(arm, true, measure="drift", **facts),
            curve(arm, surrogate, measure="surrogate_drift", **facts),
            curve(arm, 20.0, measure="surrogate_drift", kind="limit", bound="trivial limit", **facts),
            curve(arm, bound, measure="drift", kind="upper bound", bound="rows", **facts),
        ]

    return of


def test_a_bound_on_the_drift_is_one_on_the_surrogate(judged):
    holds = judged("9", "drift_curves", drifts(1.5, np.linspace(2, 30, 10)))
    assert (holds.verdict, holds.effect) == ("holds", 20)
    # 2 + 28 k/9 is above 20 from step 6 on.
    assert holds.reason == (
        "0 of 50 checks; first vacuous steps: rows 6; at the end the true run drifts 2 times as far as the surrogate"
    )
    assert judged("9", "drift_curves", drifts(2.5, np.linspace(2, 30, 10))).verdict == "violated"


@pytest.mark.parametrize("what", [{"bound": np.where(STEPS == 4, np.nan, 30.0)}, {"true": math.nan}])
def test_a_drift_or_a_bound_on_it_that_is_undefined_decides_nothing(judged, what):
    found = judged("9", "drift_curves", drifts(1.5, **{"bound": 30.0, **what}))
    assert (found.verdict, found.reason) == ("undecided", "a drift, or a bound on it, is undefined")


def few_shots(error, bound, setting="exact", step=300, ways=10):
    """One error beside its bounds: one of given height, and one that is not defined."""

    def of(name, value):
        return Bound(name=name, ways=ways, shots=1, value=value, pairs=torch.empty(0), terms={}, undefined="")

    return Row(
        setting=setting, step=step, arm="cl", split="test", feature="h", labelling="shape", ways=ways, shots=1,
        error=error, standard_error=0.01, draws=10, n=100, classes=10, flags=(), note="",
        bounds={"cantelli": of("cantelli", bound), "p3": of("p3", math.nan)},
    )  # fmt: skip


@pytest.fixture
def judged_errors(maker):
    """The verdict on five made runs with these few-shot errors, seed by seed."""

    def of(*by_seed):
        sweep = maker.seeds(lambda seed: {})
        for run, rows in zip(sweep.runs, by_seed, strict=True):
            run.evaluated.errors = lambda rows=rows: rows if isinstance(rows, Gap) else FewShot(rows)
        return bounds.few_shot_bounds(next(row for c in rules() for row in c.rows if row.id == "10"), sweep.runs)

    return of


def test_few_shot_bounds_hold_or_one_error_decides(judged_errors):
    fine = [few_shots(0.4, 0.8, step=0), few_shots(0.2, 0.6), few_shots(0.3, 0.95), few_shots(0.9, 0.1, "practice")]
    holds = judged_errors(*[fine] * 5)
    # Three exact errors a run, each with one bound that is defined; tightness at the last step is 3 and 3.17.
    assert (holds.verdict, holds.effect) == ("holds", pytest.approx((3 + 0.95 / 0.3) / 2))
    assert holds.reason == "0 of 15 checks; below the error of guessing at the last step: cantelli 50%, p3 0%"
    violated = judged_errors(*[fine] * 4, [*fine, few_shots(0.5, 0.4)])
    assert violated.verdict == "violated" and violated.reason.startswith("1 bounds are violated, first: s4: cl at step")


def test_few_shot_errors_that_are_not_there_or_tell_nothing_decide_nothing(judged_errors, maker):
    nothing = judged_errors(*[[few_shots(0.5, math.nan)]] * 5)
    assert nothing.verdict == "undecided" and nothing.reason.startswith("no bound on a few-shot error of s0, s1")
    row = next(row for claim in rules() for row in claim.rows if row.id == "10")
    assert bounds.few_shot_bounds(row, maker.seeds(lambda seed: {}).runs).reason == "no few-shot errors were made"
    without_error = judged_errors(*[[few_shots(0.0, 0.8)]] * 5)
    assert without_error.verdict == "holds" and math.isnan(without_error.effect)
