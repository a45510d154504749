"""The tables of bounds: bounds.csv, and for a terminal each bound beside what was measured, its slack, its basis."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from rich.table import Table

from analysis.bounds import TRIVIAL
from analysis.bounds.checks import Vacuous, factors, vacuity
from analysis.bounds.gap import NOT_A_BOUND, SLACK
from analysis.output.csv import write_csv
from analysis.runs.curve import Curve, pick
from analysis.runs.recorded import not_compared
from analysis.runs.run import Run

CSV_NAME: Final = "bounds.csv"
COLUMNS: Final = ("arm", "bound", "step", "measured", "bound is", "÷ measured", "median ÷", "vacuous from")
_NAMES: Final = {
    "gap": "loss gap",
    "gap_with_positive": "loss gap, positive in the denominator",
    "drift": "drift of Σ, true run",
    "surrogate_drift": "drift of Σ, simulated surrogate",
    "cka_biased": "biased CKA of z",
    "rsa": "RSA of z",
}


def write(run: Run, curves: Sequence[Curve], *, all_steps: bool = False) -> list[Path]:
    """Writes RUN/analysis/bounds.csv: every measured curve and bound; long ones are thinned unless `all_steps`."""
    return [write_csv(run, curves, CSV_NAME, all_steps=all_steps)]


def printed(run: Run, curves: Sequence[Curve]) -> Iterator[Table | str]:
    """What a terminal shows of a run's bounds, from the first line to the last: tables, and lines of text."""
    yield f"{run.name}: {run.config.data.name}, B = {run.config.batches.size}, seed {run.config.seed}"
    factors_table = slack(run, curves)
    for table in [*tables(curves), *([factors_table] if factors_table else [])]:
        yield ""
        yield table
    yield ""
    yield from (*gap_slack(curves), *inside(curves))
    yield "\nwhat the bounds rest on (* no bound here):"
    yield from (f"- {line}" for line in (*flags(curves), *not_compared(run)))


def tables(curves: Sequence[Curve]) -> list[Table]:
    """One table for each quantity and source, of every arm that has a bound on it.

    The last step that both a bound and what it bounds have, and the median of bound ÷ measured over all such steps. The
    drift bounds come twice: beside the true run, and beside the surrogate, of which they are bounds.
    """
    tables_of = []
    groups = dict.fromkeys((c.measure, c.source) for c in curves if c.kind == "measured" and c.measure in _NAMES)
    for measure, source in groups:
        table = Table(title=f"{_NAMES[measure]}, {source}", title_justify="left", box=None, header_style="bold")
        for column in COLUMNS:
            table.add_column(column, justify="left" if column in COLUMNS[:2] else "right", overflow="fold")
        for row in _rows(curves, measure, source):
            table.add_row(*row)
        if table.row_count:
            tables_of.append(table)
    return tables_of


def _rows(curves: Sequence[Curve], measure: str, source: str) -> list[list[str]]:
    steps = {(v.arm, v.bound): v for v in vacuity(curves)}
    rows = []
    for curve in (c for c in curves if c.kind == "measured" and (c.measure, c.source) == (measure, source)):
        beside = [bound for bound in curves if _beside(bound, curve)]
        # A limit alone says nothing of an arm: it is the same number for all.
        for bound in beside if any(bound.kind != "limit" for bound in beside) else ():
            name = f"{bound.bound}*" if any(flag.startswith(NOT_A_BOUND) for flag in bound.flags) else bound.bound
            rows.append([_arm(curve), name or "", *_numbers(curve, bound), _vacuous(steps, bound, measure)])
    return rows


def _beside(bound: Curve, curve: Curve) -> bool:
    """Does the bound belong into the table of the curve? Those on drift also into the surrogate's."""
    facts = ("arm", "reference", "source", "feature", "labelling")
    measures = (curve.measure, "drift") if curve.measure == "surrogate_drift" and bound.bound != TRIVIAL else ()
    same = all(getattr(bound, name) == getattr(curve, name) for name in facts)
    return bound.kind != "measured" and same and bound.measure in (measures or (curve.measure,))


def _arm(curve: Curve) -> str:
    labelled = f", {curve.labelling}" if curve.labelling else ""
    return curve.arm + (f" against {curve.reference}" if curve.reference else labelled)


def _numbers(curve: Curve, bound: Curve) -> list[str]:
    both, here, there = np.intersect1d(curve.steps, bound.steps, return_indices=True)
    if not len(both):
        return ["–"] * 5
    measured, limit = curve.values[here], bound.values[there]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(measured > 0, limit / measured, np.nan)
    median = float(np.nanmedian(ratios)) if (~np.isnan(ratios)).any() else math.nan
    return [f"{both[-1]:,}", *(_text(float(value)) for value in (measured[-1], limit[-1], ratios[-1], median))]


def _vacuous(steps: dict[tuple[str, str], Vacuous], bound: Curve, measure: str) -> str:
    vacuous = steps.get((bound.arm, bound.bound or ""))
    if bound.measure != "drift" or vacuous is None:
        return ""
    step = vacuous.surrogate_limit if measure == "surrogate_drift" else vacuous.true_limit
    return "never" if step is None else f"step {step:,}"


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
        table.add_row(f"{part.arm} against {part.reference}", part.bound, f"{part.step:,}", *map(_text, numbers))
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
            also = "" if simulated is None else f", of its simulated surrogate {_text(float(simulated.values[-1]))}"
            lines.append(f"Σ of {curve.arm} moved by {_text(float(curve.values[-1]))}{also}")
    return lines


def _text(value: float) -> str:
    return "undefined" if math.isnan(value) else "0" if value == 0 else f"{value:.4g}"
