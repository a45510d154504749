"""Running a sweep: what is finished is left alone, all else is trained to its end, `jobs` runs at a time."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from signal import Signals

import torch

from coupled.config import Config
from coupled.config.identity import path_of as run_path_of
from coupled.driver import preflight
from coupled.driver.assembly import check_usable, is_finished
from coupled.driver.signals import Preemption
from coupled.errors import Preempted, UserError
from coupled.inputs.dataset import load_split
from coupled.planning.plan import disk_bytes
from coupled.ranks.joining import is_rank
from coupled.ranks.placement import cores
from coupled.runtime import check_device
from coupled.store.errors import naming
from coupled.store.fs import REAL
from coupled.store.lock import SweepLock
from coupled.sweeps import folder
from coupled.sweeps.cluster import refuse_queued
from coupled.sweeps.crew import Crew
from coupled.sweeps.messages import DRIFT
from coupled.sweeps.points import Point, Sweep
from coupled.sweeps.watching import PointProgress, Silent, SweepReporter


def run(
    sweep: Sweep, *, jobs: int | None = None, allow_drift: bool = False, reporter: SweepReporter | None = None
) -> int:
    """Train every point of a sweep that is not finished, `jobs` at a time (default: the sweep's, else as many as cores
    or GPUs allow); returns 0, or 3 where a run failed, which does not stop the others. `allow_drift`: those that go on
    may do so under other libraries, machine or data, which each records.

    All points are checked before the first begins. Raises UserError for what the user can mend, among it a sweep that
    another process trains and a folder with other points; Preempted when it was asked to stop, after all runs have.
    """
    reporter = reporter or Silent()
    jobs = jobs_of(sweep, jobs)
    with opened(sweep, check_device) as lock:
        points = [_progress(point.config, point.name) for point in sweep.points]
        unfinished = [
            (point, of.config) for point, of in zip(points, sweep.points, strict=True) if point.state != "finished"
        ]
        reporter.begin(points, jobs)
        words = (DRIFT,) if allow_drift else ()
        try:
            with Preemption() as preemption:
                Crew(unfinished, jobs, lock.descriptor, reporter, words).work(preemption)
        finally:
            reporter.end()
    finished = sum(point.state == "finished" for point in points)
    if preemption.asked and any(point.state in ("waiting", "stopped") for point in points):
        name = Signals(preemption.asked).name
        raise Preempted(f"{name}: stopped with {finished} of {len(points)} runs finished, nothing is lost")
    return 0 if finished == len(points) else 3


def default_jobs(configs: Sequence[Config]) -> int:
    """How many runs there is room for at a time: one for each `train.threads` cores, or for each GPU; at least one."""
    places = (
        torch.cuda.device_count() if config.train.device == "cuda" else cores() // config.train.threads
        for config in configs
    )
    return max(1, min(places))


def jobs_of(sweep: Sweep, jobs: int | None) -> int:
    if jobs is not None and jobs < 1:
        raise UserError(f"--jobs {jobs}", "at least 1")
    return jobs or sweep.jobs or default_jobs([point.config for point in sweep.points])


def _progress(config: Config, name: str) -> PointProgress:
    steps = config.train.steps
    return PointProgress(name, steps, "finished", steps) if is_finished(config) else PointProgress(name, steps)


@contextmanager
def opened(sweep: Sweep, check: Callable[[Config], None]) -> Iterator[SweepLock]:
    """The sweep's folder with its sweep.json, and its lock. A mistake in a new sweep leaves nothing behind. `check`:
    UserError for a config that cannot be trained where the runs will be.
    """
    if is_rank():
        raise UserError("a sweep under torchrun", "it starts its own processes", "start it without torchrun")
    path = folder.path_of(sweep)
    new = not path.is_dir()
    for point in sweep.points:
        assert run_path_of(point.config) == path / point.name, f"{point.name} is not in {path}"
    if new:
        folder.refuse_others(sweep)  # a file may be there
        _check(sweep.points, path, check)
        with naming(path):
            REAL.ensure_directory(path)
    with folder.locked(path) as lock:
        refuse_queued(path)
        folder.refuse_others(sweep)
        if not new:
            _check(sweep.points, path, check)
        folder.write(sweep)
        yield lock


def _check(points: Sequence[Point], path: Path, check: Callable[[Config], None]) -> None:
    """UserError, which names the point, for all that keeps one from being trained: before the first one is."""
    needed, data_sets = 0, set()
    for point in points:
        config = point.config
        try:
            state = preflight.state_of(config)
            if state == "finished":
                continue
            check(config)
            check_usable(config)
            data_set = repr((config.data, config.paths.data, config.code))
            if data_set not in data_sets:  # it takes its time, and most points have the same
                for split in ("train", "test"):
                    load_split(config, split)
            data_sets.add(data_set)
            needed += disk_bytes(config) - (preflight.size_of(path / point.name) if state else 0)
        except UserError as error:
            raise UserError(f"point {point.name}: {error}", "") from None
    preflight.has_room(path, needed, "the runs of this sweep need")
