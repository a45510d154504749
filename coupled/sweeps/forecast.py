"""What a sweep will take, before it starts: names, directories, arms, bytes, and seconds from a short calibration."""

import time
from collections.abc import Hashable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

from coupled.bench.steps import shortened, without_panels
from coupled.config import Config, Schedule, digest
from coupled.driver.assembly import build, start_run
from coupled.driver.loop import lockstep
from coupled.driver.reporter import Silent
from coupled.errors import EarlyEnd
from coupled.planning.panels import panel_cost
from coupled.planning.plan import plan
from coupled.sweeps.points import Sweep

# The first step of a process pays for what later ones find made.
_STEPS: Final = 3


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
            known[kind] = _seconds_of_step(config)
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
        config.record,
        config.ledger,
        tuple((arm.kind, arm.objective, arm.labelling) for arm in config.arms.values()),
    )


class _Clock(Silent):
    """When each step ended."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def stepped(self, step: int) -> None:
        self.times.append(time.perf_counter())


def _seconds_of_step(config: Config) -> tuple[float | None, str]:
    """The median of a few steps here; None, and why, where there is no data or device for them."""
    clock = _Clock()
    with TemporaryDirectory() as scratch:
        short = without_panels(shortened(config, "calibration", _STEPS, scratch, Schedule(steps=(_STEPS,))))
        try:
            run = start_run(build(short))
            assert run is not None, "the folder is new"
            with run:
                lockstep(run, clock)
        except EarlyEnd as error:
            return None, str(error)
    between = [after - before for before, after in zip(clock.times, clock.times[1:], strict=False)]
    return median(between), ""
