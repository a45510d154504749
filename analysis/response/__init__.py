"""What comes out of a run over what was put in: nudges of many sizes beside other losses, placebos and kicks.

docs/controls.md says what each control answers, docs/theory.md (103) to (121) has the formulas.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.response.amplified import amplified
from analysis.response.clouds import Share, energy_shares
from analysis.response.flips import flipped
from analysis.response.ledger import contrasts, ledger_curves
from analysis.response.missing import Missing
from analysis.response.paths import path_bounds
from analysis.response.points import Point, points
from analysis.response.ranks import PlaceboRank, placebo_ranks
from analysis.runs.controls import arms_with_reference
from analysis.runs.curve import Curve
from analysis.runs.recorded import check_steps
from analysis.runs.run import Run
from coupled.config.ledger import records_ledger
from coupled.errors import UserError


@dataclass(frozen=True)
class Response:
    """All that `response` finds. `curves`: measured ones and bounds; `missing`: what cannot be told, and why."""

    points: Sequence[Point]
    curves: Sequence[Curve]
    ranks: Sequence[PlaceboRank]
    shares: Sequence[Share]
    missing: Sequence[str]


def speaks(run: Run) -> bool:
    """Has a run something to say here: a control other than a twin or an independent arm, or a ledger?"""
    silent = ("objective", "twin", "independent")
    return records_ledger(run.config) or any(spec.kind not in silent for spec in run.arms.values())


def response(run: Run) -> Response:
    """The response of a run to what its arms put in.

    Raises UserError for a run with no step to show yet, without an arm to compare, or without the stream `scalars`.
    """
    check_steps(run, ("scalars",))
    arms = arms_with_reference(run)
    if not arms:
        raise UserError(f"{run.path} has nothing to compare", "none of its arms has a reference", "train two arms")
    missing = Missing()
    curves = [run.curve("distance", arm=arm) for arm in arms]
    for arm in arms:
        curves += [*ledger_curves(run, arm), *amplified(run, arm, missing), *flipped(run, arm)]
        curves += path_bounds(run, arm, missing)
    curves += contrasts(run)
    shares = energy_shares(run, missing)
    return Response(points(run, curves), curves, placebo_ranks(run), shares, missing.lines())
