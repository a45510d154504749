"""Accuracy beside alignment: accuracy.csv, the last step for a terminal, and the correlations as lines."""

import csv
import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from rich.table import Table

from analysis.evaluation.accuracy import MEASURES, Accuracies, Correlated
from analysis.evaluation.accuracy.points import Point
from analysis.output import files
from analysis.output.csv import number_cell
from analysis.output.table import title
from analysis.runs.numbers import ABSENT
from analysis.statistics.correlation import Correlation
from analysis.statistics.proportions import Interval

CSV_NAME: Final = "accuracy.csv"
HEADER: Final = (
    "run", "differs", "seed", "step", "arm", "kind", "reference", "temperature", "lam", "batch", "labelling", "feature",
    "measure", "alignment", "alignment_low", "alignment_high", "classifier", "shots", "accuracy", "accuracy_low",
    "accuracy_high", "reference_accuracy", "difference", "difference_low", "difference_high", "n", "ways", "correlated",
    "flags", "note",
)  # fmt: skip
_OF: Final = {"accuracy": "accuracy", "difference": "difference to the reference's accuracy"}
_ARMS: Final = {"objectives": "objective arms", "controls": "controls"}
CONFOUNDED: Final = (
    "Within a run training moves both: alignment falls and accuracy rises with the step. "
    "The difference to the reference at the same step is free of accuracy's part of that."
)


def write(accuracies: Accuracies) -> Path:
    """Writes accuracy.csv into the first run's analysis/: a row per point, full precision.

    An undefined number is an empty cell, and `note` says why; so is what does not apply or is not known. `correlated`:
    in which correlations the point is, "objectives" or "controls".
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    asked = accuracies.asked
    for point in accuracies.points:
        kinds = "objectives" if point.objective else "controls"
        writer.writerow((
            point.name, point.differs, point.seed, point.step, point.arm, point.kind, point.reference,
            point.temperature, point.lam, point.batch, asked.labelling, asked.feature, asked.measure,
            *map(number_cell, point.alignment), asked.classifier, shots_word(asked.shots),
            *map(number_cell, point.accuracy), number_cell(point.reference_accuracy.value),
            *map(number_cell, point.difference), point.n, point.ways, kinds if point.counts else "",
            "; ".join(point.flags), point.undefined,
        ))  # fmt: skip
    return files.write(files.folder(accuracies.points[0].run.path) / CSV_NAME, text.getvalue().encode())


def printed(accuracies: Accuracies) -> Iterator[Table]:
    """The table of each run."""
    for name in dict.fromkeys(point.name for point in accuracies.points):
        yield rich_table(accuracies, name)


def rich_table(accuracies: Accuracies, name: str) -> Table:
    """A run's arms at its last step."""
    points = [point for point in accuracies.points if point.name == name]
    last = max(point.step for point in points)
    shown = [point for point in points if point.step == last]
    heading = f"{title(shown[0].run)}; {about(accuracies)}, step {last:,}"
    table = Table(title=heading, caption=_notes(shown), title_justify="left", caption_justify="left")
    for column in ("arm", "reference"):
        table.add_column(column, overflow="fold")
    for column in ("alignment", "accuracy %", "reference's %", "less reference's"):
        table.add_column(column, justify="right")
    for point in shown:
        table.add_row(
            point.arm, point.reference, _cell(point.alignment, "{:.3f}"), _cell(point.accuracy, "{:.1f}", 100),
            _cell(point.reference_accuracy, "{:.1f}", 100), _cell(point.difference, "{:+.1f}", 100),
        )  # fmt: skip
    return table


def _notes(shown: list[Point]) -> str:
    parts = [
        f"On {shown[0].n:,} test images, {shown[0].ways}-way; 95 % intervals; last column: paired, percentage points.",
        shown[0].differs and f"This run: {shown[0].differs}.",
        *dict.fromkeys(f"{flag}." for point in shown for flag in point.flags),
        *dict.fromkeys(f"{ABSENT}: {point.undefined}." for point in shown if point.undefined),
    ]
    return " ".join(part for part in parts if part)


def _cell(interval: Interval, form: str, scale: int = 1) -> str:
    if math.isnan(interval.value):
        return ABSENT
    value, low, high = (form.format(scale * number) for number in interval)
    return value if math.isnan(interval.low) else f"{value} [{low}, {high}]"


def about(accuracies: Accuracies) -> str:
    """What is beside what, in words."""
    asked = accuracies.asked
    classifier = {"linear": "linear probe", "centre": "nearest class centre"}[asked.classifier]
    shots = "all train samples" if asked.shots is None else f"{asked.shots} shots a class"
    return f"{MEASURES[asked.measure]} of {asked.feature} beside {classifier}, {shots}, labels {asked.labelling}"


def lines(accuracies: Accuracies) -> Iterator[str]:
    """Every correlation in words, and what a reader of them must know."""
    for one in accuracies.correlations:
        of = f"{one.scope} runs, alignment and {_OF[one.of]}, {_ARMS[one.arms]}"
        words = f" ({one.correlation.interval})" if one.correlation.interval else ""
        yield f"{of}: {number(one.correlation)}{_counts(one)}{words}"
    yield "step 0 is in no correlation. " + CONFOUNDED
    yield from accuracies.flags


def number(correlation: Correlation) -> str:
    """r with its interval, or why there is none."""
    if correlation.undefined:
        return f"undefined ({correlation.undefined})"
    value = f"r = {correlation.value:+.2f}"
    return value if math.isnan(correlation.low) else f"{value} [{correlation.low:+.2f}, {correlation.high:+.2f}]"


def remark(one: Correlated) -> str:
    """A correlation as a figure has it."""
    # Two panels stand beside each other: no room for all words.
    return f"{_ARMS[one.arms]}, {one.scope} runs: {number(one.correlation)}{_counts(one).replace(' points of', ',')}"


def _counts(one: Correlated) -> str:
    """How many points and runs; an undefined value has said it."""
    runs = one.correlation.groups
    runs = f"{runs} run{'s' * (runs != 1)}"
    if one.correlation.undefined:
        return ""
    return f", n = {one.correlation.n} points of {runs}" if one.scope == "within" else f", n = {runs}"


def shots_word(shots: int | None) -> str:
    """Shots as they are asked for."""
    return "all" if shots is None else str(shots)
