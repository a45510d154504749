"""The numbers of a sweep: every quantity of every arm at every point, over seeds, at each match in turn."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from analysis.aggregation.gap import Gap
from analysis.aggregation.matching import AXES, FALLING
from analysis.aggregation.points import Point, shared_range
from analysis.aggregation.seeds import LEAST_SEEDS, Contrast, Mean, contrast, mean
from analysis.runs.controls import loss_of
from analysis.sweeps.kept import ACCURACY
from analysis.sweeps.reading import Swept, SweptPoint
from coupled.config import Arm
from coupled.objectives.registry import NEEDS_LABELS, OBJECTIVES

# By quantity: its name in words. Those to the reference are of arms that have one.
QUANTITIES: Final = {
    "cka": "CKA",
    "rsa": "RSA",
    "weight_gap": "weight gap",
    "gap": "loss gap",
    ACCURACY: "accuracy",
}
TO_REFERENCE: Final = ("cka", "rsa", "weight_gap")
MATCHES: Final = tuple(AXES)
_CONTROLS: Final = ("placebo", "kicked", "nudged")


@dataclass(frozen=True)
class Number:
    """A quantity over seeds: a number or a gap of each."""

    by_seed: Mapping[int, float | Gap]

    @cached_property
    def mean(self) -> Mean | Gap:
        """With its interval; a gap of fewer than three seeds."""
        return mean(self.by_seed)

    @cached_property
    def known(self) -> list[float]:
        """The numbers that there are."""
        return [value for value in self.by_seed.values() if not isinstance(value, Gap) and math.isfinite(value)]

    @property
    def value(self) -> float:
        """The mean of the numbers that there are, however few; NaN of none."""
        return math.fsum(self.known) / len(self.known) if self.known else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """The ends of the 95 % t-interval; NaN of fewer than three seeds."""
        return (math.nan, math.nan) if isinstance(self.mean, Gap) else (self.mean.low, self.mean.high)

    @property
    def reasons(self) -> list[str]:
        """Why seeds have no number, each reason with its seeds."""
        seeds: dict[str, list[int]] = {}
        for seed, value in self.by_seed.items():
            if isinstance(value, Gap) or not math.isfinite(value):
                seeds.setdefault(value.reason if isinstance(value, Gap) else "undefined", []).append(seed)
        # A run that has not begun may be of any seed.
        return [f"seed {', '.join(map(str, of))}: {reason}" if of[0] >= 0 else reason for reason, of in seeds.items()]


@dataclass(frozen=True, eq=False)
class Row:
    """A quantity of an arm at a point where `amount` of a match was reached, and how far weights and Σ had moved."""

    match: str
    amount: float | Gap
    point: SweptPoint
    arm: str
    quantity: str
    number: Number
    motion: Number
    similarity_motion: Number


@dataclass(frozen=True, eq=False)
class Difference:
    """An arm less another, seed by seed, at the amount of the first."""

    match: str
    point: SweptPoint
    arm: str
    against: str
    quantity: str
    contrast: Contrast | Gap


@dataclass(frozen=True, eq=False)
class Numbers:
    """All of a sweep. `amounts`: by (match, quantity, arm), where arms are compared."""

    rows: tuple[Row, ...]
    differences: tuple[Difference, ...]
    amounts: Mapping[tuple[str, str, str], float | Gap]

    @cached_property
    def quantities(self) -> list[str]:
        """Those of which there is a number; accuracy only where it was kept."""
        there = {row.quantity for row in self.rows if row.number.known}
        return [name for name in QUANTITIES if name in there or name != ACCURACY]

    @cached_property
    def best_match(self) -> str:
        """The first match at which there is a number."""
        return next((match for match in MATCHES if any(r.match == match and r.number.known for r in self.rows)), "step")


def numbers_of(swept: Swept) -> Numbers:
    """Every number of the sweep."""
    amounts = _amounts(swept)
    rows = tuple(_rows(swept, amounts))
    return Numbers(rows, tuple(_differences(swept, rows)), amounts)


def _amounts(swept: Swept) -> dict[tuple[str, str, str], float | Gap]:
    """The last amount of each match that all finished runs share (of those under way, if none is finished).

    It is one for all arms, so that they may be compared; of own losses, whose scale is the objective's, one for every
    family of arms.
    """
    amounts: dict[tuple[str, str, str], float | Gap] = {}
    for match in MATCHES:
        for quantity in QUANTITIES:
            groups: dict[str, list[str]] = {}
            for arm, place in swept.placed.items():
                if quantity not in TO_REFERENCE or swept.arms[arm].reference is not None:
                    groups.setdefault(place.family if match in FALLING else "", []).append(arm)
            for arms in groups.values():
                amount = _shared(swept, arms, quantity, match)
                amounts |= {(match, quantity, arm): amount for arm in arms}
    return amounts


def _shared(swept: Swept, arms: Sequence[str], quantity: str, match: str) -> float | Gap:
    """The last amount that all of these arms share; arms without the quantity do not count, unless none has it."""
    finished = {member.path for member in swept.members if member.is_finished}
    ranges = []
    for arm in arms:
        points = [_only(point, arm, finished, quantity) for point in swept.points]
        points = [point for point in points if point.runs]
        if points:
            ranges.append(shared_range(points, quantity, arm=arm, axis=match))
    known = [ends for ends in ranges if not isinstance(ends, Gap)]
    if not known:
        return next((gap for gap in ranges if isinstance(gap, Gap)), Gap("no run has it"))
    late, early = (min, max) if match not in FALLING else (max, min)
    first, last = early(ends[0] for ends in known), late(ends[1] for ends in known)
    if first > last if match not in FALLING else first < last:
        return Gap(f"one arm begins at {AXES[match]} {first:.6g}, and another ends at {last:.6g}")
    return last


def _only(point: SweptPoint, arm: str, finished: set[Path], quantity: str) -> Point:
    """The runs of a point that say where all can be compared."""
    runs = [run for run in point.begun.runs if arm in point.arms and (not finished or run.path in finished)]
    # What no command was called for cannot be shared; the others still can.
    runs = [run for run in runs if quantity != ACCURACY or not isinstance(run.series(quantity, arm), Gap)]
    return Point(point.name, tuple(runs))


def _rows(swept: Swept, amounts: Mapping[tuple[str, str, str], float | Gap]) -> Iterator[Row]:
    for match in MATCHES:
        for point in swept.points:
            for arm in point.arms:
                for quantity in QUANTITIES:
                    if (amount := amounts.get((match, quantity, arm))) is None:
                        continue
                    of = [
                        _number(point, name, arm, match, amount) for name in (quantity, "motion", "similarity_motion")
                    ]
                    yield Row(match, amount, point, arm, quantity, *of)


def _number(point: SweptPoint, quantity: str, arm: str, match: str, amount: float | Gap) -> Number:
    if isinstance(amount, Gap):
        values: dict[int, float | Gap] = {run.seed: amount for run in point.begun.runs}
    else:
        values = point.begun.values(quantity, arm=arm, axis=match, target=amount)
    return Number({**values, **point.not_begun})


def _differences(swept: Swept, rows: Sequence[Row]) -> Iterator[Difference]:
    by = {(row.match, row.point.name, row.arm, row.quantity): row for row in rows}
    for point in swept.points:
        for arm, against in pairs(point):
            # Own losses of two objectives are other quantities: an equal one is no equal progress.
            for match in (match for match in MATCHES if match not in FALLING):
                for quantity in _comparable(point, arm, against):
                    first = by.get((match, point.name, arm, quantity))
                    second = by.get((match, point.name, against, quantity))
                    if first is not None and second is not None and (first.number.known or second.number.known):
                        value = contrast(first.number.by_seed, second.number.by_seed)
                        yield Difference(match, point, arm, against, quantity, value)


def _comparable(point: SweptPoint, arm: str, against: str) -> list[str]:
    """What two arms can be told apart by: accuracy only under the same labels."""
    alike = point.arms[arm].labelling == point.arms[against].labelling
    return [quantity for quantity in QUANTITIES if quantity != ACCURACY or alike]


def pairs(point: SweptPoint) -> list[tuple[str, str]]:
    """Arms beside what they are told from: the placebo, kicked or matched arm that stands for their loss; and the first
    supervised arm of a reference beside the others of it.
    """
    if point.run is None:
        return []
    found = []
    for control, spec in point.arms.items():
        arm = loss_of(point.run, control)
        if arm is not None and spec.kind in _CONTROLS:
            found.append((arm, control))
    first: dict[str, str] = {}
    for arm, spec in point.arms.items():
        if spec.reference is not None and is_supervised(spec):
            other = first.setdefault(spec.reference, arm)
            found += [(arm, other)] if other != arm else []
    return found


def is_supervised(spec: Arm) -> bool:
    """Has the arm an objective of its own that takes labels?"""
    return spec.kind == "objective" and (spec.objective in NEEDS_LABELS or spec.objective not in OBJECTIVES)


def too_few(numbers: Iterable[Number]) -> bool:
    """Has any of them a number, but of too few seeds for an interval?"""
    return any(number.known and len(number.known) < LEAST_SEEDS for number in numbers)
