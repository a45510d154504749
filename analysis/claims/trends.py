"""Effects of rules that speak of a trend: does a measure grow or fall with what a sweep varies?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.aggregation.gap import Gap
from analysis.aggregation.seeds import slope
from analysis.claims import values
from analysis.claims.parts import Effects, Part, difference
from analysis.claims.roles import having
from analysis.claims.rules import Row
from analysis.claims.sweeps import SweepRun


@dataclass(frozen=True, eq=False)
class Point:
    """An arm of a run at the logarithm x of its value of the axis; or, in place of x, why it has none."""

    run: SweepRun
    arm: str
    x: float | Gap


def trend(row: Row, part: Part, measure: str) -> Effects:
    """Each seed's least-squares slope over the logarithm of the axis, times the range of that logarithm; or, of a raw
    row, the slope of log measure over log(C − 1) as it is; less what the row compares it with. docs/theory.md (126).

    At equal progress of all runs and arms. A seed that lacks a point has no slope.
    """
    points = [point for run in part.runs for point in _points(row, run)]
    wanted = sorted({point.x for point in points if not isinstance(point.x, Gap)})
    common = _common(row, part, points, wanted)
    if isinstance(common, Gap):
        return dict.fromkeys(part.seeds, common)

    def of(point: Point) -> float | Gap:
        return difference(row, point.run, point.arm, lambda name: _value(row, point.run, measure, name, common))

    effects: Effects = {}
    for seed in part.seeds:
        own = [(point, of(point)) for point in points if point.run.seed == seed and not isinstance(point.x, Gap)]
        lacking = [point.x.reason for point in points if point.run.seed == seed and isinstance(point.x, Gap)]
        lacking += [f"{point.run.name}: {value.reason}" for point, value in own if isinstance(value, Gap)]
        has = {point.x for point, _ in own}
        if row.axis != "labelling" and len(own) > len(has):  # several labellings may have as many classes
            lacking.append(f"several runs with one {row.axis}: they differ in what else the sweep varies")
        lacking += [f"no run with {row.axis} = {_shown(x, row)}" for x in wanted if x not in has]
        numbers = [(float(p.x), v) for p, v in own if not isinstance(v, Gap) and not isinstance(p.x, Gap)]
        effects[seed] = Gap("; ".join(dict.fromkeys(lacking))) if lacking else _slope(row, numbers)
    return effects


def _points(row: Row, run: SweepRun) -> list[Point]:
    if run.summary is None:
        return [Point(run, "", Gap(f"{run.name}: {run.lacks}"))]
    arms = having(run.arms, row.arms[0])
    return [Point(run, arm, _x(row, run, arm)) for arm in arms] or [
        Point(run, "", Gap(f"{run.name} has no arm {row.arms[0]}"))
    ]


def _x(row: Row, run: SweepRun, arm: str) -> float | Gap:
    if row.axis in ("labelling", "classes"):
        assert run.summary is not None
        classes = (run.summary.about["classes"] or {}).get(run.arms[arm]["labelling"])
        if classes is None:
            return Gap(f"{run.name}: the number of classes is not known, as the data set is not known here")
        return math.log(classes - 1 if row.raw else classes)
    value = run.arms[arm]["temperature"] if row.axis == "temperature" else run.setting(row.axis)
    return math.log(1 if value is None else value)  # no imbalance is one of 1


def _shown(x: float, row: Row) -> str:
    return f"{math.exp(x) + (1 if row.raw else 0):.6g}"


@dataclass(frozen=True)
class _Common:
    """To what all arms have come: an amount of an axis of matching; None at equal steps."""

    axis: str = ""
    amount: float = 0.0


def _common(row: Row, part: Part, points: Sequence[Point], wanted: Sequence[float]) -> _Common | Gap:
    """What runs are compared at; a gap where they cannot be."""
    if len(wanted) < 2:
        return Gap(f"{part.sweep} has {len(wanted)} value{'s' * (len(wanted) != 1)} of {row.axis}: a slope needs two")
    runs = [run for run in part.runs if run.summary is not None]
    abouts = [run.summary.about for run in runs if run.summary is not None]
    images = sorted({about["images"] for about in abouts if about["images"] is not None})
    if row.axis == "classes" and len(images) > 1:
        return Gap(f"the number of images varies with that of classes: {', '.join(map(str, images))}")
    planned = [about["planned"] for about in abouts]
    if row.match == "step":
        if len(set(planned)) > 1:
            return Gap(f"runs of {min(planned)} to {max(planned)} steps are not compared at equal steps")
        return _Common()
    if row.match == "samples":
        return _Common("samples", min(p * int(run.setting("batch_size")) for p, run in zip(planned, runs, strict=True)))
    arms = [(point.run, point.arm) for point in points if point.arm]
    amount = values.furthest_shared(arms, row.match)
    return amount if isinstance(amount, Gap) else _Common(row.match, amount)


def _value(row: Row, run: SweepRun, measure: str, arm: str, common: _Common) -> float | Gap:
    if not common.axis:
        value = values.at_state(run, measure, arm, row.state)
    elif common.axis == "samples":
        value = values.at_match(run, measure, arm, "step", common.amount / int(run.setting("batch_size")))
    else:
        value = values.at_match(run, measure, arm, common.axis, common.amount)
    if not row.raw or isinstance(value, Gap):
        return value
    return math.log(value) if value > 0 else Gap(f"{measure} of {arm} is {value:.3g}, which has no logarithm")


def _slope(row: Row, points: Sequence[tuple[float, float]]) -> float:
    x, y = np.array(points, np.float64).T
    own = slope(x, y)
    return (own if row.raw else own * float(np.ptp(x))) - row.against
