"""The charts of probes: test accuracy against the number of shots, and over steps."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from analysis.evaluation.probe.curves import ACCURACIES, DIFFERENCES, AccuracyCurve
from analysis.evaluation.probe.table import HEADS
from analysis.output.styles import Style, styles
from analysis.report import wording
from analysis.report.charts import Chart, base_layout
from analysis.report.content import Content
from analysis.report.traces import Trace, line, points
from analysis.runs.curve import Band

_SHOWN: Final = (ACCURACIES[0], DIFFERENCES[0])  # means over samples
_ALL_AT: Final = 2.5  # "all" stands so many times to the right of the most shots
_MOST_TICKS: Final = 9
_GREY: Final = "#8C8C8C"


def against_shots(content: Content) -> Chart | None:
    """Accuracy against shots at the last step, a choice for each classifier and feature; None without any."""
    every = _shown(content)
    step = max((int(curve.steps[-1]) for curve in every), default=0)
    curves = [curve for curve in every if curve.at(step) is not None]
    if not curves:
        return None
    shots = sorted({curve.shots for curve in curves if curve.shots is not None})
    at: dict[int | None, float] = {m: float(m) for m in shots}
    if any(curve.shots is None for curve in curves):
        at[None] = _ALL_AT * shots[-1] if shots else 1.0
    by_entry: dict[str, list[AccuracyCurve]] = {}
    for curve in sorted(curves, key=lambda curve: curve.reference is not None):
        by_entry.setdefault(_entry(curve, curves), []).append(curve)
    data = [trace for entry, of_entry in by_entry.items() for trace in _traces(content, of_entry, entry, at, step)]
    layout = base_layout()
    layout["xaxis"] |= _axis(at)
    lead = (
        f"At step {step:,}, on test: the share of images that a classifier of frozen features puts into their class, "
        "fitted to so many train samples a class. Less the reference's: of the same shots and samples."
    )
    return Chart(
        id="probe_shots",
        title="Accuracy against shots",
        lead=lead,
        data=data,
        layout=layout,
        x="numbers",
        choices=tuple(by_entry),
        menu="classifier",
        alt=f"Accuracy against shots at step {step:,}. {wording.described(curves)}",
        arms=_arms(curves),
        legend=(Style(_GREY, ":", "chance; of differences: 0"),),
        notes=_notes(content, curves, step),
    )


def over_steps(content: Content) -> Chart | None:
    """Accuracy over kept checkpoints, with all samples and a middle number of shots; None where there is one step."""
    curves = [curve for curve in _shown(content) if curve.reference is None]
    few = sorted({curve.shots for curve in curves if curve.shots is not None})
    several = [curve for curve in curves if len(curve.steps) > 1]
    shown = [curve for shots in (None, *few[len(few) // 2 :][:1]) for curve in several if curve.shots == shots]
    if not shown:
        return None
    style_of = styles(content.run.arms)

    def entry(curve: AccuracyCurve) -> str:
        return f"{_entry(curve, curves)}, {_words(curve.shots)}"

    return Chart(
        id="probe_steps",
        title="Accuracy over steps",
        lead="On test, at every step that was probed; bars: 95 % intervals. All numbers of shots: probe.csv.",
        data=[trace for curve in shown for trace in line(curve, style_of[curve.arm], choice=entry(curve))],
        layout=base_layout(),
        choices=tuple(dict.fromkeys(map(entry, shown))),
        menu="classifier",
        alt=f"Accuracy over steps. {wording.described(shown)}",
        arms=_arms(shown),
    )


def _shown(content: Content) -> list[AccuracyCurve]:
    """Among all classes, on test, means over samples."""
    curves = [curve for curve in content.usefulness.accuracies if curve.split == "test" and curve.measure in _SHOWN]
    most: dict[str | None, int] = {}
    for curve in curves:
        most[curve.labelling] = max(curve.ways, most.get(curve.labelling, 0))
    return [curve for curve in curves if curve.ways == most[curve.labelling]]


def _entry(curve: AccuracyCurve, curves: Sequence[AccuracyCurve]) -> str:
    """The entry of a menu that the curve belongs to."""
    several = len({other.labelling for other in curves}) > 1
    labels = f"labels: {curve.labelling}" if several else ""
    less = "less the reference's" if curve.reference else ""
    return ", ".join(part for part in (f"{HEADS[curve.classifier]} on {curve.feature}", labels, less) if part)


def _words(shots: int | None) -> str:
    if shots is None:
        return "all samples"
    return f"{shots} shot{'s' if shots > 1 else ''} a class"


def _arms(curves: Sequence[AccuracyCurve]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(curve.arm for curve in curves))


def _traces(
    content: Content, curves: Sequence[AccuracyCurve], entry: str, at: Mapping[int | None, float], step: int
) -> list[Trace]:
    """An entry's level of chance, which says in the hover text where one is, and a line an arm, "all" apart from it."""
    level = 0.0 if curves[0].reference else 1 / curves[0].ways
    name = "the reference's" if curves[0].reference else f"chance, 1/{curves[0].ways}"
    meta: Trace = {"arm": None, "choice": entry}
    chance = points(list(at.values()), [level] * len(at), Style(_GREY, ":", name), name=name, meta=meta)
    chance |= {"mode": "lines", "text": list(map(_words, at)), "hovertemplate": "%{y:.4~g}  (%{text})"}
    traces = [chance]
    for arm, style in styles(content.run.arms).items():
        of_arm = {curve.shots: curve for curve in curves if curve.arm == arm}
        for shown, symbol in (([m for m in at if m is not None and m in of_arm], "circle"), ([None], "diamond")):
            its = [of_arm[m] for m in shown if m in of_arm]
            if its:
                x, values = [at[curve.shots] for curve in its], [curve.at(step) or 0.0 for curve in its]
                trace = points(x, values, style, name=arm, meta={"arm": arm, "choice": entry}, band=_band(its, step))
                trace["marker"] |= {"symbol": symbol}
                traces.append(trace)
    return traces


def _band(curves: Sequence[AccuracyCurve], step: int) -> Band:
    """The intervals at a step, NaN where there is none."""
    at = [None if curve.interval is None else (curve.interval, curve.steps == step) for curve in curves]
    low, high = (
        np.array([math.nan if one is None else float(getattr(one[0], edge)[one[1]][0]) for one in at])
        for edge in ("low", "high")
    )
    return Band(low, high, "95 % intervals")


def _axis(at: Mapping[int | None, float]) -> dict[str, Any]:
    """The axis of shots: logarithmic, "all" at its right; a hover text says itself where it is."""
    few = [m for m in at if m is not None]
    ticks: list[int | None] = [*few[:: max(1, -(-len(few) // _MOST_TICKS))], *([None] if None in at else [])]
    low, high = min(at.values()), max(at.values())
    return {
        "type": "log",
        "title": {"text": "samples of train a class", "standoff": 8},
        "range": [math.log10(0.8 * low), math.log10(1.25 * high)],
        "tickvals": [at[m] for m in ticks],
        "ticktext": ["all" if m is None else f"{m:,}" for m in ticks],
        "unifiedhovertitle": {"text": "accuracy"},
    }


def _notes(content: Content, curves: Sequence[AccuracyCurve], step: int) -> tuple[str, ...]:
    """What the chart cannot show: draws, intervals, holes, flags, other runs."""
    some = curves[0]
    draws = sorted({curve.draws for curve in curves if curve.draws > 1})
    sentences = [
        f"{some.n:,} test images; means over samples, and few shots: over {' or '.join(map(str, draws))} draws."
        if draws
        else f"{some.n:,} test images; means over samples.",
        *(f"Bars: {what}." for what in dict.fromkeys(c.interval.what for c in curves if c.interval)),
        *(
            f"{HEADS[curve.classifier]}, {_words(curve.shots)}: {curve.undefined}."
            for curve in curves
            if math.isnan(curve.at(step) or 0.0)
        ),
        *(f"{flag}." for curve in curves for flag in curve.flags),
        "Train, two-way and means over classes are in probe.csv.",
    ]
    return tuple(dict.fromkeys(sentences))
