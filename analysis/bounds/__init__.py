"""Every bound of the papers and of this project beside what was measured, as curves."""

from collections.abc import Iterable

from analysis.bounds.alignment import alignment_curves
from analysis.bounds.checks import Factors, Vacuous, factors, vacuity, violations
from analysis.bounds.drift import BY_ROW, BY_STEP, TRIVIAL, drift_curves
from analysis.bounds.gap import gap_curves
from analysis.runs.curve import Curve
from analysis.runs.processes import for_arms
from analysis.runs.recorded import check_steps
from analysis.runs.run import Run

__all__ = ["BY_ROW", "BY_STEP", "TRIVIAL", "Factors", "Vacuous", "bounds", "factors", "vacuity", "violations"]


def bounds(run: Run) -> list[Curve]:
    """The measured loss gap, drift of Σ, biased CKA and RSA of z, and every bound on them: all that a figure needs.

    Streams that are not recorded, or not committed yet, are left out. Raises UserError if there is no step to
    show yet, StoreError for damaged records.
    """
    check_bounds(run)
    return joined(for_arms(run, lambda arm: bounds_of(run, arm)))


def check_bounds(run: Run) -> None:
    """Raises what `bounds` raises for a run without steps."""
    check_steps(run, ("scalars", "similarity", "surrogate", "panel"), "losses")


def bounds_of(run: Run, arm: str) -> list[list[Curve]]:
    """The curves of one arm, by kind: of its loss gap, of the drift of its Σ, of its alignment."""
    return [list(kind(run, arm)) for kind in (gap_curves, drift_curves, alignment_curves)]


def joined(by_arm: Iterable[list[list[Curve]]]) -> list[Curve]:
    """The curves of all arms, kind by kind."""
    return [curve for of_kind in zip(*by_arm, strict=True) for curves in of_kind for curve in curves]
