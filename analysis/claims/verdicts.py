"""From effects by seed to a verdict, by a rule that does not look at what would be welcome: docs/theory.md (122)–(125).

Shapes: n seeds; … any number of sweeps that are judged at once.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special  # not stats: it takes a second to load

from analysis.aggregation.gap import Gap
from analysis.aggregation.seeds import numbers_of

Array = NDArray[np.float64]
Side = Literal["above", "below", "within"]

SIDES: Final[tuple[Side, ...]] = ("above", "below", "within")
SUPPORTED: Final = "supported"
CONTRADICTED: Final = "contradicted"
EQUIVALENT: Final = "equivalent"
UNDECIDED: Final = "undecided"
HOLDS: Final = "holds"
VIOLATED: Final = "violated"
STATISTICAL: Final = (UNDECIDED, SUPPORTED, CONTRADICTED, EQUIVALENT)  # the codes of `codes`

# With fewer, t is so wide that only an effect of several spreads is found, and a bimodal null is decided too often.
LEAST_SEEDS: Final = 5
POWER: Final = 0.8


@dataclass(frozen=True)
class Verdict:
    """A verdict and what it rests on. `reason`: why nothing was decided, else "".

    effect, low … high: the mean over `seeds` and its 95 % interval. smallest: the least effect that a sweep of this
    many seeds and this spread would have found with a probability of 80 %, counted from 0 as the effect is. All NaN
    where there is none. `by_seed`: the effects; `missing`: what each seed without one lacks.
    """

    verdict: str
    reason: str = ""
    effect: float = math.nan
    low: float = math.nan
    high: float = math.nan
    smallest: float = math.nan
    by_seed: Mapping[int, float] | None = None
    missing: Mapping[int, str] | None = None

    @property
    def seeds(self) -> int:
        return len(self.by_seed or {})


def intervals(effects: Array) -> tuple[Array, Array, Array]:
    """Mean and ends of the 95 % interval of Student's t of effects (…, n), each (…): docs/theory.md (122)."""
    n = effects.shape[-1]
    mean = effects.mean(-1)
    half = special.stdtrit(n - 1, 0.975) * effects.std(-1, ddof=1) / math.sqrt(n)
    return mean, mean - half, mean + half


def codes(low: Array, high: Array, margin: float, side: Side) -> NDArray[np.int64]:
    """Which of `STATISTICAL` intervals (…) are: docs/theory.md (123).

    above: the effect is claimed to be larger than the margin; below: smaller than its negative; within: between both.
    """
    inside = (low > -margin) & (high < margin)
    larger, smaller = low > margin, high < -margin
    if side == "within":
        choices = {SUPPORTED: inside, CONTRADICTED: larger | smaller}
    else:
        claimed, other = (larger, smaller) if side == "above" else (smaller, larger)
        choices = {SUPPORTED: claimed, CONTRADICTED: other, EQUIVALENT: inside}
    found = np.zeros(np.shape(low), np.int64)
    for verdict, holds in choices.items():
        found[holds] = STATISTICAL.index(verdict)
    return found


def smallest_effect(spread: float | Array, n: int, margin: float) -> float | Array:
    """The least effect that n seeds of this standard deviation find beyond the margin with 80 %: docs/theory.md (124).

    From the non-central t: the noncentrality at which it exceeds the quantile of the interval with that probability.
    """
    noncentrality = special.nctdtrinc(n - 1, 1 - POWER, special.stdtrit(n - 1, 0.975))
    return margin + noncentrality * spread / math.sqrt(n)


def judged(effects: Mapping[int, float | Gap], margin: float, side: Side) -> Verdict:
    """The verdict on effects by seed. Undecided, with the reason, where one has none or there are fewer than five."""
    numbers, missing = numbers_of(effects)
    if missing or len(numbers) < LEAST_SEEDS:
        return _without(numbers, missing)
    values = np.array(list(numbers.values()))
    mean, low, high = (float(each) for each in intervals(values))
    verdict = STATISTICAL[int(codes(np.array(low), np.array(high), margin, side))]
    smallest = float(smallest_effect(float(values.std(ddof=1)), len(values), margin))
    reason = "" if verdict != UNDECIDED else "the interval reaches over the margin"
    return Verdict(verdict, reason, mean, low, high, smallest, numbers)


def judged_by_every_seed(effects: Mapping[int, float | Gap], mark: float, names: tuple[str, str]) -> Verdict:
    """The verdict on effects of which each decides by itself: docs/theory.md (125).

    Supported where each of five seeds or more is above the mark, contradicted where each is below its negative.
    `names`: what a seed shows by either. The interval is for orientation; no smallest effect is known.
    """
    numbers, missing = numbers_of(effects)
    if missing or len(numbers) < LEAST_SEEDS:
        return _without(numbers, missing)
    values = np.array(list(numbers.values()))
    mean, low, high = (float(each) for each in intervals(values))
    counts = int((values > mark).sum()), int((values < -mark).sum())
    verdict, reason = UNDECIDED, f"of {len(values)} seeds {names[0]}: {counts[0]}, {names[1]}: {counts[1]}"
    if len(values) in counts:
        verdict, reason = (SUPPORTED if counts[0] else CONTRADICTED), ""
    return Verdict(verdict, reason, mean, low, high, math.nan, numbers)


def undecided(reason: str) -> Verdict:
    """No verdict, and no number."""
    return Verdict(UNDECIDED, reason)


def _without(numbers: Mapping[int, float], missing: Mapping[int, str]) -> Verdict:
    """Undecided, with the mean and interval where two seeds or more have a number, for orientation."""
    few = f"{len(numbers) + len(missing)} seeds, and {LEAST_SEEDS} are needed"
    reasons = [_some(missing)] if missing else []
    if len(numbers) + len(missing) < LEAST_SEEDS:
        reasons.insert(0, few)
    mean = low = high = math.nan
    if len(numbers) > 1:
        mean, low, high = (float(each) for each in intervals(np.array(list(numbers.values()))))
    return Verdict(UNDECIDED, "; ".join(reasons) or few, mean, low, high, math.nan, numbers, missing)


def _some(missing: Mapping[int, str]) -> str:
    """The reasons, each once, with the seeds that have it."""
    by_reason: dict[str, list[int]] = {}
    for seed, reason in missing.items():
        by_reason.setdefault(reason, []).append(seed)
    return "; ".join(f"{_seeds(seeds)}: {reason}" for reason, seeds in by_reason.items())


def _seeds(seeds: Sequence[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
