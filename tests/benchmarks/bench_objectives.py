"""Time and memory of one forward and backward of each objective, and of one evaluation, at B = 1024, d = 128.

    OMP_WAIT_POLICY=PASSIVE python tests/benchmarks/bench_objectives.py

Two threads. Memory is the peak resident set above what the imports left (Linux: VmHWM, reset through
/proc/self/clear_refs). Exits 1 above 1 s or 400 MB.
"""

import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from coupled.objectives.losses import batch_loss, evaluate, pair_masks, similarity
from coupled.objectives.registry import Objective

B, DIMENSION, REPEATS = 1024, 128, 5
LIMIT_S, LIMIT_MB = 1.0, 400.0
ROWS = {
    "dcl": Objective("dcl"),
    "nt_xent": Objective("nt_xent"),
    "nscl": Objective("nscl"),
    "nscl, positive in the denominator": Objective("nscl", positive_in_denominator=True),
    "homotopy, λ = .5": Objective("homotopy", lam=0.5),
    "scl": Objective("scl"),
    "evaluate all of these": None,
}


def resident(key: str) -> float:
    """A line of /proc/self/status, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(key))


def measure(name: str) -> tuple[float, float, float]:
    """Median and worst seconds, and peak MB above the start; in a process of its own, so that nothing is reused."""
    torch.set_num_threads(2)
    z = torch.nn.functional.normalize(torch.randn(2 * B, DIMENSION), dim=1).requires_grad_()
    masks = pair_masks(torch.randint(100, (B,)))
    Path("/proc/self/clear_refs").write_text("5")
    before, seconds = resident("VmRSS"), []
    for _ in range(REPEATS):
        start = time.perf_counter()
        sigma, objective = similarity(z), ROWS[name]
        if objective is None:
            evaluate(sigma, masks, 0.1, [row for row in ROWS.values() if row is not None])
        else:
            batch_loss(objective, sigma, masks, 0.1).backward()
        seconds.append(time.perf_counter() - start)
    return sorted(seconds)[REPEATS // 2], max(seconds), resident("VmHWM") - before


def main() -> int:
    table = Table("objective", "median s", "worst s", f"peak MB above imports (limit {LIMIT_MB:.0f})")
    ok = True
    processes = ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1)
    for name, (median, worst, peak) in zip(ROWS, processes.map(measure, ROWS), strict=True):
        ok &= median <= LIMIT_S and peak <= LIMIT_MB
        table.add_row(name, f"{median:.3f}", f"{worst:.3f}", f"{peak:.0f}")
    Console().print(table)
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
