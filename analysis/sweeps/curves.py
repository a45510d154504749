"""Curves of a sweep: means over seeds by step, with the 95 % t-interval, a line for each point and arm."""

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from scipy import special

from analysis.aggregation.gap import Gap
from analysis.aggregation.matching import Array, Steps
from analysis.aggregation.seeds import LEAST_SEEDS
from analysis.output.styles import OBJECTIVES, Style
from analysis.report.charts import Chart, base_layout
from analysis.report.traces import Trace, line
from analysis.runs.curve import Band, Curve
from analysis.sweeps.numbers import QUANTITIES
from analysis.sweeps.reading import Swept, SweptPoint, shown
from analysis.sweeps.wording import INTERVAL

MOST_LINES: Final = 24  # of one arm; more are no picture
_COLOURS: Final = ("#1A1A1A", *OBJECTIVES)
_WORDS: Final = {
    **QUANTITIES, "loss": "own loss", "motion": "distance from the start", "similarity_motion": "how far Σ moved"
}  # fmt: skip
_DASHES: Final = ("-", "--", "-.", ":")


def over_seeds(point: SweptPoint, quantity: str, arm: str) -> tuple[Steps, Array, Array, Array, int] | None:
    """Steps that all runs have (T,), means, both ends of the interval (NaN of fewer than three seeds), and how many
    seeds there are. A seed without the quantity does not count; None where none has it.
    """
    series = [run.series(quantity, arm) for run in point.begun.runs]
    known = [one for one in series if not isinstance(one, Gap) and len(one[0])]
    if not known:
        return None
    steps = known[0][0]
    for other, _ in known[1:]:
        steps = np.intersect1d(steps, other)
    values = np.stack([its[np.searchsorted(of, steps)] for of, its in known])
    mean, n = values.mean(0), len(known)
    if n < LEAST_SEEDS:
        nothing = np.full(len(steps), math.nan)
        return steps, mean, nothing, nothing.copy(), n
    half = float(special.stdtrit(n - 1, 0.975)) * values.std(0, ddof=1) / math.sqrt(n)
    return steps, mean, mean - half, mean + half, n


def chart(swept: Swept, quantities: Sequence[str], *, id: str, title: str) -> Chart | None:
    """A menu of quantities and families of arms, of which one is shown: a line for each point (and value of arms)."""
    data: list[Trace] = []
    choices: dict[str, None] = {}
    counts: set[int] = set()
    left_out = 0
    for quantity in quantities:
        for family, arms in _families(swept).items():
            choice = f"{_WORDS[quantity]}, {family}" if len(quantities) > 1 else family
            drawn = 0
            for point in swept.points:
                for arm in arms:
                    found = over_seeds(point, quantity, arm) if arm in point.arms else None
                    if found is None or not len(found[0]):
                        continue
                    if drawn == MOST_LINES:
                        left_out += 1
                        continue
                    counts.add(found[4])
                    data += _lines(swept, point, quantity, arm, found, _style(drawn), choice)
                    drawn += 1
                    choices[choice] = None
    if not data:
        return None
    layout = base_layout()
    layout["height"] = 380
    few = f" Lines of fewer than {LEAST_SEEDS} seeds have none." if min(counts) < LEAST_SEEDS else ""
    return Chart(
        id=id,
        title=title,
        lead=f"Means over seeds at the steps that all of a point's runs have. Bands and bars: {INTERVAL}.{few}",
        data=data,
        layout=layout,
        choices=tuple(choices),
        menu="arm" if len(quantities) == 1 else "measure and arm",
        y_log=False,
        alt=f"{title}: {len(data)} lines over steps.",
        notes=(f"{left_out} more lines are left out.",) if left_out else (),
    )


def _families(swept: Swept) -> dict[str, list[str]]:
    families: dict[str, list[str]] = {}
    for arm, place in swept.placed.items():
        families.setdefault(place.family, []).append(arm)
    return families


def _lines(
    swept: Swept, point: SweptPoint, quantity: str, arm: str, found: tuple[Any, ...], style: Style, choice: str
) -> list[Trace]:
    steps, mean, low, high, n = found
    values = swept.placed[arm].values
    words = ", ".join([*([point.name] if point.name else []), *(f"{axis} = {shown(v)}" for axis, v in values.items())])
    curve = Curve(
        measure=quantity,
        arm=swept.placed[arm].family,
        reference=None,
        steps=steps,
        values=mean,
        n=None,
        d=0,
        feature=None,
        source="panel",
        split=None,
        labelling=None,
        estimator=f"mean over {n} seeds",
        undefined="undefined",
        interval=Band(low, high, INTERVAL) if n >= LEAST_SEEDS else None,
    )
    return line(curve, style, name=words or arm, choice=choice)


def _style(number: int) -> Style:
    """Colours in their turn, then the same ones broken: neighbours are told apart, and so is a dozen."""
    return Style(_COLOURS[number % len(_COLOURS)], _DASHES[number // len(_COLOURS) % len(_DASHES)], "")  # type: ignore[arg-type]
