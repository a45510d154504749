"""Which CL and which NSCL a table or figure is about: with the positive in the denominator or without."""

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.arrays.split_losses import DCL, NSCL, NSCL_POSITIVE, NT_XENT, Gap
from analysis.evaluation.losses import Row, trained_by_nscl
from analysis.runs.run import Run
from coupled.config.traits import objective_of
from coupled.objectives.registry import Objective, positive_gap


@dataclass(frozen=True)
class Form:
    """A form of CL and NSCL, and the arms that minimise them: the first of their kind; None without one."""

    cl: Objective
    ns: Objective
    cl_arm: str | None
    ns_arm: str | None

    @property
    def positive(self) -> bool:
        return self.cl == NT_XENT

    def gap(self, row: Row) -> Gap:
        return row.of.gap_with_positive if self.positive else row.of.gap

    def share(self, row: Row) -> float:
        return row.share_with_positive if self.positive else row.share


def form_of(run: Run, rows: Sequence[Row], labelling: str | None) -> Form:
    """That of the arm trained by CL, else of the one trained by NSCL on this labelling, else without the positive."""
    own = [arm for arm, spec in run.arms.items() if spec.kind == "objective"]
    cl_arm = next((arm for arm in own if run.arms[arm].objective in ("dcl", "nt_xent")), None)
    temperatures = [row.temperature for row in rows if cl_arm in (None, row.arm)]
    ns_arm = trained_by_nscl(rows, run, labelling, temperatures[0])
    decides = cl_arm or ns_arm
    if decides is not None and positive_gap(objective_of(run.arms[decides])):
        return Form(NT_XENT, NSCL_POSITIVE, cl_arm, ns_arm)
    return Form(DCL, NSCL, cl_arm, ns_arm)


def headline_labelling(run: Run, rows: Sequence[Row]) -> str | None:
    """The labelling of the first arm trained by NSCL, else the first; None without labels."""
    named = [row.labelling for row in rows]
    specs = [spec.labelling for spec in run.arms.values() if spec.objective == "nscl"]
    return next((labelling for labelling in specs if labelling in named), named[0])
