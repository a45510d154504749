"""What came out over what was put in, over steps: docs/theory.md (118)."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from analysis.arrays.amplification import put_in
from analysis.response.ledger import Floats, has_ledger, total
from analysis.response.missing import Missing
from analysis.runs.curve import Curve
from analysis.runs.run import Run
from coupled.config.ledger import why_no_split
from coupled.config.resolved import Kicked, Nudged, Sgd
from coupled.config.traits import traits_of
from coupled.theory.learning_rate import learning_rate


def amplified(run: Run, arm: str, missing: Missing) -> Iterator[Curve]:
    """The curves "put_in" and "amplification" of an arm; why there are none goes into `missing`."""
    distance = run.curve("distance", arm=arm)
    amounts = amounts_of(run, arm)
    if isinstance(amounts, str):
        missing.add("amplification", amounts, arm)
        return
    steps = distance.steps[distance.steps < len(amounts)]
    values, given = distance.values[: len(steps)], amounts[steps]
    yield replace(distance, measure="put_in", steps=steps, values=given, estimator=_what(run, arm), undefined="")
    ratio = np.divide(values, given, out=np.full(len(steps), np.nan), where=given > 0)
    yield replace(
        distance, measure="amplification", steps=steps, values=ratio, estimator=f"|w-w'| over {_what(run, arm)}",
        undefined="nothing was put in yet",
    )  # fmt: skip


def amounts_of(run: Run, arm: str) -> Floats | str:
    """What an arm has put in by each state (T + 1,) of those recorded; or why that cannot be told."""
    spec = run.arms[arm]
    if isinstance(spec, Nudged) and spec.reference == spec.of:
        distance = run.curve("distance", arm=arm)
        at = distance.at(spec.at)
        if at is None:
            return f"its distance at step {spec.at}, which is put in, is not recorded"
        return np.where(np.arange(int(distance.steps[-1]) + 1) >= spec.at, at, 0.0)
    if isinstance(spec, Kicked) and spec.reference == spec.of:
        if not has_ledger(run, spec.match):
            return f"{spec.match}, which its kicks match, has no ledger"
        objective = _every_step(run, spec.match)
        return objective if isinstance(objective, str) else put_in(_rates(run, len(objective)), objective, 0.0)
    own, other = traits_of(run.arms, arm), traits_of(run.arms, str(spec.reference))
    if own.start != other.start:
        return "it starts elsewhere: there is nothing small that was put in"
    if (own.nudges, own.kicks) != (other.nudges, other.kicks):
        return "nudges or kicks come beside another loss"
    if not has_ledger(run, arm):
        return "it has no ledger"
    optimiser = run.config.optimiser
    if not isinstance(optimiser, Sgd):
        return why_no_split(run.config)
    objective = _every_step(run, arm)
    if isinstance(objective, str):
        return objective
    if not objective.any():
        return "its loss is its reference's: nothing is put in"
    return put_in(_rates(run, len(objective)), objective, optimiser.momentum)


def _every_step(run: Run, arm: str) -> Floats | str:
    """‖b_t‖ of an arm at every step from 0 (T,), or why there is none."""
    if why := why_no_split(run.config):
        return why
    return total(run, arm, "batch.objective")[1]


def _rates(run: Run, count: int) -> Floats:
    config = run.config
    return np.array([learning_rate(config.optimiser, step, config.batches.size) for step in range(count)])


def _what(run: Run, arm: str) -> str:
    spec = run.arms[arm]
    if isinstance(spec, Nudged) and spec.reference == spec.of:
        return f"|w-w'| at step {spec.at}"
    kicked = isinstance(spec, Kicked) and spec.reference == spec.of
    return "the sum of its kicks' norms" if kicked else "the sum of what its own loss pushed"
