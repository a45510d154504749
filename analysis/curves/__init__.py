"""Every curve of a run, and `curves.csv`, the long table that any plotting tool reads."""

from collections.abc import Iterator
from typing import Final

from analysis.runs.alignment import FeaturePair, drifts
from analysis.runs.curve import Curve
from analysis.runs.features import features, stage_names
from analysis.runs.processes import for_arms
from analysis.runs.recorded import ALIGNED, check_steps, comparable, has_records, labellings_of, measurable
from analysis.runs.run import Run

_NEIGHBOURHOOD: Final = 24  # samples of a panel below which ten neighbours are half of it, or more than there are


def curves(run: Run) -> list[Curve]:
    """All curves of a run, arm by arm.

    Streams that the config never records are left out, and so is what an unfinished run has not committed yet
    (`waiting` says what). Raises UserError if there is no step to show yet, StoreError for damaged records.
    """
    check_steps(run)
    return [curve for of_arm in for_arms(run, lambda arm: list(curves_of(run, arm))) for curve in of_arm]


def curves_of(run: Run, arm: str) -> Iterator[Curve]:
    """The curves of one arm."""
    if has_records(run, "scalars", "batch", arm):
        yield run.curve("loss", arm=arm)
        for labelling in labellings_of(run, arm):
            yield run.curve("gap", arm=arm, labelling=labelling)
            yield run.curve("mass", arm=arm, labelling=labelling)
    reference = run.arms[arm].reference
    if reference is None:
        return
    if has_records(run, "scalars", "state", arm):
        yield run.curve("weight_gap", arm=arm)
        yield run.curve("distance", arm=arm)
    for source, feature in (*ALIGNED, *(("panel", stage) for stage in stage_names(run))):
        where = features(run, source, feature)
        if comparable(run, source, arm, reference) and has_records(
            run, where.stream, where.column.partition(".")[0], arm, reference
        ):
            yield from _aligned(run, arm, source, feature)
    yield from (run.curve(measure, arm=arm) for measure in measurable(run, arm))


def _aligned(run: Run, arm: str, source: str, feature: str) -> Iterator[Curve]:
    """The curves of the features of one source: the headline measures, and those that show what these leave out."""
    yield run.curve("cka", arm=arm, source=source, feature=feature)
    yield run.curve("rsa", arm=arm, source=source, feature=feature)
    if (source, feature) == ("panel", "h"):
        yield run.curve("rsa", arm=arm, comparison="spearman")
        yield from (run.curve(measure, arm=arm) for measure in ("procrustes", "gram_angle"))
        if run.config.panel.size >= _NEIGHBOURHOOD:
            yield run.curve("knn_overlap", arm=arm)
    if feature == "z":
        yield from drifts(FeaturePair.of(run, arm, source=source, feature="z")).values()
