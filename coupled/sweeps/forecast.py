"""What a sweep will take, before it starts: names, directories, arms, bytes, and seconds from a short calibration."""

from collections.abc import Hashable
from dataclasses import dataclass, replace
from pathlib import Path

from coupled.bench.calibration import seconds_of_step
from coupled.config import Config, digest
from coupled.planning.panels import panel_cost
from coupled.planning.plan import plan
from coupled.sweeps.points import Sweep


@dataclass(frozen=True)
class Forecast:
    """One run of a sweep. `digest`: its first eight letters. `bytes` on disk, `seconds` of its steps and panels in one
    process here, its start apart; None where steps cannot be taken here, and then `why` says why.
    """

    name: str
    directory: Path
    digest: str
    arms: tuple[str, ...]
    steps: int
    bytes: int
    seconds: float | None
    why: str = ""


def forecast(sweep: Sweep) -> list[Forecast]:
    """A row for every point. A few steps of each kind of step are timed in a scratch folder, which is removed."""
    known: dict[Hashable, tuple[float | None, str]] = {}
    rows = []
    for point in sweep.points:
        config, kind = point.config, _kind_of_step(point.config)
        if kind not in known:
            known[kind] = seconds_of_step(config)
        step, why = known[kind]
        planned = plan(config, 1)
        # Panels by their estimated share of all computing.
        seconds = None if step is None else step * config.train.steps / (1 - panel_cost(config).share)
        arms, steps = planned.arms, config.train.steps
        rows.append(
            Forecast(point.name, planned.directory, digest(config)[:8], arms, steps, planned.total, seconds, why)
        )
    return rows


def _kind_of_step(config: Config) -> Hashable:
    """What decides how long a step takes. Runs that differ in other fields share a calibration."""
    return (
        config.data.name,
        config.batches,
        config.views,
        config.model,
        config.optimiser.name,
        replace(config.train, steps=0, temperature=1.0),
        repr(config.record),  # it holds a dict
        config.ledger,
        tuple((arm.kind, arm.objective, arm.labelling) for arm in config.arms.values()),
    )
