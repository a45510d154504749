"""Checks of bounds: do they hold, from which step on do they say nothing, and where does their slack come from?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.bounds.drift import DRIFT_BOUNDS, TRIVIAL
from analysis.bounds.gap import SLACK
from analysis.bounds.pairs import beyond, is_no_bound, pairs
from analysis.runs.curve import Curve, pick
from analysis.runs.run import Run
from coupled.theory.bounds import exponential, sums
from coupled.theory.learning_rate import learning_rates


@dataclass(frozen=True)
class Vacuous:
    """The first step at which a drift bound exceeds each trivial limit; None: at none of the run's."""

    arm: str
    reference: str | None
    bound: str
    surrogate_limit: int | None
    true_limit: int | None


def vacuity(curves: Sequence[Curve]) -> list[Vacuous]:
    """From which step on each drift bound says nothing about the surrogate (2n), or about two true Σ (√2·n)."""
    first_steps = []
    for curve in curves:
        if curve.measure == "drift" and curve.bound in DRIFT_BOUNDS:
            limits = [pick(curves, measure, curve.arm, bound=TRIVIAL) for measure in ("surrogate_drift", "drift")]
            steps = [_first_above(curve, limit) for limit in limits]
            first_steps.append(Vacuous(curve.arm, curve.reference, curve.bound or "", *steps))
    return first_steps


def _first_above(curve: Curve, limit: Curve | None) -> int | None:
    if limit is None or not len(limit.values):
        return None
    above = np.flatnonzero(curve.values > limit.values[0])
    return int(curve.steps[above[0]]) if len(above) else None


@dataclass(frozen=True)
class Factors:
    """Where the slack of a drift bound comes from, at one step: `ratio`, bound ÷ measured, is a product of three.

    `over_rows` bound ÷ rows: what is lost by not counting every anchor's class share. `over_surrogate` rows ÷ simulated
    surrogate: by not knowing the similarities. `over_measured` surrogate ÷ true run: the dynamics differ (below 1 the
    true run drifts more, against which no bound on Σ promises anything). `exponential`, the part exp(S/(2τ²a)) of the
    paper's `over_rows`; 1 for other bounds. NaN where nothing was measured.
    """

    arm: str
    reference: str | None
    step: int
    bound: str
    ratio: float
    over_rows: float
    over_surrogate: float
    over_measured: float
    exponential: float


def factors(run: Run, curves: Sequence[Curve]) -> list[Factors]:
    """The factors of each drift bound that is made before training, at the last recorded step of its pair:
    docs/theory.md (31).
    """
    by_bound, S = [], sums(learning_rates(run.config.optimiser, run.planned_steps, run.config.batches.size))
    for curve in curves:
        if curve.measure != "drift" or curve.bound not in ("paper", "free", "rows"):
            continue
        parts = [
            pick(curves, "drift", curve.arm, bound="rows"),
            pick(curves, "surrogate_drift", curve.arm),
            pick(curves, "drift", curve.arm),
        ]
        assert None not in parts, "a bound comes with the curves that it is compared with"
        step = int(parts[-1].steps[-1]) if parts[-1] is not None else 0
        bound, rows, simulated, measured = (_at(part, step) for part in (curve, *parts))
        tau, a = run.arms[curve.arm].temperature, 2 * run.config.panel.surrogate_size
        of_bound = Factors(
            arm=curve.arm,
            reference=curve.reference,
            step=step,
            bound=curve.bound,
            ratio=_ratio(bound, measured),
            over_rows=_ratio(bound, rows),
            over_surrogate=_ratio(rows, simulated),
            over_measured=_ratio(simulated, measured),
            exponential=exponential(S[step].item(), tau, a) if curve.bound == "paper" else 1.0,
        )
        by_bound.append(of_bound)
    return by_bound


def _at(curve: Curve | None, step: int) -> float:
    value = None if curve is None else curve.at(step)
    return math.nan if value is None else value


def _ratio(over: float, under: float) -> float:
    return over / under if under > 0 else math.nan


def violations(curves: Sequence[Curve]) -> list[str]:
    """A sentence for every bound that should hold and does not. A bound with a flag "not a bound …" promises nothing.

    Gaps are checked at every anchor (least slack), drift bounds on the simulated surrogate, of which they are.
    """
    sentences = []
    for curve in curves:
        if curve.measure == SLACK:
            zero = np.zeros(len(curve.values))
            sentences += _broken(curve, curve.estimator, curve.steps, -curve.values, zero)
    compared = list(pairs(curves))
    for pair in compared:
        if pair.promised:
            assert len(pair.steps), "a bound is on steps of what it bounds"
            sentences += _broken(pair.bound, f"the {pair.bound.kind} {pair.bound.bound}", pair.steps, *pair.ends)
    beside = {id(pair.bound) for pair in compared}
    return sentences + [
        f"the {bound.kind} {bound.bound} on {bound.measure} of {bound.arm} has nothing measured beside it"
        for bound in curves
        if bound.kind in ("upper bound", "lower bound") and id(bound) not in beside and not is_no_bound(bound)
    ]


def _broken(
    curve: Curve, name: str, steps: NDArray[np.int64], low: NDArray[np.float64], high: NDArray[np.float64]
) -> list[str]:
    worst = np.flatnonzero(beyond(low, high))
    if not len(worst):
        return []
    first, where = worst[0], f"{curve.measure} of {curve.arm}, {curve.source} {curve.feature}"
    return [
        f"{name} does not hold: {where}, step {steps[first]}: {low[first]:.9g} > {high[first]:.9g} ({len(worst)} steps)"
    ]
