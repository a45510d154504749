"""The recorded ledger over all layers together, as curves.

Shapes: T audited steps. Names: docs/theory.md (103) to (108).
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analysis.runs.curve import Curve
from analysis.runs.run import Run
from coupled.config.ledger import contrasted, ledger_arms, records_ledger, splits, why_no_split

Floats = NDArray[np.float64]

# Columns that are norms by layer: their squares add. Of all others, inner products, the layers' values add.
_NORMS: Final = (
    "state.distance", "state.momentum", "batch.instability", "batch.objective", "state.from_instability",
    "state.from_objective", "state.from_start", "state.from_moves", "state.from_rounding",
    "batch.objective_at_reference",
)  # fmt: skip
_MEASURES: Final = {
    "instability": ("batch.instability", "|a|: gradients of the reference's loss at its weights less at the arm's"),
    "objective": ("batch.objective", "|b|: gradients at the arm's weights, the reference's loss less its own"),
}
_SPLIT: Final = {
    "from_instability": ("state.from_instability", "|D_a|: the part of w-w' that the instability's updates made"),
    "from_objective": ("state.from_objective", "|D_b|: the part of w-w' that the objective's updates made"),
}


def has_ledger(run: Run, arm: str) -> bool:
    """Has an arm a committed ledger, of more than the last state, which has no batch?"""
    own = records_ledger(run.config) and arm in ledger_arms(run.config) and run.schedules("ledger", "batch")
    return own and not run.awaits("ledger", arm) and ("ledger", arm) in run.shards


def gradient_flags(run: Run) -> tuple[str, ...]:
    """What a reader of gradients must know: they are the losses' own, whatever the optimiser makes of them."""
    optimiser, flags = run.config.optimiser, []
    if optimiser.clip_norm is not None:
        flags.append("gradients before clipping")
    if optimiser.name != "sgd":
        flags.append(f"gradients before scaling by {optimiser.name}")
    return tuple(flags)


def split_flags(run: Run) -> tuple[str, ...]:
    """Says why the ledger has no exact split of the distance; () where it has one: docs/theory.md (105)."""
    why = why_no_split(run.config)
    return (f"the gradient split only: {why}",) if why else ()


def total(run: Run, arm: str, column: str) -> tuple[NDArray[np.int64], Floats]:
    """(steps (T,), values (T,)) of a column over all shared weights."""

    def read() -> tuple[NDArray[np.int64], Floats]:
        steps, by_layer = run.column("ledger", arm, column)
        return steps, np.sqrt((by_layer**2).sum(-1)) if column in _NORMS else by_layer.sum(-1)

    return run.remembered(("ledger", arm, column), read)


def ledger_curves(run: Run, arm: str) -> Iterator[Curve]:
    """‖a‖ and ‖b‖ of an arm and, where D is split, what either made of it; nothing without a ledger."""
    if not has_ledger(run, arm):
        return
    like = run.curve("distance", arm=arm)
    flags = {measure: (*gradient_flags(run), *split_flags(run)) for measure in _MEASURES}
    measures = {**_MEASURES, **(_SPLIT if splits(run.config) else {})}
    for measure, (column, estimator) in measures.items():
        steps, values = total(run, arm, column)
        yield replace(
            like, measure=measure, steps=steps, values=values, estimator=estimator, undefined="",
            flags=flags.get(measure, ()),
        )  # fmt: skip
    if not splits(run.config):
        return
    steps, along = total(run, arm, "state.objective_along")
    _, distance = total(run, arm, "state.distance")
    share = np.divide(along, distance**2, out=np.full(len(along), np.nan), where=distance > 0)
    yield replace(
        like, measure="objective_share", steps=steps, values=share,
        estimator="<D_b, D> / |D|²: the share of w-w' along itself that the objective's updates made",
        undefined="0/0: the arm is at its reference",
    )  # fmt: skip


def contrasts(run: Run) -> list[Curve]:
    """‖g_ref − g_arm‖ at the reference's own weights, of every arm in ledger.contrast."""
    curves = []
    for arm in contrasted(run.config) if records_ledger(run.config) else ():
        if has_ledger(run, arm):
            steps, values = total(run, arm, "batch.objective_at_reference")
            like = run.curve("distance", arm=arm)
            estimator = (
                "|g - g'|: the reference's gradient less that of the arm's loss, both at the reference's weights"
            )
            curves.append(
                replace(
                    like, measure="contrast", steps=steps, values=values, estimator=estimator, undefined="",
                    flags=gradient_flags(run),
                )
            )  # fmt: skip
    return curves
