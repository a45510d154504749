"""What the guard and the observers take of a step of two arms, every stream due but the panels and the pixels' digests.

    OMP_WAIT_POLICY=PASSIVE python tests/benchmarks/bench_observers.py [--encoder resnet18] [--batch 64] [--threads 2]

The acts of a step are timed one by one, in a run's own order; medians over --blocks steps, and their share of the step.
With one thread it is CPU time, which a busy machine disturbs less.
With --alone there is no forward and no backward: the passes over the weights, beside a copy of them by torch.
"""

import argparse
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from statistics import median

import torch
from rich.console import Console
from rich.table import Table

from coupled.config import Config, Schedule, from_tables
from coupled.driver.assembly import assemble
from coupled.driver.loop import forward_backward
from coupled.driver.run import Run
from coupled.memory import tune_memory

OBSERVING = ("guard", "observe", "observe the update")


def config_of(folder: str, encoder: str, batch: int, threads: int, optimiser: str) -> Config:
    config = from_tables(
        {
            "name": "observers",
            "data": {"name": "shapes", "labelling": "size"},
            "batches": {"size": batch},
            "views": {"size": 32},
            "model": {"encoder": encoder},
            "train": {"steps": 1000, "threads": threads},
            "optimiser": {"name": optimiser},
            "paths": {"runs": folder},
            "arms": {"cl": {"objective": "dcl"}, "nscl": {"objective": "nscl"}},
        }
    )
    off = dict.fromkeys(("panel", "surrogate", "pixels"), Schedule())
    return replace(config, record=replace(config.record, **off))


def step(
    run: Run, at: int, rate: float, seconds: dict[str, list[float]], clock: Callable[[], float], *, alone: bool
) -> None:
    """One step, act by act."""

    def timed(name: str, act: Callable[[], object]) -> None:
        started = clock()
        act()
        seconds[name].append(clock() - started)

    batch = run.stream.at(at)
    if alone:
        for arm in run.arms.values():
            # Squares of a gradient are forgotten with it.
            arm.backward(torch.zeros((), requires_grad=True))
            arm.state.gradient.copy_(arm.state.weights)
        timed("copy the weights", lambda: [arm.state.weights.clone() for arm in run.arms.values()])
    else:
        timed("forward and backward", lambda: forward_backward(run, batch))
    link = run.chains.extend(batch, rate)
    timed("guard", lambda: run.guard.check(at))
    timed("observe", lambda: run.recorder.observe(at, batch, link))
    timed("update", lambda: [arm.update(rate) for arm in run.arms.values()])
    timed("observe the update", lambda: run.recorder.observe_update(at))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--blocks", type=int, default=7)
    parser.add_argument("--optimiser", default="sgd")
    parser.add_argument("--alone", action="store_true")
    given = parser.parse_args()
    tune_memory()
    clock = time.process_time if given.threads == 1 else time.perf_counter
    seconds: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        run = assemble(config_of(folder, given.encoder, given.batch, given.threads, given.optimiser))
        assert run is not None
        with run:
            if given.alone:
                forward_backward(run, run.source.at(0))  # losses and similarities that observers look at
            for at in range(given.blocks + 2):
                if at == 2:
                    seconds.clear()  # two steps to warm up
                step(run, at, 1e-3, seconds, clock, alone=given.alone)
            weights = len(next(iter(run.arms.values())).state.weights)
    medians = {name: median(times) for name, times in seconds.items()}
    table = Table("act", "ms", "of the step", title=f"{given.encoder}, {weights / 1e6:.1f} M weights an arm, two arms")
    whole = sum(medians.values())
    for name, value in medians.items():
        table.add_row(name, f"{1e3 * value:.1f}", f"{value / whole:.1%}")
    watching = sum(medians[name] for name in OBSERVING)
    table.add_row("guard and observers", f"{1e3 * watching:.1f}", f"{watching / whole:.1%}")
    console = Console()
    console.print(table)
    console.print(f"load {os.getloadavg()[0]:.1f}, {given.threads} threads, medians of {given.blocks} steps")


if __name__ == "__main__":
    main()
