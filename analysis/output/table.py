"""What every table of a run has in common: its title."""

from collections.abc import Sequence

from analysis.output.facts import facts
from analysis.runs.run import Run


def title(run: Run, *, seeds: Sequence[int] = ()) -> str:
    """What the numbers are of, on one line; `seeds`: those of several runs that are shown together."""
    line = f"{run.name}: {', '.join([run.config.data.name, *facts(run, seeds=seeds)])}"
    return line if run.finished else f"{line}; UNFINISHED, records up to step {run.steps} of {run.planned_steps}"
