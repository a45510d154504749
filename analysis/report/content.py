"""What a report is made of, gathered from runs once; everything behind it is a pure function of this."""

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from analysis.curve import Curve
from analysis.curves import curves
from analysis.report.layers import LayerGrid, layer_grids
from analysis.run import Run
from analysis.together import by_seed, over_seeds
from coupled.errors import UserError

_SAME: Final = (
    "measure", "arm", "anchor", "feature", "source", "split", "labelling", "kind", "bound", "estimator", "d",
)  # fmt: skip


@dataclass(frozen=True)
class Content:
    """The matter of a report: runs of one config at one or several seeds, and what was measured in them.

    Curves are means over seeds where there are several (`interval` is then their range). `rates[t]` is the
    cumulative learning rate of the first t steps, of the first run. `missing` says, section by section ("curves",
    "bounds", "divergence", "layers"), in words why something is not there.
    """

    runs: tuple[Run, ...]
    curves: list[Curve]
    bounds: list[Curve] = field(default_factory=list)
    divergence: list[Curve] = field(default_factory=list)
    growth: list[Any] = field(default_factory=list)
    layers: list[LayerGrid] = field(default_factory=list)
    rates: NDArray[np.float64] = field(default_factory=lambda: np.zeros(1))
    missing: dict[str, list[str]] = field(default_factory=dict)

    @property
    def run(self) -> Run:
        """The first run: where the seeds do not matter, it stands for all."""
        return self.runs[0]


def collect(runs: Sequence[Run], measured: Sequence[Sequence[Curve]] | None = None) -> Content:
    """Everything that a report of these runs shows. `measured`: the curves of each run, if they are at hand.

    Raises UserError if the runs differ in more than the seed or have no committed step, StoreError if one is damaged.
    """
    groups = by_seed(runs)
    if len(groups) > 1:
        raise UserError(
            f"{groups[0][0].path} and {groups[1][0].path} differ in more than the seed",
            "a report is of one config, at one or several seeds",
            "make one report for each",
        )
    measured = measured if measured is not None else [curves(run) for run in runs]
    missing: dict[str, list[str]] = {}
    return Content(
        runs=tuple(runs),
        curves=merged(measured),
        bounds=merged(_from_all("bounds", "bounds", runs, missing)),
        divergence=merged(_from_all("divergence", "divergence", runs, missing)),
        growth=[row for rows in _from_all("divergence", "growth", runs, missing) for row in rows],
        layers=layer_grids(runs[0], missing),
        rates=_cumulative_rates(runs[0]),
        missing={section: list(dict.fromkeys(said)) for section, said in missing.items()},
    )


def merged(found: Sequence[Sequence[Curve]]) -> list[Curve]:
    """Curves of several runs as one list: those of the same quantity become their mean and range."""
    groups: dict[tuple[Any, ...], list[Curve]] = {}
    for curve in (curve for of_run in found for curve in of_run):
        groups.setdefault(tuple(getattr(curve, name) for name in _SAME), []).append(curve)
    return [over_seeds(same) for same in groups.values()]


def optional(module: str, function: str) -> Callable[..., Any] | None:
    """A function of a sibling module of `analysis`, None where this version has no such module."""
    if importlib.util.find_spec(f"analysis.{module}") is None:
        return None
    return getattr(importlib.import_module(f"analysis.{module}"), function)


def _from_all(module: str, function: str, runs: Sequence[Run], missing: dict[str, list[str]]) -> list[list[Any]]:
    """What the function finds in each run; a run that lacks the records for it says so and is passed over."""
    made = optional(module, function)
    if made is None:
        missing.setdefault(module, []).append(f"This version of coupled-analyze has no {module}.")
        return []
    found = []
    for run in runs:
        try:
            found.append(list(made(run)))
        except UserError as error:
            missing.setdefault(module, []).append(f"{error}.")
    return found


def _cumulative_rates(run: Run) -> NDArray[np.float64]:
    if not run.schedules("scalars", "batch") or run.awaits("scalars", "shared"):
        return np.zeros(1)
    steps, rates = run.column("scalars", "shared", "batch.learning_rate")
    if len(steps) != steps[-1] + 1:
        return np.zeros(1)  # recorded now and then: the sum is not known
    return np.concatenate([[0.0], np.cumsum(rates)])
