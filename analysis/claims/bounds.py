"""Do bounds hold on every recorded step of every run? A bound is no statistic: one violation decides."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import numpy as np

from analysis.aggregation.gap import Gap
from analysis.bounds.checks import vacuity, violations
from analysis.bounds.drift import DRIFT_BOUNDS, drift_curves
from analysis.bounds.gap import NOT_A_BOUND, SLACK, gap_curves
from analysis.claims.roles import having
from analysis.claims.rules import Row
from analysis.claims.sweeps import SweepRun
from analysis.claims.values import finished
from analysis.claims.verdicts import HOLDS, VIOLATED, Verdict, undecided
from analysis.evaluation.few_shot import Row as FewShotRow
from analysis.runs.curve import Curve, pick
from analysis.runs.processes import in_processes
from analysis.runs.run import Run
from coupled.errors import UserError

CurvesOf = Callable[[Run, str], Iterable[Curve]]
_ROWS: Final = "rows"


def gap_bounds(row: Row, runs: Sequence[SweepRun]) -> Verdict:
    """Whether the bounds on the gap hold for the arms of the row in all these runs, docs/theory.md (14), (15), (17).

    A check is a bound at a recorded step, at each of its anchors. The effect is the tightness: bound over measured gap,
    a median over steps of each seed and their mean; of the data set's bound where it is one for batches, and of the
    per-anchor bound elsewhere.
    """
    by_run, lacks = _curves(row, runs, gap_curves)
    if any(not np.isfinite(curve.values).all() for of_run in by_run.values() for curve in of_run):
        lacks.append("a gap is undefined: no anchor of a batch has a sample of another class")
    # A bound by anchors is checked by its slack, that of the data set as the curve that it is.
    checks = {
        run: _steps(of_run, lambda curve: curve.measure == SLACK or _is_of_data_set(curve))
        for run, of_run in by_run.items()
    }
    lacks += [f"{run.name} records no batch: record.similarity" for run, number in checks.items() if not number]
    return _judged({run: by_run[run] for run in by_run if checks[run]}, sum(checks.values()), _gap_tightness, lacks)


def drift_bounds(row: Row, runs: Sequence[SweepRun]) -> Verdict:
    """Whether the bounds on the drift of Σ hold on the simulated surrogate of all these runs, docs/theory.md (21) to
    (31); from which step on they are vacuous, and where the true runs lie.

    A check is a bound at a step. The effect is the tightness of the bound by rows at the last step, a mean over seeds.
    """
    by_run, lacks = _curves(row, runs, drift_curves)
    drifts = [curve for of in by_run.values() for curve in of if curve.measure in ("drift", "surrogate_drift")]
    if any(np.isnan(curve.values).any() for curve in drifts):
        lacks.append("a drift, or a bound on it, is undefined")
    checks = {run: _steps(of_run, _is_of_drift) for run, of_run in by_run.items()}
    for run in (run for run, number in checks.items() if not number):
        flags = dict.fromkeys(flag for curve in by_run.pop(run) for flag in curve.flags)
        lacks.append(f"{run.name}: {'; '.join(flags) or 'it records no surrogate panel'}")
    verdict = _judged(by_run, sum(checks.values()), _drift_tightness, lacks)
    if verdict.verdict not in (HOLDS, VIOLATED):
        return verdict
    first: dict[str, list[int]] = {}
    for vacuous in (each for of_run in by_run.values() for each in vacuity(of_run)):
        if vacuous.surrogate_limit is not None:
            first.setdefault(vacuous.bound, []).append(vacuous.surrogate_limit)
    steps = ", ".join(f"{bound} {min(at)}" for bound, at in first.items()) or "none"
    true = _median(np.concatenate([_true_over_surrogate(of_run) for of_run in by_run.values()]))
    more = f"first vacuous steps: {steps}; at the end the true run drifts {true:.3g} times as far as the surrogate"
    return Verdict(verdict.verdict, f"{verdict.reason}; {more}", verdict.effect, by_seed=verdict.by_seed)


def few_shot_bounds(row: Row, runs: Sequence[SweepRun]) -> Verdict:
    """Whether the bounds on the few-shot error hold in the exact setting, docs/theory.md (91), (93), (95), (96).

    A check is a bound on one error: of an arm, checkpoint, split, feature, labelling, number of ways and of shots. The
    effect is the tightness of (96) in choices among all classes at the last step, a median of each seed and their mean.
    """
    by_seed: dict[int, list[float]] = {}
    broken, checks, last_rows, lacks = list[str](), 0, list[FewShotRow](), list[str]()
    for run in runs:
        lacking = finished(run)
        errors = lacking if isinstance(lacking, Gap) else run.evaluated.errors()
        if isinstance(errors, Gap):
            lacks.append(errors.reason)
            continue
        broken += [f"{run.name}: {line}" for line in errors.violations()]
        checks += sum(each.holds(name) is not None for each in errors.rows for name in each.bounds)
        last = max(each.step for each in errors.rows)
        exact = [each for each in errors.rows if each.setting == "exact" and each.step == last]
        last_rows += exact
        tightness = [each.tightness("cantelli") for each in exact if each.ways == each.classes]
        by_seed.setdefault(int(run.seed or 0), []).extend(tightness)
    if not checks:
        lacks.append(f"no bound on a few-shot error of {', '.join(run.name for run in runs)} is defined")
    medians = {seed: _median(values) for seed, values in sorted(by_seed.items())}
    verdict = _verdict(broken, checks, medians, lacks)
    if verdict.verdict not in (HOLDS, VIOLATED):
        return verdict
    shares = ", ".join(f"{name} {_informative(last_rows, name):.0%}" for name in last_rows[0].bounds)
    more = f"below the error of guessing at the last step: {shares}"
    return Verdict(verdict.verdict, f"{verdict.reason}; {more}", verdict.effect, by_seed=verdict.by_seed)


def _median(values: Iterable[float]) -> float:
    """Of those that are numbers: an error, gap or drift of 0 has no tightness."""
    known = [value for value in values if np.isfinite(value)]
    return float(np.median(known)) if known else math.nan


def _informative(rows: Sequence[FewShotRow], name: str) -> float:
    """The share of rows whose bound is below the error of guessing; one that is undefined is not."""
    return float(np.mean([row.bounds[name].value < 1 - 1 / row.ways for row in rows]))


# Of a row's kind.
JUDGES: Final[dict[str, Callable[[Row, Sequence[SweepRun]], Verdict]]] = {
    "gap bound": gap_bounds,
    "drift bound": drift_bounds,
    "few-shot bound": few_shot_bounds,
}


def _curves(row: Row, runs: Sequence[SweepRun], of: CurvesOf) -> tuple[dict[SweepRun, list[Curve]], list[str]]:
    """The curves of the row's arms of each run, and why those of other runs are missing: a run that is not finished, or
    that cannot be read so.
    """
    lacking = [state.reason for run in runs if isinstance(state := finished(run), Gap)]
    ended = [run for run in runs if not isinstance(finished(run), Gap)]

    def of_run(run: SweepRun) -> list[Curve] | Gap:
        arms = dict.fromkeys(arm for role in row.arms for arm in having(run.arms, role))
        try:
            return [curve for arm in arms for curve in of(run.opened, arm)]
        except UserError as error:
            return Gap(str(error))

    curves = dict(zip(ended, in_processes(ended, of_run), strict=True))
    lacking += [each.reason for each in curves.values() if isinstance(each, Gap)]
    return {run: each for run, each in curves.items() if not isinstance(each, Gap)}, lacking


def _judged(
    by_run: Mapping[SweepRun, Sequence[Curve]],
    checks: int,
    tightness: Callable[[Sequence[Curve]], np.ndarray],
    lacks: Sequence[str],
) -> Verdict:
    by_seed: dict[int, list[np.ndarray]] = {}
    for run, of_run in by_run.items():
        by_seed.setdefault(int(run.seed or 0), []).append(tightness(of_run))
    medians = {seed: _median(np.concatenate(parts)) for seed, parts in sorted(by_seed.items())}
    broken = [line for of_run in by_run.values() for line in violations(of_run)]
    return _verdict(broken, checks, medians, lacks)


def _verdict(broken: Sequence[str], checks: int, medians: Mapping[int, float], lacks: Sequence[str]) -> Verdict:
    """Of the violations among so many checks, with the tightness by seed. One decides, whatever else the runs lack."""
    if lacks and not broken:
        return undecided(lacks[0])
    counted = f"{len(broken)} bounds are violated, first: {broken[0]}" if broken else f"0 of {checks:,} checks"
    known = [value for value in medians.values() if np.isfinite(value)]
    if known and len(known) < len(medians):
        counted += f"; tightness of {len(known)} of {len(medians)} seeds, as in the others all that is bounded is 0"
    effect = float(np.mean(known)) if known else math.nan
    return Verdict(VIOLATED if broken else HOLDS, counted, effect, by_seed=medians)


def _steps(curves: Sequence[Curve], counts: Callable[[Curve], bool]) -> int:
    """How many steps the curves have that count."""
    return sum(len(curve.steps) for curve in curves if counts(curve))


def _is_of_data_set(curve: Curve) -> bool:
    return curve.bound == "data set" and _promises(curve)


def _is_of_drift(curve: Curve) -> bool:
    return curve.measure == "drift" and curve.bound in DRIFT_BOUNDS and _promises(curve)


def _promises(curve: Curve) -> bool:
    return not any(flag.startswith(NOT_A_BOUND) for flag in curve.flags)


def _gap_tightness(curves: Sequence[Curve]) -> np.ndarray:
    """Bound over measured gap, of every arm and labelling, at every recorded step."""
    measured = {_key(curve): curve for curve in curves if curve.kind == "measured" and curve.measure != SLACK}
    bounds = {_key(curve): curve for curve in curves if curve.bound == "per anchor"}
    bounds |= {_key(curve): curve for curve in curves if _is_of_data_set(curve)}
    return np.concatenate([_ratios(bound.values, measured[key].values) for key, bound in bounds.items()])


def _key(curve: Curve) -> tuple[str | None, ...]:
    return curve.measure, curve.arm, curve.labelling


def _drift_tightness(curves: Sequence[Curve]) -> np.ndarray:
    """The bound by rows over the drift of the surrogate at the last step, of every arm."""
    return _last_ratios(curves, _ROWS)


def _true_over_surrogate(curves: Sequence[Curve]) -> np.ndarray:
    return _last_ratios(curves, None)


def _last_ratios(curves: Sequence[Curve], bound: str | None) -> np.ndarray:
    """A bound on the drift, or the drift of the true run, over that of the surrogate."""
    ratios = []
    for arm in dict.fromkeys(curve.arm for curve in curves):
        over, under = pick(curves, "drift", arm, bound=bound), pick(curves, "surrogate_drift", arm)
        if over is not None and under is not None:
            ratios.append(_ratios(over.values[-1:], under.values[-1:]))
    return np.concatenate(ratios)


def _ratios(over: np.ndarray, under: np.ndarray) -> np.ndarray:
    """NaN where what is bounded is 0: such a step has no tightness."""
    return np.divide(over, under, out=np.full(len(over), np.nan), where=under > 0)
