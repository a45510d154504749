"""The value of a measure of an arm where a rule looks at it, or why there is none."""

from collections.abc import Iterable
from typing import Final

import numpy as np

from analysis.aggregation.gap import Gap
from analysis.aggregation.summary import Summary
from analysis.claims.roles import having
from analysis.claims.rules import FROM_STEP, MOVED
from analysis.claims.sweeps import SweepRun

_BY_LABELS: Final = ("nscl", "scl")


def finished(run: SweepRun) -> Summary | Gap:
    """The summary of a run that was trained to its end."""
    summary = run.summary
    if summary is None:
        return Gap(f"{run.name}: {run.lacks}")
    last, planned = summary.about["last"], summary.about["planned"]
    return summary if last == planned else Gap(f"{run.name} is unfinished: {last or 0} of {planned} steps")


def at_state(run: SweepRun, quantity: str, arm: str, state: str) -> float | Gap:
    """The least or mean value over the recorded steps from 100 on, or that of the last step, of an arm that has moved.

    What an arm is compared with has to have moved as well.
    """
    series = late(run, quantity, arm)
    if isinstance(series, Gap):
        return series
    steps, values = series
    planned = run.summary.about["planned"] if run.summary else 0
    if state == "last" and steps[-1] != planned:
        return Gap(f"{quantity} of {arm} is not recorded at the last step")
    # Every step that counts: an arm that has moved by the first of them has moved by all.
    for name in _concerned(run, quantity, arm):
        if (still := standing(run, name, float(steps[-1] if state == "last" else steps[0]))) is not None:
            return still
    return float({"least": values.min, "mean": values.mean, "last": lambda: values[-1]}[state]())


def late(run: SweepRun, quantity: str, arm: str) -> tuple[np.ndarray, np.ndarray] | Gap:
    """The recorded steps from 100 on and the values there, all finite, at least one."""
    for name in _concerned(run, quantity, arm):
        if isinstance(lacking := _telling(run, name), Gap):
            return lacking
    series = run.series(quantity, arm)
    if isinstance(series, Gap):
        return series
    steps, values = (each[series[0] >= FROM_STEP] for each in series)
    if not len(steps):
        return Gap(f"{quantity} of {arm} is not recorded from step {FROM_STEP} on")
    if not np.isfinite(values).all():
        return Gap(f"{quantity} of {arm} is undefined at step {steps[~np.isfinite(values)][0]}")
    return steps, values


def at_match(run: SweepRun, quantity: str, arm: str, axis: str, target: float) -> float | Gap:
    """The value where an arm has come to `target` of an axis of `analysis.aggregation.matching`, from step 100 on."""
    summary = _telling(run, arm)
    if isinstance(summary, Gap):
        return summary
    progress = summary.progress(axis, arm)
    if isinstance(progress, Gap):
        return progress
    step = progress.passage(target)
    if isinstance(step, Gap):
        return step
    if step < FROM_STEP:
        return Gap(f"{arm} gets to {progress.words} {target:.4g} at step {step:.0f}, before step {FROM_STEP}")
    if (still := standing(run, arm, step)) is not None:
        return still
    value = summary.value(quantity, arm, axis, target)
    return Gap(f"{quantity} of {arm} is undefined") if not isinstance(value, Gap) and not np.isfinite(value) else value


def _concerned(run: SweepRun, quantity: str, arm: str) -> list[str]:
    """The arms whose training a number speaks of: the share of NSCL's reduction is about the arms of NSCL as well."""
    beside = [name for name in having(run.arms, "nscl") if run.arms[name]["reference"] == arm]
    return [arm, *(beside if quantity == "nscl_loss_share" else [])]


def _telling(run: SweepRun, arm: str) -> Summary | Gap:
    """The summary of a finished run in which the arm was trained by what its labels say; or why it says nothing."""
    summary = finished(run)
    return summary if isinstance(summary, Gap) else without_pairs(run, arm) or summary


def standing(run: SweepRun, arm: str, step: float) -> Gap | None:
    """Why a state says nothing about training: the arm, or what it is compared with, is still near its start."""
    for name in dict.fromkeys((arm, run.arms[arm].get("reference") or arm)):
        share = relative_motion(run, name, step)
        if isinstance(share, Gap):
            return share
        if not share > MOVED:
            return Gap(f"{name} has moved {share:.2g} of |w_0| by step {step:.0f}, and not more than {MOVED:g}")
    return None


def relative_motion(run: SweepRun, arm: str, step: float) -> float | Gap:
    """‖w_t − w_0‖/‖w_0‖ at a step, linear between recorded ones."""
    assert run.summary is not None
    series, start = run.summary.series("motion", arm), run.summary.about["start"].get(arm)
    if isinstance(series, Gap):
        return Gap(f"how far {arm} has moved is not known: {series.reason}")
    steps, moved = series
    if start is None or not start > 0 or not len(steps) or not steps[0] <= step <= steps[-1]:
        return Gap(f"how far {arm} has moved by step {step:.0f} is not known")
    return float(np.interp(step, steps, moved)) / start


def without_pairs(run: SweepRun, arm: str) -> Gap | None:
    """An arm that leaves out pairs of a class says nothing where no batch has any: it was trained as CL is."""
    assert run.summary is not None
    labelled = run.arms[arm]["objective"] in _BY_LABELS
    if not labelled:
        return None
    mass = run.summary.series("mass", arm)
    if isinstance(mass, Gap):
        return Gap(f"whether {arm} has left out any pair is not known: {mass.reason}")
    return None if np.nan_to_num(mass[1]).any() else Gap(f"{arm}: no batch has two samples of a class")


def furthest_shared(runs: Iterable[tuple[SweepRun, str]], axis: str) -> float | Gap:
    """The amount of an axis to which all these arms get, as far as possible."""
    ends = []
    for run, arm in runs:
        summary = finished(run)
        progress = summary if isinstance(summary, Gap) else summary.progress(axis, arm)
        if isinstance(progress, Gap):
            return progress
        ends.append(float(progress.amounts[-1]))
    return min(ends)
