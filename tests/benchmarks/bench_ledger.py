"""What a ledger takes of a step: audited steps against plain ones with a backward more for every arm that is audited.

    OMP_WAIT_POLICY=PASSIVE python tests/benchmarks/bench_ledger.py [--encoder resnet-small] [--batch 64] [--threads 1]

Five runs step in turns, in blocks: `plain`, without a ledger; `audited`, with one at every step; `bare`, the plain run
with the same backwards, whose gradients nobody looks at; `never`, with a ledger that looks at none of these steps;
`again`, plain once more, which shows what chance does. Medians over --blocks of audited / bare (at most 1.10) and
never / plain (at most 1.01). With one thread it is CPU time, which a busy machine disturbs less.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from statistics import median

from rich.console import Console
from rich.table import Table

from coupled.arms.audits import Audits
from coupled.config import Config, Schedule, from_tables
from coupled.driver.assembly import build, start_run
from coupled.driver.loop import advance
from coupled.driver.run import Run
from coupled.memory import tune_memory
from coupled.recording.ledger import audited

FAR = 10_000  # a step that is never reached


def config_of(folder: str, name: str, given: argparse.Namespace, ledger: Schedule) -> Config:
    config = from_tables(
        {
            "name": name,
            "data": {"name": "shapes", "labelling": "size"},
            "batches": {"size": given.batch},
            "views": {"size": 32},
            "model": {"encoder": given.encoder},
            "train": {"steps": FAR, "threads": given.threads},
            "optimiser": {"learning_rate": 1e-3},
            "paths": {"runs": folder},
            "checkpoints": {"keep": {"log": 0, "last": False}, "recovery": {"every": 0}},
            "arms": {"cl": {"objective": "dcl"}, "nscl": {"objective": "nscl"}},
        }
    )
    off = dict.fromkeys(("panel", "surrogate", "pixels"), Schedule())
    return replace(config, record=replace(config.record, ledger=ledger, **off))


def runs(folder: str, given: argparse.Namespace, stack: ExitStack) -> dict[str, Run]:
    every, far = Schedule(every=1), Schedule(steps=(FAR - 1,))
    schedules = {"plain": Schedule(), "audited": every, "never": far, "bare": Schedule(), "again": Schedule()}
    made = {}
    for name, schedule in schedules.items():
        config = config_of(folder, name, given, schedule)
        parts = build(config)
        if name == "bare":
            parts.audits = Audits(config, [audited(replace(config, record=replace(config.record, ledger=every)))])
        run = start_run(parts)
        assert run is not None
        made[name] = stack.enter_context(run)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", default="resnet-small")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--blocks", type=int, default=8)
    parser.add_argument("--length", type=int, default=3)
    given = parser.parse_args()
    tune_memory()
    clock: Callable[[], float] = time.thread_time if given.threads == 1 else time.perf_counter
    seconds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        stepping = runs(folder, given, stack)
        for block in range(-1, given.blocks):  # the first to warm up
            # Who comes first changes, as a step is faster or slower behind another's.
            names = list(stepping)
            for name in names[block % len(names) :] + names[: block % len(names)]:
                run = stepping[name]
                started = clock()
                for k in range(given.length):
                    advance(run, (block + 1) * given.length + k)
                if block >= 0:
                    seconds.setdefault(name, []).append((clock() - started) / given.length)
    table = Table("run", "ms a step", title=f"{given.encoder}, batches of {given.batch}, two arms")
    for name, times in seconds.items():
        table.add_row(name, f"{1e3 * median(times):.1f}")
    for name, of in (("audited", "bare"), ("never", "plain"), ("again", "plain"), ("audited", "plain")):
        ratios = [a / b for a, b in zip(seconds[name], seconds[of], strict=True)]
        table.add_row(f"{name} / {of}", f"{median(ratios):.3f}")
    console = Console()
    console.print(table)
    console.print(f"load {os.getloadavg()[0]:.1f}, {given.threads} threads, medians of {given.blocks} blocks")


if __name__ == "__main__":
    main()
