"""What came out for each bound, in a line: does it hold, how far is it from what was measured, does it say anything?"""

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final

from analysis.bounds.checks import vacuity
from analysis.bounds.drift import BY_ROW, BY_STEP
from analysis.bounds.pairs import NAMES, Pair, pairs
from analysis.runs.curve import Curve
from analysis.runs.numbers import number

HEAD: Final = "What came out (in brackets bound ÷ measured at the last step, over arms):"
_FOLLOWED: Final = (BY_STEP, BY_ROW)  # taken from the surrogate's own course: they say nothing in advance


def verdicts(curves: Sequence[Curve]) -> list[str]:
    """A line for each quantity that was measured, of all arms; none where there is no bound."""
    lines = []
    for quantity, of in groupby(pairs(curves), lambda pair: NAMES[pair.measured.measure]):
        compared = [pair for pair in of if pair.bound.kind != "limit"]
        if compared and compared[0].measured.measure == "drift":
            lines.append(f"{quantity}: {_of_true_run(compared)}")
        elif bounds := [pair for pair in compared if pair.is_bound]:
            vacuous = _vacuous(curves) if bounds[0].measured.measure == "surrogate_drift" else ""
            lines.append(f"{quantity}: {_held(bounds)}{vacuous}")
    return lines


def _held(bounds: Sequence[Pair]) -> str:
    """Of what is promised: do all bounds hold, and how close are they? In which arms can nobody tell?"""
    of = [pair for pair in bounds if pair.promised]
    lost = _arms([pair for pair in bounds if not pair.promised])
    blurred = f"nobody can tell of {lost}, whose similarities are nearly equal (ill-conditioned)" if lost else ""
    return "; ".join(filter(None, (_promised(of) if of else "", blurred)))


def _arms(of: Sequence[Pair]) -> str:
    """Of which arm, or of how many."""
    arms = list(dict.fromkeys(pair.measured.arm for pair in of))
    return f"{len(arms)} arms" if len(arms) > 1 else "".join(arms)


def _promised(of: Sequence[Pair]) -> str:
    broken = [f"{name} at {count} of {steps}" for name, count, steps in _crossed(of) if count]
    verdict = f"BROKEN is {', '.join(broken)} steps" if broken else f"every bound holds at every step of {_arms(of)}"
    return f"{verdict} ({', '.join(_ratios(of))})"


def _of_true_run(of: Sequence[Pair]) -> str:
    """Of what no theorem is about."""
    above = [f"{name} at {k} of {of} steps" for name, k, of in _crossed(of) if k and name not in _FOLLOWED]
    words = f"is above {', '.join(above)}" if above else "is below every bound that is known in advance"
    return f"{words}; they are bounds of the surrogate, not of it ({', '.join(_ratios(of))})"


def _crossed(of: Sequence[Pair]) -> Iterator[tuple[str, int, int]]:
    """Of each bound: its name, at how many steps of all arms it is crossed, and of how many."""
    for name in dict.fromkeys(pair.bound.bound or "" for pair in of):
        named = [pair for pair in of if pair.bound.bound == name]
        yield name, sum(pair.crossed for pair in named), sum(len(pair.steps) for pair in named)


def _ratios(of: Sequence[Pair]) -> Iterator[str]:
    for name in dict.fromkeys(pair.bound.bound or "" for pair in of):
        if name in _FOLLOWED:
            continue
        ends = [float(pair.ratios[-1]) for pair in of if pair.bound.bound == name and len(pair.steps)]
        known = [number(end) for end in sorted(ends) if not math.isnan(end)] or [number(math.nan)]
        yield f"{name} {_span(known)}"


def _vacuous(curves: Sequence[Curve]) -> str:
    """From which step on drift bounds exceed what a drift can be at all, over arms."""
    steps: dict[str, list[int]] = {}
    for of in vacuity(curves):
        if of.surrogate_limit is not None:
            steps.setdefault(of.bound, []).append(of.surrogate_limit)
    words = [f"{bound} from step {_span([f'{step:,}' for step in sorted(at)])}" for bound, at in steps.items()]
    return f"; vacuous: {', '.join(words)}" if words else ""


def _span(words: Sequence[str]) -> str:
    """Of ascending numbers in words: the first and the last."""
    return words[0] + (f" to {words[-1]}" if words[-1] != words[0] else "")
