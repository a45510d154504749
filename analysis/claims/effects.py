"""How effects by seed are made of a part of a sweep: a function for each kind of rule, and a line in `MAKERS`.

Each gives a number or a gap for every seed, in the measure that it is asked for.
"""

from collections.abc import Callable
from typing import Final

import numpy as np

from analysis.aggregation.gap import Gap
from analysis.aggregation.matching import Array
from analysis.claims import values
from analysis.claims.other_seeds import other_seeds
from analysis.claims.parts import Effects, Part, by_seed, difference
from analysis.claims.rules import Row
from analysis.claims.sweeps import SweepRun
from analysis.claims.trends import trend
from analysis.divergence.growth import fit, named_windows


def level(row: Row, part: Part, measure: str) -> Effects:
    """The measure of an arm, less what the row compares it with."""

    def of(run: SweepRun, arm: str) -> float | Gap:
        value = values.at_state(run, measure, arm, row.state)
        return value if isinstance(value, Gap) else value - row.against

    return by_seed(row, part, of)


def of_two(row: Row, part: Part, measure: str) -> Effects:
    """The measure of an arm less that of its control in the same run."""

    def of(run: SweepRun, arm: str) -> float | Gap:
        return difference(row, run, arm, lambda name: values.at_state(run, measure, name, row.state))

    return by_seed(row, part, of)


def change(row: Row, part: Part, measure: str) -> Effects:
    """The measure at the last step less that at the first recorded one from step 100 on; less that of the row's other
    arm, if there is one.
    """

    def of(run: SweepRun, arm: str) -> float | Gap:
        last, series = values.at_state(run, measure, arm, "last"), values.late(run, measure, arm)
        if isinstance(last, Gap):
            return last
        assert not isinstance(series, Gap), "it has a last value"
        if len(series[0]) < 2:
            return Gap(f"{measure} of {arm} is recorded at one step from 100 on: the last")
        return last - float(series[1][0])

    return by_seed(row, part, lambda run, arm: difference(row, run, arm, lambda name: of(run, name)))


def exponential(row: Row, part: Part, measure: str) -> Effects:
    """By how much Akaike's criterion (docs/theory.md (65)) prefers exponential growth of the measure to a power law."""

    def of(run: SweepRun, arm: str) -> float | Gap:
        last = values.at_state(run, measure, arm, "last")
        if isinstance(last, Gap):
            return last
        assert run.summary is not None
        series, rate = run.summary.series(measure, arm), run.summary.tensors["rate"]
        assert not isinstance(series, Gap), "it has a last value"
        steps, distances = series
        for window in named_windows(steps, distances):
            if window.name == row.window:
                inside = (steps >= window.first) & (steps <= window.last)
                return _preferred(rate[steps[inside]], distances[inside])
        return Gap(f"the {measure} of {arm} has no window {row.window}")

    return by_seed(row, part, of)


def _preferred(rate: Array, distances: Array) -> float | Gap:
    if not (np.isfinite(distances) & (distances > 0)).all():
        return Gap("a distance in the window is 0 or undefined")
    fits = fit(rate, distances[:, None])
    return Gap(fits) if isinstance(fits, str) else fits[0]["power_aic"] - fits[0]["aic"]


# Of a row's kind; bounds have `analysis.claims.bounds.JUDGES`.
MAKERS: Final[dict[str, Callable[[Row, Part, str], Effects]]] = {
    "level": level,
    "difference": of_two,
    "trend": trend,
    "change": change,
    "exponential": exponential,
    "other seed": other_seeds,
}
