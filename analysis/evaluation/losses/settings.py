"""What a run's losses are computed with: temperatures, batch size, objectives, and the epoch of a step."""

from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

from analysis.arrays.split_losses import OBJECTIVES
from analysis.evaluation.features import Evaluation
from coupled.config.schema import TAU_HIGH, TAU_LOW
from coupled.config.traits import objective_of
from coupled.errors import UserError
from coupled.objectives.registry import Objective, is_function_of_sigma

Second = Literal["augmented", "plain"]
SECOND_VIEWS: Final[tuple[Second, ...]] = ("augmented", "plain")


@dataclass(frozen=True)
class Settings:
    """A run with what was asked for: `temperature` for all arms (None: each arm's own), `batch` (None: the run's B)."""

    evaluation: Evaluation
    temperature: float | None
    batch: int | None
    second: Second

    def __post_init__(self) -> None:
        # Outside of it 1/τ² is no number of float64.
        if self.temperature is not None and not TAU_LOW <= self.temperature <= TAU_HIGH:
            raise UserError(f"temperature {self.temperature}", f"from {TAU_LOW:g} to {TAU_HIGH:g}", "set --temperature")

    def temperature_of(self, arm: str) -> float:
        """τ of an arm's rows. UserError where no file holds it."""
        if self.temperature is not None:
            return self.temperature
        self._check_known("train.temperature", "temperature", "--temperature (1 is the first paper's)")
        return self.evaluation.run.arms[arm].temperature

    @cached_property
    def batch_size(self) -> int:
        """B of scope batch. UserError where no file holds it."""
        if self.batch is not None:
            return self.batch
        self._check_known("batches.size", "batch size", "--batch")
        return self.evaluation.run.config.batches.size

    def _check_known(self, field: str, name: str, option: str) -> None:
        imported = self.evaluation.imported
        if imported is not None and not imported.knows(field):
            given = f"the {name} of {self.evaluation.run.path}"
            raise UserError(given, "imported checkpoints do not hold it", f"say it with {option}")

    def epoch(self, step: int) -> float:
        """How many epochs of ⌊N/B⌋ steps a step is, N and B being those of training."""
        if self.evaluation.imported is not None:
            return float(self.evaluation.imported.epoch_of(step))
        return step / (len(self.evaluation.split("train")) // self.evaluation.run.config.batches.size)

    @cached_property
    def objectives(self) -> tuple[Objective, ...]:
        """Those of `OBJECTIVES`, and what else an arm of the run minimises, if it is a function of Σ."""
        own = (objective_of(spec) for spec in self.evaluation.config.arms.values())
        return tuple(dict.fromkeys((*OBJECTIVES, *(each for each in own if is_function_of_sigma(each.name)))))


def name_of(objective: Objective) -> str:
    """A name for columns: "dcl", "nscl_with_positive", "homotopy_0.3"."""
    lam = "" if objective.lam is None else f"_{objective.lam:g}"
    return f"{objective.name}{lam}{'_with_positive' if objective.positive_in_denominator else ''}"
