"""What every table of a run has in common: its title, and how a missing number looks."""

from typing import Final

from analysis.runs.run import Run

ABSENT: Final = "–"


def title(run: Run) -> str:
    """What the numbers are of, on one line."""
    config = run.config
    facts = f"{run.name}: {config.data.name}, B = {config.batches.size}, {run.precision}, seed {config.seed}"
    return facts if run.finished else f"{facts}; UNFINISHED, records up to step {run.steps} of {run.planned_steps}"
