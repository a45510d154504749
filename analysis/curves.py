"""Every curve of a run, and `curves.csv`, the long table that any plotting tool reads."""

import csv
import io
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from analysis import aligned, output
from analysis.curve import Band, Curve
from analysis.features import FEATURES, features, stage_names
from analysis.parallel import by_arm
from analysis.run import Run
from coupled.errors import UserError

CSV_NAME: Final = "curves.csv"
HEADER: Final = (
    "step", "arm", "anchor", "measure", "value", "low", "high", "null_low", "null_high", "n", "d", "feature", "source",
    "split", "labelling", "kind", "bound", "estimator", "interval", "null", "flags", "note",
)  # fmt: skip

_NEIGHBOURHOOD: Final = 24  # samples of a panel below which ten neighbours are half of it, or more than there are
# The surrogate panel is recorded for the drift bounds; its alignment is asked for by name.
_ALIGNED: Final = tuple(pair for pair in FEATURES if pair[0] != "surrogate")
SOURCES: Final = ("scalars", *dict.fromkeys(FEATURES[pair].stream for pair in _ALIGNED))


def curves(run: Run) -> list[Curve]:
    """All curves of a run, arm by arm.

    Streams that the config never records are left out, and so is what an unfinished run has not committed yet
    (`waiting` says what). Raises UserError if there is no step to show yet, StoreError for damaged records.
    """
    check_steps(run)
    return by_arm(run.arms, lambda arm: _of_arm(run, arm))


def check_steps(run: Run) -> None:
    """Raises UserError for a run without a trained step, or without a committed one yet."""
    if run.planned_steps == 0:
        raise UserError(f"{run.path} trained no step", "curves are over steps", "train with train.steps of 1 or more")
    if run.steps is None and run.finished:
        raise UserError(f"{run.path} records nothing", "every schedule of its [record] is empty", "train with one")
    if run.steps is None:
        raise UserError(f"{run.path} has no committed step yet", "records come shard by shard", "try again later")


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

    An undefined number is an empty cell, and only where the value itself is undefined `note` says why; what does not
    apply to a measure is empty too. `interval` and `null` say of what low … high and null_low … null_high are.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    for curve in found:
        writer.writerows(_rows(curve))
    return output.write(run.path / output.FOLDER / name, text.getvalue().encode())


def _rows(curve: Curve) -> Iterator[tuple[object, ...]]:
    before = (curve.arm, curve.anchor, curve.measure)
    about = (curve.n, curve.d, curve.feature, curve.source, curve.split, curve.labelling, curve.kind, curve.bound)
    bands = [None if band is None else band.what for band in (curve.interval, curve.null)]
    after = (*about, curve.estimator, *bands, "; ".join(curve.flags))
    ranges = zip(*_edges(curve.interval, curve), *_edges(curve.null, curve), strict=True)
    for step, value, edges in zip(curve.steps.tolist(), curve.values.tolist(), ranges, strict=True):
        yield step, *before, _cell(value), *map(_cell, edges), *after, curve.undefined if math.isnan(value) else ""


def _edges(band: Band | None, curve: Curve) -> tuple[list[float], list[float]]:
    nothing = [math.nan] * len(curve.steps)
    return (nothing, nothing) if band is None else (band.low.tolist(), band.high.tolist())


def _cell(value: float) -> str:
    return "" if math.isnan(value) else repr(value)


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
    for source, feature in (*_ALIGNED, *(("panel", stage) for stage in stage_names(run))):
        where = features(run, source, feature)
        if _has(run, where.stream, where.column.partition(".")[0], arm, anchor):
            yield from _aligned(run, arm, source, feature)


def _aligned(run: Run, arm: str, source: str, feature: str) -> Iterator[Curve]:
    """What is asked of the features of one source: the headline measures, and beside them what they leave out."""
    yield run.curve("cka", arm=arm, source=source, feature=feature)
    yield run.curve("rsa", arm=arm, source=source, feature=feature)
    if (source, feature) == ("panel", "h"):
        yield run.curve("rsa", arm=arm, comparison="spearman")
        yield from (run.curve(measure, arm=arm) for measure in ("procrustes", "gram_angle"))
        if run.config.panel.size >= _NEIGHBOURHOOD:
            yield run.curve("knn_overlap", arm=arm)
    if feature == "z":
        yield from aligned.drifts(run, arm, run.arms[arm], source=source).values()


def _has(run: Run, stream: str, group: str, *owners: str) -> bool:
    return run.schedules(stream, group) and not run.awaits(stream, *owners)
