"""Units whose sign differs, over steps, and when the first was seen to flip."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from analysis.runs.curve import Curve
from analysis.runs.run import Run


def has_flips(run: Run, arm: str) -> bool:
    """Has an arm committed flips?"""
    return run.schedules("flips") and ("flips", arm) in run.shards


def flipped(run: Run, arm: str) -> Iterator[Curve]:
    """The curve "flipped": units on the watched images whose sign differs from the reference's, in all places."""
    if not has_flips(run, arm):
        return
    steps, counts = run.column("flips", arm, "state.flipped")
    images = min(run.config.panel.flips_size, run.config.panel.size)
    yield replace(
        run.curve("distance", arm=arm), measure="flipped", steps=steps, values=counts.sum(-1).astype(np.float64),
        n=images, source="panel", split="test", estimator=f"units whose sign differs, on {images} panel images",
        undefined="",
    )  # fmt: skip


def first_flip(run: Run, arm: str) -> int | None:
    """The first step at which a unit was seen to differ; None if none was, or none is recorded.

    Only on the watched images and at the scheduled steps: it may have flipped before, elsewhere.
    """
    curve = next(flipped(run, arm), None)
    if curve is None or not curve.values.any():
        return None
    return int(curve.steps[np.flatnonzero(curve.values)[0]])
