"""Two jobs of one thread beside one job of two threads, on the same sweep, in turns.

    OMP_WAIT_POLICY=PASSIVE python tests/benchmarks/bench_jobs.py [CONFIG] [--blocks 5] [--steps 40] [--points 4]

A sweep over seeds is trained to its end both ways, each time in a folder of its own, with all that a run records.
Steps a second are those of all runs, over the time from the moment when the first run begins until the last one ends:
what lies between two runs of a process counts, the start of the processes does not. `whole` counts that too. Both ways
have as many threads as the machine should have cores: two.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

from coupled.config import Config, load
from coupled.sweeps import running
from coupled.sweeps.points import Point, Sweep
from coupled.sweeps.watching import PointProgress, Silent

WAYS = {"two jobs": (2, 1), "one job": (1, 2)}  # jobs, and threads of each


class Stopwatch(Silent):
    """When the first run began and when the last one ended."""

    def begin(self, points: Sequence[PointProgress], jobs: int) -> None:
        self.start, self.begun = time.perf_counter(), 0.0

    def changed(self, point: PointProgress) -> None:
        self.last = time.perf_counter()
        if point.state == "running" and not self.begun:
            self.begun = self.last


def sweep_of(config: Config, folder: str, points: int, steps: int, threads: int) -> Sweep:
    """A sweep over seeds in this folder."""
    train = replace(config.train, steps=steps, threads=threads)
    optimiser = replace(config.optimiser, horizon=steps)
    runs = str(Path(folder) / "jobs")
    each = [
        replace(config, name=f"s{s}", seed=s, train=train, optimiser=optimiser, paths=replace(config.paths, runs=runs))
        for s in range(points)
    ]
    return Sweep("jobs", folder, tuple(Point(one.name, one, {"seed": (one.seed,)}) for one in each))


def rates(config: Config, points: int, steps: int, jobs: int, threads: int) -> tuple[float, float]:
    """Steps a second while runs are at work, and with the start of the processes."""
    with tempfile.TemporaryDirectory() as folder:
        watch = Stopwatch()
        assert running.run(sweep_of(config, folder, points, steps, threads), jobs=jobs, reporter=watch) == 0
    return points * steps / (watch.last - watch.begun), points * steps / (watch.last - watch.start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", metavar="CONFIG", nargs="?", default="configs/bench/small.toml")
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40, help="of a run")
    parser.add_argument("--points", type=int, default=4)
    given = parser.parse_args()
    config = load(given.config)
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    for block in range(given.blocks):
        for way in sorted(WAYS, reverse=block % 2 == 1):
            found[way].append(rates(config, given.points, given.steps, *WAYS[way]))
            load_now = f"load {os.getloadavg()[0]:.1f}"
            print(f"{way}: {found[way][-1][0]:.2f} steps/s, {found[way][-1][1]:.2f} whole, {load_now}", flush=True)
    for at, name in enumerate(("steps/s", "whole")):
        ratios = sorted(two[at] / one[at] for two, one in zip(found["two jobs"], found["one job"], strict=True))
        middle = " and ".join(f"{median(rate[at] for rate in found[way]):.2f} ({way})" for way in WAYS)
        print(f"{name}: {middle}, ratio {median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})")


if __name__ == "__main__":
    main()
