"""A sweep as its points: what is trained, under which names."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from coupled.config import Config
from coupled.sweeps.slurm import Slurm


@dataclass(frozen=True)
class Point:
    """One run of a sweep. `name`: of its directory below the sweep's; `values`: of the axes, by their names, more than
    one where several values of an axis make the same run.
    """

    name: str
    config: Config  # paths.runs is the sweep's folder, name is the point's
    values: Mapping[str, tuple[Any, ...]]


@dataclass(frozen=True)
class Sweep:
    """`name`: that of its folder below paths.runs; `jobs`: at a time, None: as many as cores allow; `slurm`: what a job
    has on a cluster, None where the file does not say.
    """

    name: str
    runs: str  # the folder that the sweep's folder is made in
    points: tuple[Point, ...]
    jobs: int | None = None
    slurm: Slurm | None = None
