"""How far CL comes from itself when it is nudged at the start: with its own ReLU masks, and with CL's replayed.

    OMP_WAIT_POLICY=PASSIVE python tests/benchmarks/masks_replayed.py [--seeds 0 1 2] [--precisions float64 float32]

The setting of configs/quickstart.toml, up to the last step of --at, twice. Once arms are trained as they
are. Once each ReLU of every arm but CL is replaced, in every training forward, by multiplication with 1 where CL's own
unit is above 0 for the same view in the same step, and with 0 elsewhere: then no nudge can flip a unit, and all else is
as before. NSCL stands beside the nudges. Printed: the weight gap to CL, its mean over seeds and every seed's.
"""

import argparse
import os
import tempfile
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from coupled.config import Config, from_tables
from coupled.driver.assembly import assemble
from coupled.driver.run import Run
from coupled.driver.standings import standings
from coupled.memory import tune_memory
from coupled.models.activation import signs_of
from coupled.theory.learning_rate import learning_rate

QUICKSTART = Path(__file__).parents[2] / "configs/quickstart.toml"
SCALES = ("1e-3", "1e-5", "1e-7")


def arms() -> dict[str, dict[str, object]]:
    """CL, NSCL and nudged copies of CL."""
    nudged = {f"nudged-{scale}": {"kind": "nudged", "scale": float(scale)} for scale in SCALES}
    return {"cl": {"objective": "dcl"}, "nscl": {"objective": "nscl"}, **nudged}


@contextmanager
def replaying(network: nn.Module, masks: Mapping[str, Sequence[Tensor]]) -> Iterator[None]:
    """Inside, activation `name` lets through what is True in `masks[name]`, one mask for each of its forwards."""
    modules = {name: network.get_submodule(name) for name in masks}
    for name, module in modules.items():
        left = iter(masks[name])
        module.forward = lambda x, left=left: x * next(left)
    try:
        yield
    finally:
        for module in modules.values():
            del module.forward


def advance(run: Run, step: int, *, replay: bool) -> None:
    """Every arm from `step` to `step` + 1; with `replay` all but the first with the masks of the first."""
    batch = run.stream.at(step)
    reference, *others = run.arms.values()
    with signs_of(reference.network) as masks:
        reference.forward_backward(batch)
    for arm in others:
        with replaying(arm.network, masks) if replay else nullcontext():
            arm.forward_backward(batch)
    rate = learning_rate(run.config.optimiser, step, run.config.batches.size)
    for arm in run.arms.values():
        arm.update(rate)


def gaps(config: Config, at: Sequence[int], *, replay: bool) -> dict[str, list[float]]:
    """The weight gap of every arm to the first, at each of these steps. Records nothing in the run's folder."""
    run = assemble(config)
    assert run is not None
    rows: dict[str, list[float]] = {name: [] for name in list(run.arms)[1:]}
    with run:
        for step in range(max(at)):
            advance(run, step, replay=replay)
            if step + 1 in at:
                for standing in standings(run):
                    if standing.gap is not None:
                        rows[standing.arm].append(standing.gap)
    return rows


def both(seed: int, precision: str, threads: int, at: Sequence[int]) -> dict[str, list[float]]:
    """The weight gaps of every arm with its own masks, and with those of CL."""
    tables = tomllib.loads(QUICKSTART.read_text(encoding="utf-8"))
    tables["train"] |= {"precision": precision, "threads": threads}
    rows = {}
    for replay, masks in ((False, "its own masks"), (True, "CL's masks")):
        with tempfile.TemporaryDirectory() as folder:
            config = from_tables({**tables, "name": "masks", "seed": seed, "paths": {"runs": folder}, "arms": arms()})
            rows |= {f"{arm}, {masks}": values for arm, values in gaps(config, at, replay=replay).items()}
    return rows


def cell(values: Sequence[float]) -> str:
    """The mean over seeds, and every seed's."""
    each = " ".join(f"{value:.2g}" for value in values)
    return f"{sum(values) / len(values):.2g}  ({each})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--precisions", nargs="+", default=["float64", "float32"])
    parser.add_argument("--at", type=int, nargs="+", default=[10, 30, 60, 100])
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    tune_memory()
    console, at = Console(width=160), sorted(set(given.at))
    for precision in given.precisions:
        started, table = time.monotonic(), Table("arm", *[f"step {step}" for step in at], title=precision)
        of_seeds = [both(seed, precision, given.threads, at) for seed in given.seeds]
        for name in of_seeds[0]:
            table.add_row(name, *map(cell, zip(*(rows[name] for rows in of_seeds), strict=True)))
        load, seconds = os.getloadavg()[0], time.monotonic() - started
        console.print(table, f"{seconds:.0f} s, {given.threads} threads, load {load:.1f}", sep="\n")


if __name__ == "__main__":
    main()
