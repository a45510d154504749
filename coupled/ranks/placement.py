"""Which rank holds what: arms along one axis of the mesh, each global batch along the other. Arithmetic alone."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch

from coupled.config import Config
from coupled.config.resolve import check_parts
from coupled.errors import UserError


@dataclass(frozen=True)
class Placement:
    """A mesh of A × D ranks: rank a·D + d holds the arms `groups[a]` and the d-th of `data` parts of every batch."""

    groups: tuple[tuple[str, ...], ...]
    data: int = 1

    @property
    def world(self) -> int:
        """W = A·D."""
        return len(self.groups) * self.data

    def holder(self, owner: str) -> int:
        """The first rank that holds an arm, which writes for it; rank 0 for what arms share."""
        return next((a * self.data for a, group in enumerate(self.groups) if owner in group), 0)

    def __str__(self) -> str:
        shares = f"{len(self.groups)} for arms × {self.data} for data" if self.data > 1 else "each with arms of its own"
        return f"{self.world} ranks, {shares}" if self.world > 1 else "one process"


def place(config: Config, world: int) -> Placement:
    """The placement of a config's arms on `world` ranks: as `ranks.arms` and `ranks.data` say; left open, as many ranks
    for arms as there are arms for, the rest for data. Raises UserError where they do not fit.
    """
    ranks, arms = config.ranks, list(config.arms)
    fitting = [a for a in range(1, min(world, len(arms)) + 1) if world % a == 0]
    if ranks.arms is None:
        ways = [a for a in fitting if ranks.data in (None, world // a)]
        ways = [a for a in ways if config.batches.size % (world // a) == 0] or ways
    else:
        ways = [a for a in fitting if a == ranks.arms and ranks.data in (None, world // a)]
    if not ways:
        asked = [f"ranks.{key} = {value}" for key in ("arms", "data") if (value := getattr(ranks, key)) is not None]
        raise UserError(
            " with ".join([f"{world} ranks", *asked]),
            f"ranks.arms × ranks.data ranks, of them at most {len(arms)} for the {len(arms)} arms",
            "give another number of ranks, or leave ranks.arms and ranks.data out",
        )
    count = max(ways)
    check_parts(config, world // count)
    return Placement(_shared_out(arms, count), world // count)


def most_ranks(config: Config) -> int:
    """How many ranks with arms of their own there is room for: as far as cores (`train.threads` each) or GPUs go."""
    places = torch.cuda.device_count() if config.train.device == "cuda" else cores() // config.train.threads
    return max(1, min(len(config.arms), places))


def cores() -> int:
    """CPU cores that this process may use: by its affinity, and by its control group's quota where there is one."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:  # noqa: PTH123 - no file of the run's
            quota, period = file.read().split()
        return max(1, min(count, int(quota) // int(period)))
    except (OSError, ValueError):
        return count


def _shared_out(arms: Sequence[str], groups: int) -> tuple[tuple[str, ...], ...]:
    """Arms in their order, in groups whose sizes differ by one at most; the first are the larger."""
    each, more = divmod(len(arms), groups)
    starts = [g * each + min(g, more) for g in range(groups + 1)]
    return tuple(tuple(arms[a:b]) for a, b in pairwise(starts))
