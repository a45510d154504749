"""Tiny sweeps: points over seeds, made by hand; and the whole command on one: `python swept.py FOLDER JOBS [STEPS]`."""

import sys
import types
from pathlib import Path

from helpers import tiny

from coupled.sweeps.points import Point, Sweep

ARMS = {"cl": {"objective": "dcl"}, "nscl": {"objective": "nscl"}}
NAME = "seeds"


def point_of(folder, name, values=None, **sections):
    """A point of the sweep that lies in `folder`."""
    config = tiny(Path(folder) / NAME, name=name, **{"arms": ARMS, "train": {"steps": 3}, **sections})
    return Point(name, config, values or {})


def sweep_of(folder, seeds=2, **sections):
    """A sweep over the seeds 0, 1, …"""
    points = [point_of(folder, f"seed-{s}", {"seed": (s,)}, seed=s, **sections) for s in range(seeds)]
    return Sweep(NAME, str(folder), tuple(points))


def read_as(sweep):
    """A module that takes the place of the one that reads a sweep's file."""
    reading = types.ModuleType("coupled.sweeps.reading")
    reading.load = lambda path, overrides=(): sweep
    return reading


def main(folder, jobs, steps="12"):
    from coupled.cli import main as command

    sections = {
        "train": {"steps": int(steps)},
        "checkpoints": {"keep": {"steps": [0]}, "recovery": {"every": 4}},
    }
    sys.modules["coupled.sweeps.reading"] = read_as(sweep_of(folder, seeds=3, **sections))
    return command(["sweep", "seeds.toml", "--jobs", jobs])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
