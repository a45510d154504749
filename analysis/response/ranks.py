"""Where an arm lies among placebos of itself: docs/theory.md (120)."""

from dataclasses import dataclass
from typing import Final

from analysis.arrays.amplification import Rank, rank_among
from analysis.runs.run import Run
from coupled.config.resolved import Placebo
from coupled.errors import UserError
from coupled.inputs.dataset import data_info

LEAST: Final = 19  # placebos with which p can be as small as .1
_MEASURES: Final = ("weight_gap", "cka")


@dataclass(frozen=True)
class PlaceboRank:
    """An arm's weight gap or CKA at the last step among those of its placebos; `exact`: is p one of exchangeable
    values, or for orientation; `why` says which.
    """

    arm: str
    measure: str
    step: int
    value: float
    placebos: int
    rank: Rank
    exact: bool
    why: str


def placebo_ranks(run: Run) -> list[PlaceboRank]:
    """The ranks of every arm of which at least 19 placebos of one form are compared with its reference."""
    ranks = []
    for arm, spec in run.arms.items():
        for across in ("run", "batch"):
            placebos = [
                name
                for name, other in run.arms.items()
                if isinstance(other, Placebo) and (other.of, other.across) == (arm, across)
                and other.reference == spec.reference
            ]  # fmt: skip
            if len(placebos) >= LEAST:
                known = [measure for measure in _MEASURES if _has(run, measure, [arm, str(spec.reference), *placebos])]
                ranks += [_rank(run, measure, arm, placebos, across) for measure in known]
    return ranks


def _has(run: Run, measure: str, arms: list[str]) -> bool:
    stream = "scalars" if measure == "weight_gap" else "panel"
    return run.schedules(stream) and not run.awaits(stream, *arms)


def _rank(run: Run, measure: str, arm: str, placebos: list[str], across: str) -> PlaceboRank:
    curve = run.curve(measure, arm=arm)
    step, others = int(curve.steps[-1]), [run.curve(measure, arm=name).at(int(curve.steps[-1])) for name in placebos]
    values = [float("nan") if value is None else value for value in others]
    exact, why = _exact(run, across, step)
    return PlaceboRank(
        arm=arm, measure=measure, step=step, value=float(curve.values[-1]), placebos=len(placebos),
        rank=rank_among(float(curve.values[-1]), values), exact=exact, why=why,
    )  # fmt: skip


def _exact(run: Run, across: str, step: int) -> tuple[bool, str]:
    """Are true and permuted labels exchangeable, so that p is exact?"""
    if across == "run":
        return True, "labels permuted in the data set, uniform stream"
    if run.config.batches.stream != "uniform":
        return False, "labels permuted within batches that are balanced: small classes come again before others"
    try:
        samples = data_info(run.config).train_size
    except UserError:
        return False, "how long an epoch is cannot be known here"
    inside = step <= samples // run.config.batches.size
    return inside, f"labels permuted within batches, {'within' if inside else 'beyond'} the first epoch"
