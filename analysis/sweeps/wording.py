"""The words of a sweep's page: what was swept, what is compared at, how a number looks."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from analysis.aggregation.gap import Gap
from analysis.aggregation.matching import AXES
from analysis.aggregation.points import differences
from analysis.runs.numbers import number as shown_number
from analysis.sweeps.numbers import QUANTITIES, Number, Numbers
from analysis.sweeps.reading import Swept, shown
from coupled.errors import printable

_MOST_NAMES: Final = 8
INTERVAL: Final = "95 % t-interval over seeds"


def listed(words: Sequence[str], most: int = _MOST_NAMES) -> str:
    """The first words of a list, and how many more there are."""
    more = len(words) - most
    return ", ".join(words[:most]) + (f" and {more} more" if more > 0 else "")


def axis_values(axis: str, values: Sequence[Any]) -> str:
    """ "classes (2, 4, 8)"."""
    return f"{axis} ({listed([shown(value) for value in values])})"


def swept_words(swept: Swept) -> str:
    """What was swept, how many points and seeds, and how far the runs have come, in a sentence."""
    axes = [axis_values(axis, values) for axis, values in swept.axes.items()]
    axes += [f"{axis_values(axis, values)}, as arms of each run" for axis, values in swept.arm_axes.items()]
    seeds = sorted({member.seed for member in swept.members if member.seed is not None})
    what = " × ".join([*axes, f"{_count(len(seeds), 'seed')} ({listed([str(seed) for seed in seeds])})"])
    runs = swept.members
    states = Counter("not begun" if m.run is None else "finished" if m.is_finished else "unfinished" for m in runs)
    late = [f"{printable(m.entry.name)}: {m.state}" for m in runs if m.run is not None and not m.is_finished]
    waiting = [printable(m.entry.name) for m in runs if m.run is None]
    parts = [f"{states['finished']} finished"]
    parts += [f"{len(late)} unfinished ({listed(late)})"] if late else []
    parts += [f"{len(waiting)} not begun ({listed(waiting)})"] if waiting else []
    return f"{what}: {_count(len(swept.points), 'point')}, {_count(len(runs), 'run')}, {', '.join(parts)}."


def status(swept: Swept) -> str:
    """The line beneath the page's title."""
    run = next(member.run for member in swept.members if member.run is not None)
    late = sum(not member.is_finished for member in swept.members)
    facts = f"a sweep of {_count(len(swept.members), 'run')} on {run.config.data.name}"
    return f"{facts}; UNFINISHED: {late} of them" if late else f"{facts}; all finished"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def amount_words(match: str, amount: float | Gap) -> str:
    """ "step 100", or why there is nothing that could be compared."""
    if isinstance(amount, Gap):
        return f"no {AXES[match]} in common"
    digits = f"{amount:,.0f}" if match == "step" else plain(amount)
    return f"{AXES[match]} {digits}"


def amounts_of(numbers: Numbers, match: str, quantity: str) -> list[float | Gap]:
    """The different amounts at which arms are compared by a quantity."""
    of = [amount for (m, q, _), amount in numbers.amounts.items() if (m, q) == (match, quantity)]
    return list(dict.fromkeys(amount if not isinstance(amount, Gap) else Gap(amount.reason) for amount in of))


def compared_at(numbers: Numbers, match: str) -> str:
    """What all numbers of a table are compared at; quantities that end earlier by name."""
    by_words: dict[str, list[str]] = {}
    for quantity in numbers.quantities:
        amounts = amounts_of(numbers, match, quantity)
        words = ", ".join(dict.fromkeys(amount_words(match, amount) for amount in amounts)) or "nothing"
        by_words.setdefault(words, []).append(QUANTITIES[quantity])
    if len(by_words) == 1:
        return f"Compared at equal {AXES[match]}: {next(iter(by_words))}."
    parts = [f"{', '.join(names)} at {words}" for words, names in by_words.items()]
    return f"Compared at equal {AXES[match]}: {'; '.join(parts)}."


def cautions(swept: Swept, match: str) -> list[str]:
    """What must be known of a match."""
    sentences = []
    steps = [member.run.planned_steps for member in swept.members if member.run is not None]
    if match == "step" and min(steps) < max(steps):
        sentences.append(
            f"Runs have {min(steps):,} to {max(steps):,} steps: at equal step the longer ones have only begun. Other "
            "matches compare them further on."
        )
    if match == "loss":
        sentences.append(
            "Own losses are compared along an axis and not between objectives. Losses of other batch sizes, "
            "temperatures or objectives are other quantities: equal ones are not equal progress."
        )
    if match == "motion":
        sentences.append("Distance from the start: ‖w − w₀‖ of all weights.")
    if any(not member.is_finished for member in swept.members):
        sentences.append("The amount is that which all finished runs share (all that have begun, if none is finished).")
    return sentences


def apart(swept: Swept) -> str:
    """In what the runs of a sweep differ beside what makes them runs of one panel; "" in nothing."""
    names = differences([point.begun for point in swept.points])
    if not names:
        return ""
    return (
        f"The runs differ in their {' and '.join(names)}, so they are compared by their numbers alone, which is "
        "another rule than that of seeds."
    )


def cell(number: Number) -> str:
    """A mean with its interval; the values where there are fewer than three; "none" of none."""
    if not number.known:
        return "none"
    if isinstance(number.mean, Gap):
        return ", ".join(map(plain, number.known))
    return with_interval(number.mean.value, number.mean.low, number.mean.high)


def with_interval(value: float, low: float, high: float) -> str:
    """ "0.912 (0.907 – 0.917)"."""
    return f"{plain(value)} ({plain(low)} – {plain(high)})"


def plain(value: float) -> str:
    """A number of three digits, a dash for none."""
    return "–" if math.isnan(value) else shown_number(value, 3)
