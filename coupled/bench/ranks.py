"""`coupled-run bench --ranks N`: the same run on N ranks and in one process with as many threads, in turns.

Whole steps are timed, recording and writing included. Rank 0 holds both runs; while it takes a block of steps of the
run that is its own alone, the other ranks wait without using a core. A busy machine slows both.
"""

import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from statistics import median

import torch

from coupled.bench.steps import WARM_UP, shortened
from coupled.config import Config, Schedule
from coupled.driver.assembly import build, start_run
from coupled.driver.loop import advance
from coupled.driver.run import Run
from coupled.errors import UserError
from coupled.ranks.joining import joined
from coupled.ranks.mesh import ALONE, Mesh

BLOCK = 10  # steps in a row; whoever makes views ahead has a head start of two batches, not of every one


@dataclass(frozen=True)
class RankBench:
    """Steps a second on `ranks` ranks of `threads` threads, and in one process of `ranks` · `threads`; medians over
    blocks, and the median of the blocks' ratios.
    """

    ranks: str
    threads: int
    together: float
    alone: float
    ratio: float
    blocks: int


def bench_ranks(config: Config, steps: int = 40) -> RankBench | None:
    """Time `steps` steps both ways, rounded up to tens, after a few to warm up; on rank 0, None elsewhere.

    Raises UserError, RunStopped.
    """
    if steps < 1:
        raise UserError(f"{steps} steps", "at least 1 is needed")
    with joined(config) as mesh, ExitStack() as stack:
        assert mesh.placement is not None
        scratch = mesh.on_first(lambda: stack.enter_context(tempfile.TemporaryDirectory()))
        blocks = -(-steps // BLOCK)
        short = shortened(config, "ranks", WARM_UP + blocks * BLOCK, scratch, Schedule())
        run = stack.enter_context(_begun(short, mesh))
        threads = config.train.threads * mesh.placement.world
        many = replace(short, name="alone", train=replace(short.train, threads=threads))
        alone = stack.enter_context(_begun(many, ALONE)) if mesh.is_first else None
        pairs = []
        for number in range(blocks + 1):  # the first to warm up
            first, count = (0, WARM_UP) if number == 0 else (WARM_UP + (number - 1) * BLOCK, BLOCK)
            took = _timed(run, first, count, config.train.threads)
            mesh.most(0)
            if alone is not None:
                pairs.append((took, _timed(alone, first, count, threads)))
            mesh.most(0)
        run.drain()
        if alone is not None:
            alone.drain()
        return _result(mesh, config, pairs[1:]) if mesh.is_first else None


def _result(mesh: Mesh, config: Config, pairs: list[tuple[float, float]]) -> RankBench:
    return RankBench(
        str(mesh.placement),
        config.train.threads,
        BLOCK / median(took for took, _ in pairs),
        BLOCK / median(took for _, took in pairs),
        median(alone / together for together, alone in pairs),
        len(pairs),
    )


def _begun(config: Config, mesh: Mesh) -> Run:
    run = start_run(build(config, mesh))
    assert run is not None
    return run


def _timed(run: Run, first: int, count: int, threads: int) -> float:
    """Seconds of a block of steps."""
    torch.set_num_threads(threads)
    started = time.perf_counter()
    for step in range(first, first + count):
        advance(run, step)
    if run.source.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started
