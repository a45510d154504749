"""Runs grouped into points, such as the class counts of a study: each point has a run of every seed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analysis.aggregation.gap import Gap
from analysis.aggregation.seeds import Mean, mean
from analysis.aggregation.summary import DEFAULT, Summary, summaries
from coupled.config.differences import fields_of
from coupled.errors import UserError
from coupled.store import canonical_json


@dataclass(frozen=True, eq=False)
class Point:
    """Runs of one name that differ in the seed, and in nothing else but what follows from the seed."""

    name: str
    runs: tuple[Summary, ...]

    def values(self, quantity: str, *, arm: str, axis: str, target: float) -> dict[int, float | Gap]:
        """By seed, the quantity of an arm where it had come to `target` of an axis (`matching.AXES`)."""
        return {run.seed: run.value(quantity, arm, axis, target) for run in self.runs}


@dataclass(frozen=True)
class Cell:
    """A quantity at one point and one target, over seeds, and how far weights (docs/theory.md (62)) and Σ had moved
    there: an alignment of arms that have hardly moved says nothing.
    """

    point: str
    quantity: str
    arm: str
    axis: str
    target: float
    mean: Mean | Gap
    motion: Mean | Gap
    similarity_motion: Mean | Gap


def points(named: Mapping[str, Iterable[str | Path]], quantities: Iterable[str] = DEFAULT) -> list[Point]:
    """A point of every name. That its runs belong together is the caller's word: classes that are drawn by the seed,
    say, make configs that differ in more. Raises UserError for a name without runs and for a seed that comes twice.
    """
    paths = {name: list(of) for name, of in named.items()}
    for name, of in paths.items():
        if not of:
            raise UserError(f"point {name} has no runs", "one or more are needed")
    whole = iter(summaries([path for of in paths.values() for path in of], quantities))
    return [_point(name, [next(whole) for _ in of]) for name, of in paths.items()]


def points_by_config(paths: Iterable[str | Path], quantities: Iterable[str] = DEFAULT) -> list[Point]:
    """Points of runs whose configs are equal but for the seed, named by the fields in which the points differ."""
    groups: dict[bytes, list[Summary]] = {}
    for run in summaries(paths, quantities):
        groups.setdefault(canonical_json(_but_seed(run)), []).append(run)
    tables = [dict(fields_of(_but_seed(runs[0]))) for runs in groups.values()]
    names = dict.fromkeys(name for table in tables for name in table)
    varied = [name for name in names if any(table.get(name) != tables[0].get(name) for table in tables)]
    return [
        _point(", ".join(f"{name} = {table.get(name, 'default')}" for name in varied) or "all runs", runs)
        for table, runs in zip(tables, groups.values(), strict=True)
    ]


def aggregate(of: Sequence[Point], quantity: str, *, arm: str, axis: str, targets: Sequence[float]) -> list[Cell]:
    """Means over seeds at every point and target, or gaps that say why there is none."""

    def over_seeds(point: Point, name: str, target: float) -> Mean | Gap:
        return mean(point.values(name, arm=arm, axis=axis, target=target))

    return [
        Cell(
            point.name, quantity, arm, axis, target,
            *(over_seeds(point, name, target) for name in (quantity, "motion", "similarity_motion")),
        )
        for point in of
        for target in targets
    ]  # fmt: skip


def shared_range(of: Sequence[Point], quantity: str, *, arm: str, axis: str) -> tuple[float, float] | Gap:
    """The amounts of an axis, from first to last as training goes, at which every run of every point has the quantity:
    where all can be compared. A gap that names the run where one has none, or where there is no such amount.
    """
    ends = []
    for point in of:
        for run in point.runs:
            series, progress = run.series(quantity, arm), run.progress(axis, arm)
            for part in (series, progress):
                if isinstance(part, Gap):
                    return Gap(f"{run.path}: {part.reason}")
            assert not isinstance(series, Gap) and not isinstance(progress, Gap)
            steps = series[0]
            steps = steps[(steps >= progress.steps[0]) & (steps <= progress.steps[-1])]
            if not len(steps):
                return Gap(f"{run.path}: no recorded step at which the {progress.words} is known")
            ends.append(progress.at(steps[[0, -1]]))
    first, last = np.array(ends).T
    falling = axis == "loss"
    bounds = (first.min(), last.max()) if falling else (first.max(), last.min())
    if bounds[0] < bounds[1] if falling else bounds[0] > bounds[1]:
        return Gap(f"one run begins at {axis} {bounds[0]:.6g}, and another ends at {bounds[1]:.6g}")
    return float(bounds[0]), float(bounds[1])


def differences(of: Sequence[Point]) -> list[str]:
    """In what runs differ that are compared here by their numbers alone: "images", "panel samples" and the like.

    Runs of other images or panels have no samples in common. Their numbers may be compared; their features, sample by
    sample, may not, which `analysis.runs.seeds.check` refuses.
    """
    facts = [run.about["shared"] for point in of for run in point.runs]
    names = dict.fromkeys(name for fact in facts for name in fact)
    return [name for name in names if any(fact.get(name) != facts[0].get(name) for fact in facts)]


def _but_seed(run: Summary) -> dict[str, object]:
    return {name: value for name, value in run.about["config"].items() if name != "seed"}


def _point(name: str, runs: Sequence[Summary]) -> Point:
    seen: dict[int, Summary] = {}
    for run in runs:
        if run.seed in seen:
            both = f"{seen[run.seed].path} and {run.path} both have seed {run.seed}"
            raise UserError(f"point {name}: {both}", "every seed once", "leave one out")
        seen[run.seed] = run
    return Point(name, tuple(runs))
