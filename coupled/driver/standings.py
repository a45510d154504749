"""How arms stand against their references right now: what a person who watches a run sees of it."""

from typing import NamedTuple

import torch

from coupled.driver.run import Run
from coupled.models.segments import Sum
from coupled.recording.weights import Weights
from coupled.runtime import one_thread
from coupled.theory.alignment import linear_cka


class Standing(NamedTuple):
    """An arm's loss, and the debiased CKA of the batch's z and the weight gap to its reference; None without one."""

    arm: str
    loss: float
    cka: float | None
    gap: float | None


def standings(run: Run) -> list[Standing]:
    """Every arm of the run; a meeting of all ranks."""
    names = list(run.config.arms)
    rows = torch.full((len(names), 3), torch.nan, dtype=torch.float64)
    if run.mesh.writes:
        with one_thread():
            for name, values in _own(run).items():
                rows[names.index(name)] = torch.tensor(values, dtype=torch.float64)
    everyones = run.mesh.host.gathered(rows)
    rows = torch.stack([everyones[run.mesh.holder(name), k] for k, name in enumerate(names)])
    return [
        Standing(name, loss, *(None if run.config.arms[name].reference is None else value for value in (cka, gap)))
        for name, (loss, cka, gap) in zip(names, rows.tolist(), strict=True)
    ]


def _own(run: Run) -> dict[str, tuple[float, float, float]]:
    arms, dependents = run.arms, run.recorder.dependents
    some = next(iter(arms.values())).z
    sums = (Sum.SQUARES, Sum.DISTANCES)
    weights = Weights(run.recorder.geometry, arms, run.mesh, dependents, sums)
    references = dict(
        run.mesh.references(dependents, lambda arm: arms[arm].z if arm in arms else torch.empty_like(some))
    )
    rows = {}
    for name, arm in arms.items():
        cka = gap = torch.nan
        if arm.reference is not None:
            cka, gap = float(linear_cka(arm.z, references[arm.reference])), float(weights.gap(name))
        rows[name] = (float(arm.loss), cka, gap)
    return rows
