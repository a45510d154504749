"""How much the gradient of CL changes when its weights are nudged, beside how many units the nudge flips.

    python tests/benchmarks/flips_and_gradients.py [--seeds 0 1 2] [--step 5]

The setting of configs/quickstart.toml in float64: CL after so many steps is nudged by several sizes, w to w·(1 ± s),
and both see the same batch in training mode. Printed: the share of units (activations × views) whose sign differs,
‖Δg‖/‖g‖, that over the root of the number of flips, and ‖Δg‖/‖g‖ with the masks of the un-nudged network replayed,
where nothing flips. Minutes a seed.
"""

import argparse
import tomllib
from pathlib import Path

import torch
from masks_replayed import QUICKSTART, replaying
from rich.console import Console
from rich.table import Table

from coupled.config import from_tables
from coupled.driver.assembly import build
from coupled.models.activation import signs_of
from coupled.models.init import nudge
from coupled.theory.learning_rate import learning_rate

SCALES = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7)


def rows(seed: int, step: int) -> list[tuple[float, int, int, float, float]]:
    """Scale, flips, units, ‖Δg‖/‖g‖, and the same with masks replayed."""
    tables = tomllib.loads(Path(QUICKSTART).read_text(encoding="utf-8"))
    tables |= {"name": "flips", "seed": seed, "arms": {"cl": {"objective": "dcl"}, "nudged": {"kind": "twin"}}}
    tables["train"] |= {"precision": "float64"}
    parts = build(from_tables(tables))
    cl, nudged = parts.arms["cl"], parts.arms["nudged"]
    for at in range(step):
        cl.forward_backward(parts.source.at(at))
        cl.update(learning_rate(parts.config.optimiser, at, parts.config.batches.size))
    batch = parts.source.at(step)
    with signs_of(cl.network) as masks:
        cl.forward_backward(batch)
    own, found = cl.state.gradient, []
    for scale in SCALES:
        nudged.state.copy_from(cl.state)
        nudge(nudged.state, seed, scale, 1)
        with signs_of(nudged.network) as others:
            nudged.forward_backward(batch)
        pairs = [(a, b) for name in masks for a, b in zip(masks[name], others[name], strict=True)]
        flips, units = sum(int((a != b).sum()) for a, b in pairs), sum(a.numel() for a, _ in pairs)
        change = float((nudged.state.gradient - own).norm() / own.norm())
        with replaying(nudged.network, masks):
            nudged.forward_backward(batch)
        found.append((scale, flips, units, change, float((nudged.state.gradient - own).norm() / own.norm())))
    return found


def main() -> None:
    """Prints a table for each seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--step", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(2)
    table = Table("seed", "nudge", "flips", "of the units", "‖Δg‖/‖g‖", "over √flips", "masks replayed", box=None)
    for seed in given.seeds:
        for scale, flips, units, change, replayed in rows(seed, given.step):
            root = f"{change / flips**0.5:.1e}" if flips else "–"
            table.add_row(
                str(seed), f"{scale:.0e}", str(flips), f"{flips / units:.1e}", f"{change:.1e}", root, f"{replayed:.1e}"
            )
    Console().print(table)


if __name__ == "__main__":
    main()
