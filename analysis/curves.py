"""Every curve of a run, and `curves.csv`, the long table that any plotting tool reads."""

import csv
import io
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from analysis import output
from analysis.curve import Curve
from analysis.measures import FEATURES
from analysis.run import Run
from coupled.errors import UserError

CSV_NAME: Final = "curves.csv"
HEADER: Final = (
    "step", "arm", "anchor", "measure", "value", "n", "d", "feature", "source", "split", "labelling", "estimator",
    "note",
)  # fmt: skip

# The surrogate panel is recorded for the drift bounds; its alignment is asked for by name.
_ALIGNED: Final = tuple(pair for pair in FEATURES if pair[0] != "surrogate")
SOURCES: Final = ("scalars", *dict.fromkeys(FEATURES[pair].stream for pair in _ALIGNED))


def curves(run: Run) -> list[Curve]:
    """All curves of a run, arm by arm.

    Streams that the config never records are left out, and so is what an unfinished run has not committed yet
    (`waiting` says what). Raises UserError if no step is committed yet, StoreError for damaged records.
    """
    if run.steps is None:
        raise UserError(f"{run.path} has no committed step yet", "records come shard by shard", "try again later")
    return [curve for arm in run.arms for curve in _of_arm(run, arm)]


def labellings_of(run: Run, arm: str) -> list[str]:
    """The labellings that an arm's loss gap is of interest for: its own, and those of the arms anchored at it."""
    specs = [run.arms[arm], *(spec for spec in run.arms.values() if spec.anchor == arm)]
    return list(dict.fromkeys(spec.labelling for spec in specs if spec.labelling is not None))


def waiting(run: Run) -> list[str]:
    """What the curves of an unfinished run still lack, stream by stream: "panel: nothing committed yet"."""
    said = []
    for stream in SOURCES:
        late = [arm for arm in run.arms if run.awaits(stream, arm)]
        of = "" if len(late) == len(run.arms) else f" of {', '.join(late)}"
        said += [f"{stream}: nothing committed yet{of}"] if late else []
    return said


def write_csv(run: Run, found: Iterable[Curve], name: str = CSV_NAME) -> Path:
    """Writes RUN/analysis/curves.csv (or another `name`): a row per curve and step, full precision (repr), UTF-8.

    An undefined value is an empty cell, and only then `note` says why; what does not apply to a measure is empty too.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    for curve in found:
        writer.writerows(_rows(curve))
    return output.write(run.path / output.FOLDER / name, text.getvalue().encode())


def _rows(curve: Curve) -> Iterator[tuple[object, ...]]:
    before = (curve.arm, curve.anchor, curve.measure)
    after = (curve.n, curve.d, curve.feature, curve.source, curve.split, curve.labelling, curve.estimator)
    for step, value in zip(curve.steps.tolist(), curve.values.tolist(), strict=True):
        undefined = math.isnan(value)
        yield step, *before, "" if undefined else repr(value), *after, curve.undefined if undefined else ""


def _of_arm(run: Run, arm: str) -> Iterator[Curve]:
    if _has(run, "scalars", "batch", arm):
        yield run.curve("loss", arm=arm)
        for labelling in labellings_of(run, arm):
            yield run.curve("gap", arm=arm, labelling=labelling)
            yield run.curve("mass", arm=arm, labelling=labelling)
    anchor = run.arms[arm].anchor
    if anchor is None:
        return
    if _has(run, "scalars", "state", arm):
        yield run.curve("weight_gap", arm=arm)
        yield run.curve("distance", arm=arm)
    for source, feature in _ALIGNED:
        where = FEATURES[source, feature]
        if _has(run, where.stream, where.column.partition(".")[0], arm, anchor):
            yield run.curve("cka", arm=arm, source=source, feature=feature)
            yield run.curve("rsa", arm=arm, source=source, feature=feature)


def _has(run: Run, stream: str, group: str, *owners: str) -> bool:
    return run.schedules(stream, group) and not run.awaits(stream, *owners)
