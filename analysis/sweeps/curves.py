"""Curves of a sweep: means over seeds by step, with the 95 % t-interval, a line for each point and arm."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np
from scipy import special

from analysis.aggregation.gap import Gap
from analysis.aggregation.matching import Array, Steps
from analysis.aggregation.seeds import LEAST_SEEDS
from analysis.output.styles import OBJECTIVES, Style
from analysis.output.thinning import spread
from analysis.report.charts import Chart, base_layout
from analysis.report.traces import Trace, line
from analysis.report.wording import described
from analysis.runs.curve import Band, Curve
from analysis.sweeps.numbers import QUANTITIES
from analysis.sweeps.reading import Swept, SweptPoint, shown
from analysis.sweeps.wording import INTERVAL

MOST_LINES: Final = 24  # of one arm; more are no picture
MOST_STEPS: Final = 100  # of a line: a page has hundreds of them
_COLOURS: Final = ("#1A1A1A", *OBJECTIVES)
_WORDS: Final = {
    **QUANTITIES, "loss": "own loss", "motion": "distance from the start", "similarity_motion": "how far Σ moved"
}  # fmt: skip
_DASHES: Final[tuple[Literal["-", "--", "-.", ":"], ...]] = ("-", "--", "-.", ":")


def over_seeds(point: SweptPoint, quantity: str, arm: str) -> tuple[Steps, Array, Array, Array, int] | None:
    """Steps that all finished runs have (T,), means, both ends of the interval (NaN of fewer than three seeds), and how
    many seeds there are; of all runs where none is finished. A seed without the quantity does not count; None where
    none has it.
    """
    series = [run.series(quantity, arm) for run in point.whole]
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


def chart(
    swept: Swept, quantities: Sequence[str], style_of: Mapping[str, Style], *, id: str, title: str
) -> Chart | None:
    """A line for each point, and each value of axes of arms; a menu of quantities and families of arms. Where there is
    one point, its arms are in one picture.
    """
    alone = len(swept.points) == 1 and not swept.arm_axes
    looks: dict[str, Style] = {}
    data: list[Trace] = []
    drawn: dict[str, list[Curve]] = {}
    left_out = 0
    for quantity in quantities:
        for arm, point in [(arm, each) for arm in swept.shown_arms for each in swept.points if arm in each.arms]:
            family = swept.placed[arm].family
            curve = _curve(point, quantity, arm, family)
            choice = ", ".join([*([_WORDS[quantity]] if len(quantities) > 1 else []), *([] if alone else [family])])
            if curve is None or len(drawn.setdefault(choice, [])) == MOST_LINES:
                left_out += curve is not None
                continue
            words = family if alone else _line_words(swept, point, arm)
            style = style_of[family] if alone else looks.setdefault(words, _style(len(looks), words))
            looks[words] = style
            drawn[choice].append(curve)
            data += line(curve, style, name=words, choice=choice or None)
    if not data:
        return None
    layout = base_layout()
    layout["height"] = 380
    few = any(curve.interval is None for of_choice in drawn.values() for curve in of_choice)
    none = f" Lines of fewer than {LEAST_SEEDS} seeds have none." if few else ""
    choices = tuple(choice for choice, of_choice in drawn.items() if of_choice and choice)
    return Chart(
        id=id,
        title=title,
        lead="Means over seeds at the steps that all finished runs of a point have (all runs, if none is). "
        f"Bands and bars: {INTERVAL}.{none} A line shows at most {MOST_STEPS} of its steps.",
        data=data,
        layout=layout,
        choices=choices,
        menu=" and ".join([*(["measure"] if len(quantities) > 1 else []), *([] if alone else ["arm"])]),
        y_log=False,
        alt=f"{title}. {described(next(iter(drawn.values())))}",
        legend=tuple(looks.values())[:MOST_LINES],
        notes=(f"{left_out} more lines are left out.",) if left_out else (),
    )


def _curve(point: SweptPoint, quantity: str, arm: str, family: str) -> Curve | None:
    """The mean over seeds as a curve of its family."""
    found = over_seeds(point, quantity, arm)
    if found is None or not len(found[0]):
        return None
    at = spread(found[0], MOST_STEPS)
    steps, mean, low, high, n = found[0][at], found[1][at], found[2][at], found[3][at], found[4]
    facts: dict[str, Any] = dict.fromkeys(("reference", "n", "feature", "split", "labelling"))
    facts |= {"d": 0, "source": "over seeds", "estimator": f"mean over {n} seeds", "undefined": "undefined"}
    band = Band(low, high, INTERVAL) if n >= LEAST_SEEDS else None
    return Curve(measure=quantity, arm=family, steps=steps, values=mean, interval=band, **facts)


def _line_words(swept: Swept, point: SweptPoint, arm: str) -> str:
    """The point and the values of axes of arms: "classes = 2, temperature = 0.5"."""
    of_arm = [f"{axis} = {shown(value)}" for axis, value in swept.placed[arm].values.items()]
    return ", ".join([*([point.name] if point.name else []), *of_arm]) or arm


def _style(number: int, label: str) -> Style:
    """Colours in their turn, then the same ones broken: neighbours are told apart, and so are two dozen."""
    return Style(_COLOURS[number % len(_COLOURS)], _DASHES[number // len(_COLOURS) % len(_DASHES)], label)
