"""How long a step takes here, from a few of them in a scratch folder."""

import time
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

from coupled.bench.steps import shortened, without_panels
from coupled.config import Config, Schedule
from coupled.driver.assembly import build, start_run
from coupled.driver.loop import lockstep
from coupled.driver.reporter import Silent
from coupled.errors import EarlyEnd

# The first step of a process pays for what later ones find made.
_STEPS: Final = 3


class _Clock(Silent):
    """When each step ended."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def stepped(self, step: int) -> None:
        self.times.append(time.perf_counter())


def seconds_of_step(config: Config) -> tuple[float | None, str]:
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
