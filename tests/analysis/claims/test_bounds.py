"""Bounds: one violation decides, and what was not recorded decides nothing."""

import math

import numpy as np
import pytest

from analysis.claims import bounds, sweeps
from analysis.claims.rules import rules
from analysis.runs.curve import Curve

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
