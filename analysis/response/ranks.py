"""Where an arm lies among placebos of itself, in one run and over seeds: docs/theory.md (120) and (121)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from analysis.arrays.amplification import Rank, joint_p, rank_among
from analysis.runs.run import Run
from coupled.config.resolved import Placebo
from coupled.errors import UserError
from coupled.inputs.dataset import data_info

LEAST: Final = 19  # placebos with which p can be as small as .1
_MEASURES: Final = ("weight_gap", "cka")


@dataclass(frozen=True)
class PlaceboRank:
    """An arm's weight gap or CKA at the last step among those of its placebos of one form (`across`); `exact`: is p one
    of exchangeable values, or for orientation; `why` says which.
    """

    arm: str
    measure: str
    across: str
    step: int
    value: float
    placebos: int
    rank: Rank
    exact: bool
    why: str


@dataclass(frozen=True)
class JointRank:
    """The ranks of one arm, measure and form of placebos in every seed, in the runs' order, and p of all together."""

    of_seeds: Sequence[PlaceboRank]
    p: float

    @property
    def exact(self) -> bool:
        """Is p exact, as every seed's is?"""
        return all(rank.exact for rank in self.of_seeds)

    @property
    def why(self) -> str:
        """Why p is exact, or for orientation: what the seeds say."""
        return "; ".join(dict.fromkeys(rank.why for rank in self.of_seeds if rank.exact == self.exact))


def joint_ranks(ranks: Sequence[Sequence[PlaceboRank]]) -> list[JointRank]:
    """What the ranks of runs that differ in the seed alone say together. One that a seed lacks is left out."""
    keyed = [{(rank.arm, rank.measure, rank.across): rank for rank in of_seed} for of_seed in ranks]
    joint = []
    for key in keyed[0]:
        if all(key in of_seed for of_seed in keyed):
            of_seeds = [of_seed[key] for of_seed in keyed]
            p = joint_p([rank.rank for rank in of_seeds], [rank.placebos for rank in of_seeds])
            joint.append(JointRank(of_seeds, p))
    return joint


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
        arm=arm, measure=measure, across=across, step=step, value=float(curve.values[-1]), placebos=len(placebos),
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
