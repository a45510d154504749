"""The tables of bounds: bounds.csv, and for a terminal each bound beside what was measured, its slack, its basis."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Final

import numpy as np
from rich.table import Table

from analysis.bounds.checks import Vacuous, factors, vacuity
from analysis.bounds.drift import TRIVIAL
from analysis.bounds.gap import SLACK
from analysis.bounds.pairs import Pair, pairs
from analysis.bounds.verdicts import HEAD, verdicts
from analysis.output.csv import write_csv
from analysis.output.table import title
from analysis.runs.curve import Curve, pick
from analysis.runs.numbers import ABSENT, number
from analysis.runs.recorded import not_compared
from analysis.runs.run import Run

CSV_NAME: Final = "bounds.csv"
COLUMNS: Final = ("step", "measured", "bound is", "÷", "median", "vacuous\nfrom step")
_WIDTH: Final = 28  # of the column of bounds: with the others 80


def write(run: Run, curves: Sequence[Curve], *, all_steps: bool = False) -> list[Path]:
    """Writes RUN/analysis/bounds.csv: every measured curve and bound; long ones are thinned unless `all_steps`."""
    return [write_csv(run, curves, CSV_NAME, all_steps=all_steps)]


def printed(run: Run, curves: Sequence[Curve], *, verbose: bool = False) -> Iterator[Table | str]:
    """What a terminal shows of a run's bounds, from the first line to the last: tables, and lines of text.

    First what came out for each bound, then the last step of the arms that have a loss of their own. `verbose`: of all
    arms, where slack comes from, and what the bounds rest on.
    """
    yield title(run)
    yield from ("", f"{HEAD}", *(f"- {line}" for line in verdicts(curves)))
    own = [arm for arm, spec in run.arms.items() if spec.kind == "objective"]
    for table in tables(curves, list(run.arms) if verbose else own):
        yield ""
        yield table
    yield ""
    yield "* no bound of what is measured; median: of bound ÷ measured, over steps"
    if not verbose:
        yield "--verbose: every arm, where the slack comes from, what the bounds rest on"
        return
    factors_table = slack(run, curves)
    yield from ("", factors_table) if factors_table else ()
    yield ""
    yield from (*gap_slack(curves), *inside(curves))
    yield ""
    yield "what the bounds rest on:"
    yield from (f"- {line}" for line in (*flags(curves), *not_compared(run)))


def tables(curves: Sequence[Curve], arms: Iterable[str]) -> list[Table]:
    """A table for each of these arms that has a bound: the last step that a bound and what it bounds have in common."""
    by_arm: dict[str, list[Pair]] = {}
    for pair in pairs(curves):
        by_arm.setdefault(pair.measured.arm, []).append(pair)
    return [_table(curves, by_arm[arm]) for arm in arms if arm in by_arm]


def _table(curves: Sequence[Curve], of: Sequence[Pair]) -> Table:
    against = next((f" against {pair.measured.reference}" for pair in of if pair.measured.reference), "")
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column(f"{of[0].measured.arm}{against}", max_width=_WIDTH)
    for column in COLUMNS:
        table.add_column(column, justify="right", no_wrap=True)
    steps, before = {(v.arm, v.bound): v for v in vacuity(curves)}, None
    for pair in of:
        if pair.quantity != before:
            table.add_row(pair.quantity)
            before = pair.quantity
        star = "" if pair.is_bound or pair.bound.bound == TRIVIAL else "*"
        name = fill(f"{pair.bound.bound}{star}", _WIDTH, initial_indent="  ", subsequent_indent="    ")
        table.add_row(name, *_numbers(pair), _vacuous(steps, pair))
    return table


def _numbers(pair: Pair) -> list[str]:
    if not len(pair.steps):
        return [ABSENT] * 5
    last = (*(values[-1] for values in pair.values), pair.ratios[-1], pair.median)
    return [f"{pair.steps[-1]:,}", *(number(float(value)) for value in last)]


def _vacuous(steps: Mapping[tuple[str, str], Vacuous], pair: Pair) -> str:
    vacuous = steps.get((pair.bound.arm, pair.bound.bound or ""))
    if pair.bound.measure != "drift" or vacuous is None:
        return ""
    step = vacuous.surrogate_limit if pair.measured.measure == "surrogate_drift" else vacuous.true_limit
    return "never" if step is None else f"{step:,}"


def slack(run: Run, curves: Sequence[Curve]) -> Table | None:
    """Where the slack of the a-priori drift bounds comes from: ratio = the product of the three factors behind it."""
    parts = factors(run, curves)
    if not parts:
        return None
    title = "slack of the drift bounds: bound ÷ measured = (bound ÷ rows) × (rows ÷ surrogate) × (surrogate ÷ measured)"
    table = Table(title=title, title_justify="left", box=None, header_style="bold")
    for column in (
        "arm", "bound", "step", "bound ÷ measured", "bound ÷ rows", "of it exp(S/2τ²a)", "rows ÷ surrogate",
        "surrogate ÷ measured",
    ):  # fmt: skip
        table.add_column(column, justify="left" if column in ("arm", "bound") else "right")
    for part in parts:
        numbers = (part.ratio, part.over_rows, part.exponential, part.over_surrogate, part.over_measured)
        table.add_row(f"{part.arm} against {part.reference}", part.bound, f"{part.step:,}", *map(number, numbers))
    return table


def gap_slack(curves: Sequence[Curve]) -> list[str]:
    """The least slack of the loss gap's bounds over all anchors, batches and arms, a line for each bound."""
    least: dict[str, float] = {}
    for curve in curves:
        if curve.measure == SLACK and not np.isnan(curve.values).all():
            least[curve.estimator] = min(least.get(curve.estimator, math.inf), float(np.nanmin(curve.values)))
    return [f"{estimator}: {value:.3g} over all arms and batches" for estimator, value in least.items()]


def flags(curves: Sequence[Curve]) -> list[str]:
    """The assumptions of the bounds: each flag once, with the bounds that have it."""
    of: dict[str, list[str]] = {}
    for curve in curves:
        against = f" against {curve.reference}" if curve.reference else ""
        name = curve.bound or f"{curve.measure} of {curve.arm}{against}"
        for flag in curve.flags:
            of.setdefault(flag, []).append(name)
    return [f"{', '.join(dict.fromkeys(names))}: {flag}" for flag, names in of.items()]


def inside(curves: Sequence[Curve]) -> list[str]:
    """How far each Σ of the surrogate panel moved: where nothing moved, a small drift says little."""
    lines = []
    for curve in curves:
        simulated = pick(curves, "surrogate_moved", curve.arm)
        if curve.measure == "moved" and len(curve.values):
            also = "" if simulated is None else f", of its simulated surrogate {number(float(simulated.values[-1]))}"
            lines.append(f"Σ of {curve.arm} moved by {number(float(curve.values[-1]))}{also}")
    return lines
