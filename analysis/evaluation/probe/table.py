"""The tables of probes: probe.csv, and the last step for a terminal."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from rich.table import Table

from analysis.evaluation.probe.curves import AccuracyCurve
from analysis.output.csv import write_csv
from analysis.output.table import title
from analysis.runs.numbers import ABSENT
from analysis.runs.run import Run

CSV_NAME: Final = "probe.csv"
MORE: Final = ("classifier", "ways", "shots", "draws", "gradient")
SHOWN: Final = ("centre", "linear", "knn10")
_MOST_SHOTS: Final = 3  # columns of few shots for each classifier
HEADS: Final = {"centre": "centre", "linear": "linear", "knn5": "5-NN", "knn10": "10-NN", "knn20": "20-NN"}


def write(run: Run, curves: Sequence[AccuracyCurve]) -> Path:
    """Writes RUN/analysis/probe.csv: every accuracy and difference at every step."""
    return write_csv(run, curves, CSV_NAME, more=MORE)


def printed(run: Run, curves: Sequence[AccuracyCurve]) -> Iterator[Table]:
    """For each labelling the C-way test accuracies at the last step, means over samples, and the paired differences of
    the linear probe that was given most samples.
    """
    for labelling in dict.fromkeys(curve.labelling for curve in curves):
        yield rich_table(run, [curve for curve in curves if curve.labelling == labelling])


def rich_table(run: Run, curves: Sequence[AccuracyCurve]) -> Table:
    """The table of one labelling: a row per feature and arm, a column per classifier and number of shots."""
    first, ways = curves[0], max(curve.ways for curve in curves)
    shown = [curve for curve in curves if (curve.split, curve.ways) == ("test", ways)]
    by_key = {_key(curve): curve for curve in shown if curve.measure in ("accuracy", "accuracy_difference")}
    shots = _some_shots(shown)
    classifiers = [name for name in SHOWN if any(curve.classifier == name for curve in shown)]
    compared, most = "linear" if "linear" in classifiers else classifiers[0], shots[-1]
    whose = "" if first.protocol == "default" else f", protocol {first.protocol}"
    heading = (
        f"{title(run)}; {ways}-way accuracy on test, labels {first.labelling}, step {int(first.steps[-1]):,}{whose}"
    )
    table = Table(title=heading, caption=_notes(shown, compared, most), title_justify="left", caption_justify="left")
    table.add_column("of", no_wrap=True)
    table.add_column("arm", overflow="fold")
    for name in classifiers:
        for m in shots:
            table.add_column(f"{HEADS[name]}\n{_shots(m)}", justify="right", no_wrap=True)
    table.add_column(f"{HEADS[compared]} {_shots(most)}\nless reference's", justify="right", no_wrap=True)
    for feature in dict.fromkeys(curve.feature for curve in shown):
        table.add_section()
        for arm in dict.fromkeys(curve.arm for curve in shown):
            cells = [_percent(by_key.get((feature, arm, name, m, False))) for name in classifiers for m in shots]
            table.add_row(feature, arm, *cells, _difference(by_key.get((feature, arm, compared, most, True))))
    return table


def _key(curve: AccuracyCurve) -> tuple[str | None, str, str, int | None, bool]:
    return curve.feature, curve.arm, curve.classifier, curve.shots, curve.reference is not None


def _some_shots(curves: Sequence[AccuracyCurve]) -> list[int | None]:
    """At most three numbers of shots, evenly among those there are, and "all"."""
    few = sorted({curve.shots for curve in curves if curve.shots is not None})
    if len(few) > _MOST_SHOTS:
        few = [few[round(k * (len(few) - 1) / (_MOST_SHOTS - 1))] for k in range(_MOST_SHOTS)]
    return [*few, *([None] if any(curve.shots is None for curve in curves) else [])]


def _notes(curves: Sequence[AccuracyCurve], compared: str, most: int | None) -> str:
    """What the columns are, and the flags of any of these curves."""
    some = curves[0]
    draws = max(curve.draws for curve in curves)
    widest = max(_half(curve) for curve in curves if curve.measure == "accuracy" and curve.classifier in SHOWN)
    sentences = [
        f"% of {some.n:,} test images that classifiers of frozen features put into their class; columns: samples of "
        "train a class that they were fitted to.",
        f"Few shots: mean of {draws} draws. 95 % intervals are ± {100 * widest:.1f} at most."
        if draws > 1
        else f"95 % intervals over samples are ± {100 * widest:.1f} at most.",
        "Last column: paired difference with 95 % interval, percentage points."
        if any(curve.reference for curve in curves)
        else "",
    ]
    flags = dict.fromkeys(f"{flag}." for curve in curves for flag in curve.flags)
    columns = [curve for curve in curves if curve.classifier in SHOWN and curve.shots in _some_shots(curves)]
    undefined = dict.fromkeys(f"{ABSENT}: {curve.undefined}." for curve in columns if math.isnan(curve.values[-1]))
    return " ".join(part for part in (*sentences, *flags, *undefined) if part)


def _half(curve: AccuracyCurve) -> float:
    """Half the width of the interval at the last step; 0 where there is none."""
    if curve.interval is None or math.isnan(curve.interval.low[-1]):
        return 0.0
    return float(curve.interval.high[-1] - curve.interval.low[-1]) / 2


def _shots(m: int | None) -> str:
    return "all" if m is None else f"{m}"


def _percent(curve: AccuracyCurve | None) -> str:
    return ABSENT if curve is None or math.isnan(curve.values[-1]) else f"{100 * curve.values[-1]:.1f}"


def _difference(curve: AccuracyCurve | None) -> str:
    if curve is None or math.isnan(curve.values[-1]):
        return ABSENT
    value = f"{100 * curve.values[-1]:+.1f}"
    if curve.interval is None:
        return value
    return f"{value} [{100 * curve.interval.low[-1]:+.1f}, {100 * curve.interval.high[-1]:+.1f}]"
