"""Every bound of the papers and of this project beside what was measured, as curves."""

from analysis.bounds.alignment import alignment_curves
from analysis.bounds.checks import Factors, Vacuous, factors, vacuity, violations
from analysis.bounds.drift import BY_ROW, BY_STEP, TRIVIAL, drift_curves
from analysis.bounds.gap import gap_curves
from analysis.runs.curve import Curve
from analysis.runs.parallel import side_by_side
from analysis.runs.recorded import check_steps
from analysis.runs.run import Run

__all__ = ["BY_ROW", "BY_STEP", "TRIVIAL", "Factors", "Vacuous", "bounds", "factors", "vacuity", "violations"]


def bounds(run: Run) -> list[Curve]:
    """The measured loss gap, drift of Σ, biased CKA and RSA of z, and every bound on them: all that a figure needs.

    Streams that are not recorded, or not committed yet, are left out. Raises UserError if there is no step to
    show yet, StoreError for damaged records.
    """
    check_steps(run, ("scalars", "similarity", "surrogate", "panel"), "losses")
    kinds = (gap_curves, drift_curves, alignment_curves)
    return [curve for kind in kinds for curve in side_by_side(run.arms, lambda arm, kind=kind: kind(run, arm))]
