"""The words of a report: what its lines show, what is undefined, flagged, missing or left out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.bounds import TRIVIAL
from analysis.divergence import twin_faults
from analysis.report.content import Content
from analysis.report.layers import LayerGrid
from analysis.report.traces import MOST_POINTS, thinned
from analysis.runs.curve import Curve
from analysis.runs.numbers import ABSENT, known, number
from analysis.runs.recorded import not_compared, waiting

_NAMES = {
    "cka": "CKA",
    "rsa": "RSA",
    "gap": "loss gap",
    "mass": "same-class mass",
    "weight_gap": "weight gap",
    "cka_biased": "biased CKA",
    "rsa_spearman": "Spearman RSA",
    "knn_overlap": "neighbours shared",
}
_BANDS = "Bands and bars: "
_BESIDE = {"drift": ("surrogate_drift", "moved"), "surrogate_drift": ("surrogate_moved",)}


@dataclass(frozen=True)
class Bounded:
    """A quantity that is bounded: its name, its measured curve if there is one, the bounds on it, and what must be seen
    beside them: how far anything moved at all, and the surrogate that a drift bound is about.
    """

    name: str
    measured: Curve | None
    bounds: list[Curve]
    beside: list[Curve]


def interval_at(curve: Curve, step: int) -> str:
    """The interval at a recorded step: "0.9216 – 0.9591"; "" where there is none."""
    if curve.interval is None:
        return ""
    low, high = (float(side[curve.steps == step][0]) for side in (curve.interval.low, curve.interval.high))
    return "" if math.isnan(low) else f"{number(low)} – {number(high)}"


def measure_name(curve: Curve) -> str:
    """The measure in words."""
    return _NAMES.get(curve.measure, curve.measure.replace("_", " "))


def kind_of(curve: Curve) -> str:
    """What a curve is of, without its arm: the entry of a menu."""
    where = [part for part in (curve.source, curve.feature) if part and curve.feature and curve.reference]
    facts = [" ".join(where), f"labels: {curve.labelling}" if curve.labelling else ""]
    estimator = "" if curve.labelling else curve.estimator.partition("; mean over")[0]
    shown = [measure_name(curve), *facts, estimator]
    bound = f"{curve.bound} ({curve.kind})" if curve.bound else ""
    return ", ".join(part for part in [*shown, bound] if part)


def evaluated_kind(curve: Curve, own: str | None) -> str:
    """What a curve of kept checkpoints is of, without its arm: the entry of a menu. `own`: the arm's own reference."""
    scope = f"scope {curve.source}" if curve.source in ("split", "batch") else ""
    labels = f"labels: {curve.labelling}" if curve.labelling else ""
    other = f"with {curve.reference}" if curve.reference not in (None, own) else ""
    split = f"on {curve.split}" if curve.split else ""
    feature = " ".join(part for part in (curve.feature or "weights", split) if part)
    return ", ".join(part for part in (measure_name(curve), feature, scope, labels, other) if part)


def layer(name: str) -> str:
    """A layer's name as short as it stays clear: nearly all are weights of the encoder."""
    return name.removeprefix("encoder.").removesuffix(".weight")


def map_name(grid: LayerGrid) -> str:
    """The menu entry of a map."""
    return f"{grid.arm} to {grid.reference}: {grid.measure}"


def sources(strong: Sequence[Curve], thin: Sequence[Curve]) -> str:
    """What markers, bars, bands and thin lines are."""
    parts = []
    if strong:
        first = strong[0]
        parts.append(f"{capital(first.estimator)}. Markers: panel h, n = {first.n} {first.split} images, d = {first.d}")
        parts += [f"; bars: {first.interval.what}"] if first.interval else []
        parts += [f"; shaded: {first.null.what}"] if first.null else []
    if thin:
        first = thin[0]
        parts.append(f"{'. ' if parts else ''}Thin lines: batch z, n = {first.n} {first.split} views, d = {first.d}")
    return "".join(parts) + "."


def capital(text: str) -> str:
    """The text as the start of a sentence."""
    return text[:1].upper() + text[1:]


def described(curves: Sequence[Curve]) -> str:
    """Curves in words, for those who do not see them: first and last value of each (at most twelve)."""
    parts = []
    for curve in curves[:12]:
        if len(curve.steps):
            first, last = (f"{number(float(curve.values[i]))} at step {curve.steps[i]:,}" for i in (0, -1))
            parts.append(f"{curve.arm} {curve.bound or measure_name(curve)}: {first}, {last}")
    return "; ".join(parts) + "."


def remarks(curves: Sequence[Curve]) -> tuple[str, ...]:
    """What a chart cannot show: lines that are 0 throughout, holes, bands that are not what their neighbours' are."""
    sentences = []
    for curve in curves:
        if len(curve.values) and not curve.values.any() and not curve.bound:
            sentences.append(f"{curve.arm} is 0 at every step ({measure_name(curve)}): it has no place on a log axis.")
        sentences += undefined(curve)
    sentences += [f"{_BANDS}{interval}." for interval in dict.fromkeys(c.interval.what for c in curves if c.interval)]
    return tuple(dict.fromkeys(sentences))


def is_repeated(remark: str, lead: str) -> bool:
    """Does the lead of a chart already say what its bands are?"""
    return remark.removeprefix(_BANDS).rstrip(".") in lead


def undefined(curve: Curve) -> list[str]:
    """One sentence if the curve has undefined values."""
    holes = np.flatnonzero(np.isnan(curve.values))
    if not len(holes):
        return []
    where = f"{len(holes)} of {len(curve.steps)} steps, first at {curve.steps[holes[0]]:,}"
    return [f"{curve.arm}, {kind_of(curve)}: undefined at {where} ({curve.undefined})."]


def bounded(content: Content) -> list[Bounded]:
    """The bounds grouped by the quantity that they bound, each group with its measured curve if there is one."""
    limits = [curve for curve in content.bounds if curve.kind != "measured"]
    measured = [curve for curve in (*content.bounds, *content.curves) if curve.kind == "measured"]
    groups: dict[str, list[Curve]] = {}
    for bound in limits:
        groups.setdefault(_bounded_name(bound), []).append(bound)
    quantities = []
    for name, group in groups.items():
        own = next((curve for curve in measured if group[0].bounds(curve)), None)
        quantities.append(Bounded(name, own, group, _beside(group, measured)))
    return quantities


def _beside(group: Sequence[Curve], measured: Sequence[Curve]) -> list[Curve]:
    first = group[0]
    pair, wanted = {first.arm, first.reference}, _BESIDE.get(first.measure, ())
    # Where a curve names a reference too, it must be of the same two arms.
    return [
        c for c in measured if c.measure in wanted and c.arm in pair and (c.reference is None or c.reference in pair)
    ]


def _bounded_name(bound: Curve) -> str:
    to = f" to {bound.reference}" if bound.reference else ""
    where = " ".join(part for part in (bound.source, bound.feature) if part)
    labels = f", labels: {bound.labelling}" if bound.labelling else ""
    return f"{measure_name(bound)} of {bound.arm}{to} ({where}{labels})"


def vacuity(bound: Curve, limits: Sequence[Curve]) -> str:
    """From which step on a bound says nothing that its limit does not say: "step 17", "never" or "–" without one."""
    # Other limits are for comparison (the value for equal similarities, the distance of a nudged twin).
    limit = next((curve for curve in limits if curve.bound == TRIVIAL), None)
    if limit is None or bound.kind == "limit" or not len(limit.values):
        return "–"
    # A trivial limit is one number, on fewer steps than the bound has.
    above = np.flatnonzero(bound.values > limit.values[0])
    return f"step {bound.steps[above[0]]:,}" if len(above) else "not within the run"


def notes(content: Content) -> list[str]:
    """Everything undefined, missing, flagged or left out, a sentence each."""
    sentences: list[str] = []
    for run in content.runs:
        name = f"{run.name}: " if len(content.runs) > 1 else ""
        if not run.finished:
            sentences.append(f"{name}UNFINISHED: records up to step {run.steps:,} of {run.planned_steps:,}.")
        sentences += [f"{name}{left}." for left in (*waiting(run), *not_compared(run))]
        unrecorded = [s for s in ("scalars", "layers", "similarity", "panel", "surrogate") if not run.schedules(s)]
        sentences += [f"{name}the stream {stream} is not recorded (record.{stream} is empty)." for stream in unrecorded]
    sentences += alarms(content)
    sentences += [line for lines in content.missing.values() for line in lines]
    every = [*content.curves, *content.bounds, *content.divergence, *content.response_curves]
    # What there is to say of a control is said once: its curves are repeated as limits of other arms.
    own = [curve for curve in every if curve not in content.divergence or curve.kind == "measured"]
    sentences += [line for curve in own for line in undefined(curve)]
    sentences += _flags(own)
    sentences += _left_out(content, every)
    return list(dict.fromkeys(sentences))


def alarms(content: Content) -> list[str]:
    """Faults of a run: an exact twin that left its original, a bound that should hold and does not."""
    faults = [f"ALARM: {fault}; the run was not in lockstep." for fault in twin_faults(content.run, content.curves)]
    return faults + [f"ALARM: {violation}." for violation in content.violations]


def _flags(every: Sequence[Curve]) -> list[str]:
    """One sentence for every flag, with all curves that have it: "drift, paper (nscl): a bound on plain descent …"."""
    about: dict[str, dict[str, list[str]]] = {}
    for curve in every:
        name = ", ".join(part for part in (measure_name(curve), curve.bound) if part)
        for flag in curve.flags:
            arms = about.setdefault(flag, {}).setdefault(name, [])
            arms += [curve.arm] if curve.arm not in arms else []
    sentences = []
    for flag, of in about.items():
        curves = "; ".join(f"{name} ({', '.join(arms)})" for name, arms in of.items())
        sentences.append(f"{curves}: {flag.rstrip('.')}.")
    return sentences


def _left_out(content: Content, every: Sequence[Curve]) -> list[str]:
    sentences = ["Values on this page have six significant digits (maps: four); the CSV files have them in full."]
    if thinned(every):
        sentences.append(
            f"Lines show at most {MOST_POINTS:,} of their recorded steps, about evenly spaced in log(step); the CSV "
            "files have all."
        )
    maps = content.layers[:1]
    if maps and len(maps[0].steps) < maps[0].of:
        sentences.append(
            f"Per-layer maps show {len(maps[0].steps)} of {maps[0].of:,} recorded steps, about evenly spaced in "
            "log(step)."
        )
    if maps and len(content.runs) > 1:
        sentences.append(f"Per-layer maps are of {content.run.name} (seed {content.run.config.seed}) alone.")
    return sentences


def tables(content: Content, section: str) -> list[tuple[str, list[str], list[list[str]]]]:
    """Caption, columns and rows of each table of a section: by seed if there are several."""
    several, by_caption = len(content.runs) > 1, {}
    for seed, table in content.tables:
        if table.section == section:
            rows = by_caption.setdefault(table.caption, (table.columns, []))[1]
            rows += [
                [str(seed)] * several + [_cell(getattr(row, name), name) for name in table.columns]
                for row in table.rows
            ]
    return [
        (caption, ["seed"] * several + [name.replace("_", " ") for name in columns], rows)
        for caption, (columns, rows) in by_caption.items()
    ]


def _cell(value: Any, column: str = "") -> str:
    if column == "doubling_steps":
        return known(value)  # as in a terminal: an exponent may be known, and no time be told
    if isinstance(value, float):
        return number(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, tuple | list):
        return " – ".join(map(_cell, value))
    return ABSENT if value is None else str(value)
