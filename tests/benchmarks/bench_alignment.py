"""Debiased CKA and RSA of one pair of float32 features: seconds, memory, and the time of forming n × n matrices.

    OMP_WAIT_POLICY=PASSIVE python tests/benchmarks/bench_alignment.py [--threads 2]

Every case is a process of its own. Memory is its peak resident set above the imports; it includes the float32 input,
which a column of its own states. The naive way forms K and L in float64 and is given the same threads; least of three.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

import analysis
from coupled.memory import tune_memory

CASES = ((50_000, 512, False), (10_000, 128, True), (10_000, 512, True), (10_000, 2048, False))


def memory(name: str) -> int:
    """A memory figure of this process, MiB: VmHWM is the peak, VmRSS what is resident now."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) >> 10 for line in lines if line.startswith(name))


def naive(x: Tensor, y: Tensor) -> tuple[float, float]:
    """Debiased CKA and RSA by n × n matrices in float64."""
    n = len(x)
    x, y = x.double(), y.double()

    def similarities(t: Tensor) -> Tensor:
        return (t @ t.T).fill_diagonal_(0)

    def hsic(a: Tensor, b: Tensor) -> Tensor:
        total = (a.sum() * b.sum()) / ((n - 1) * (n - 2))
        return (a * b).sum() + total - 2 / (n - 2) * (a.sum(0) * b.sum(0)).sum()

    a, b = similarities(x - x.mean(0)), similarities(y - y.mean(0))
    cka = hsic(a, b) / (hsic(a, a) * hsic(b, b)).sqrt()
    a, b = (similarities(t / t.norm(dim=1, keepdim=True)) for t in (x, y))
    a, b = (((t - t.sum() / (n * (n - 1))).fill_diagonal_(0)) for t in (a, b))
    return cka.item(), ((a * b).sum() / (a.norm() * b.norm())).item()


def ours(x: Tensor, y: Tensor) -> tuple[float, float]:
    return analysis.linear_cka(x, y), analysis.rsa(x, y)


def least(call: Callable[[Tensor, Tensor], tuple[float, float]], x: Tensor, y: Tensor, repeats: int = 3) -> tuple:
    """Least seconds, and the values."""
    taken, values = [], (0.0, 0.0)
    for _ in range(repeats):
        start = time.perf_counter()
        values = call(x, y)
        taken.append(time.perf_counter() - start)
    return min(taken), values


def case(n: int, d: int, compare: bool) -> str:
    """One row of the table, tab-separated."""
    before = memory("VmRSS")
    generator = torch.Generator().manual_seed(n + d)
    x = torch.randn(n, d, generator=generator)
    y = torch.randn(n, d, generator=generator).add_(x, alpha=0.5)
    given = memory("VmRSS") - before
    seconds, values = least(ours, x, y)
    peak = memory("VmHWM") - before
    cells = [f"{n} × {d}", f"{seconds:.2f}", str(peak), str(given)]
    if compare:
        slow, expected = least(naive, x, y)
        off = max(abs(a - b) for a, b in zip(values, expected, strict=True))
        cells += [f"{slow:.2f}", f"{slow / seconds:.0f}", f"{off:.0e}"]
    return "\t".join(cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--case", type=int, help="run one case and print its row")
    options = parser.parse_args()
    if options.case is not None:
        tune_memory()
        torch.set_num_threads(options.threads)
        print(case(*CASES[options.case]))
        return
    table = Table("n × d", "s", "peak MiB", "of it input", "naive s", "times faster", "largest difference")
    for index in range(len(CASES)):
        command = [sys.executable, __file__, "--threads", str(options.threads), "--case", str(index)]
        row = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        table.add_row(*row.strip().split("\t"))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
