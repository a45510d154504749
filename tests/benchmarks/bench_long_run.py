"""A long run of tiny steps: time a step and resident memory, which must be flat (± 5 %) from step 2 000 on.

    OMP_WAIT_POLICY=PASSIVE python tests/benchmarks/bench_long_run.py FOLDER [--steps 20000] [--report]

The run is FOLDER/long. A picture of `shapes` is drawn when a batch first asks for it, then kept, so the run has 4,000
of them: its first 1,000 steps draw them all. The quick steps are those that a tenth of the steps is faster than: other
work on the machine hardly touches them. CPU time is that of all threads of the process; memory is VmRSS.
With `--report`, `coupled-analyze report` of the run is timed afterwards, in a process of its own.
"""

import argparse
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from coupled.config import Config, from_tables
from coupled.driver.run import Run
from coupled.driver.standings import Standing
from coupled.driver.train import train
from coupled.memory import tune_memory

EACH = 2000  # steps of a row


@dataclass(frozen=True)
class Row:
    """Up to which step, steps a second since the row before, ms of CPU a step, ms of a quick step, MiB resident."""

    step: int
    rate: float
    cpu: float
    quick: float
    resident: float


class Watch:
    """A reporter that looks at the clock, and at memory, every `EACH` steps."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def begin(self, run: Run) -> None:
        self.times, self.cpu = [time.perf_counter()], time.process_time()

    def stepped(self, step: int) -> None:
        self.times.append(time.perf_counter())
        if step % EACH == 0:
            cpu, wall = time.process_time(), self.times[-1] - self.times[0]
            steps = sorted(after - before for before, after in pairwise(self.times))
            quick = steps[len(steps) // 10] * 1e3
            row = Row(step, EACH / wall, (cpu - self.cpu) / EACH * 1e3, quick, resident())
            self.rows.append(row)
            self.times, self.cpu = self.times[-1:], cpu
            print(
                f"step {row.step:>6}  {row.rate:6.1f} steps/s  {row.cpu:6.2f} ms CPU a step  "
                f"{row.quick:6.2f} ms a quick step  {row.resident:7.1f} MiB resident",
                flush=True,
            )

    def note(self, text: str) -> None: ...
    def is_due(self, step: int) -> bool:
        return False

    def show(self, step: int, rows: Sequence[Standing]) -> None: ...
    def end(self) -> None: ...


def resident() -> float:
    """What of this process is resident now, MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def config(folder: Path, steps: int) -> Config:
    """Two tiny arms, their panels at log-spaced steps."""
    tables = {
        "name": "long",
        "data": {"name": "shapes", "labelling": "size", "per_class": 1000},
        "batches": {"size": 4},
        "views": {"size": 8, "recipe": "none"},
        "model": {"encoder": "vit", "width": 4, "depth": 1, "heads": 1, "projection_hidden": 4, "projection_dim": 4},
        "optimiser": {"learning_rate": 1e-4},  # so small a network explodes at larger ones, at some step or other
        "train": {"steps": steps, "threads": 1},
        "panel": {"size": 16, "surrogate_size": 4},
        "paths": {"runs": str(folder)},
        "arms": {"cl": {"objective": "dcl"}, "nscl": {"objective": "nscl"}},
    }
    return from_tables(tables)


def report(run: Path) -> None:
    """The time of `coupled-analyze report`, of a run without an analysis."""
    shutil.rmtree(run / "analysis", ignore_errors=True)
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-m", "analysis", "report", str(run)], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    sizes = ", ".join(f"{p.name} {p.stat().st_size / 1e6:.1f} MB" for p in sorted((run / "analysis").glob("*.[ch]*")))
    print(f"report: {time.perf_counter() - start:.1f} s, {cpu:.1f} s CPU; {sizes}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=10 * EACH)
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    tune_memory()
    watch = Watch()
    path = train(config(options.folder, options.steps), overwrite=True, reporter=watch)
    flat = watch.rows[1:]
    for name in ("cpu", "quick", "resident"):
        values = [getattr(row, name) for row in flat]
        if values:
            middle = sorted(values)[len(values) // 2]
            low, high = min(values) / middle - 1, max(values) / middle - 1
            print(f"{name} from step {EACH} on: {low:+.1%} … {high:+.1%} about its median")
    if options.report:
        report(path)


if __name__ == "__main__":
    main()
