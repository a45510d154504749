"""Which streams of a run are recorded, and which of them are still to come."""

from collections.abc import Sequence
from typing import Final

from analysis.runs.features import FEATURES, features
from analysis.runs.labels import own_labelling
from analysis.runs.own_measures import OwnMeasure, labelling_for, registered
from analysis.runs.run import Run
from coupled.config.formats import IMPORTED
from coupled.config.traits import other_inputs
from coupled.errors import UserError
from coupled.terminal.shell import shell

# The surrogate panel is recorded for the drift bounds; its alignment is asked for by name.
ALIGNED: Final = tuple(pair for pair in FEATURES if pair[0] != "surrogate")
CURVE_STREAMS: Final = ("scalars", *dict.fromkeys(FEATURES[pair].stream for pair in ALIGNED))


def check_steps(run: Run, streams: Sequence[str] = CURVE_STREAMS, command: str = "alignment") -> None:
    """Raises UserError for a run without a trained step, or without a committed one yet; and for imported checkpoints,
    which have no records: `streams` are those that are looked at, `command` does something like it of checkpoints.
    """
    if IMPORTED in run.facts:
        raise UserError(
            f"{run.path} holds imported checkpoints",
            f"they have no records, and {', '.join(streams)} are needed",
            f"coupled-analyze {command} {shell(run.path)} takes checkpoints",
        )
    if run.planned_steps == 0:
        raise UserError(f"{run.path} trained no step", "curves are over steps", "train with train.steps of 1 or more")
    if run.steps is None and run.finished:
        raise UserError(f"{run.path} records nothing", "every schedule of its [record] is empty", "train with one")
    if run.steps is None:
        raise UserError(f"{run.path} has no committed step yet", "records come shard by shard", "try again later")


def labellings_of(run: Run, arm: str) -> list[str]:
    """The labellings that an arm's loss gap is of interest for: its own, and those of the arms compared with it.

    Of an arm with permuted labels both: the true ones first.
    """
    specs = [run.arms[arm], *(spec for spec in run.arms.values() if spec.reference == arm)]
    named = [*(spec.labelling for spec in specs), own_labelling(run.arms, arm)]
    return list(dict.fromkeys(labelling for labelling in named if labelling is not None))


def waiting(run: Run) -> list[str]:
    """What the curves of an unfinished run still lack, stream by stream: "panel: nothing committed yet"."""
    notes = []
    for stream in CURVE_STREAMS:
        late = [arm for arm in run.arms if run.awaits(stream, arm)]
        of = "" if len(late) == len(run.arms) else f" of {', '.join(late)}"
        notes += [f"{stream}: nothing committed yet{of}"] if late else []
    return notes


def comparable(run: Run, source: str, arm: str, reference: str) -> bool:
    """Can what two arms made of a source be compared? Of batches only where both see the same inputs."""
    return source != "batch" or not other_inputs(run.config.arms, arm, reference)


def not_compared(run: Run) -> list[str]:
    """Why batches of some arms are not compared with their reference's, a sentence each."""
    sentences = []
    for arm, spec in run.arms.items():
        if spec.reference is not None and (apart := other_inputs(run.config.arms, arm, spec.reference)):
            sentences.append(f"batches of {arm} against {spec.reference} are not compared: {apart}")
    return sentences if run.schedules("similarity") else []


def measurable(run: Run, arm: str) -> list[str]:
    """The measures of a user's own that an arm has on the panel now."""
    reference = run.arms[arm].reference
    there = reference is not None and has_records(run, "panel", "state", arm, reference)
    return [name for name, own in registered.items() if there and not _why_not(run, arm, own)]


def not_measured(run: Run) -> list[str]:
    """Why measures of a user's own are nowhere in the results, a sentence each."""
    sentences = []
    for name, own in registered.items():
        reasons = [_why_not(run, arm, own) for arm, spec in run.arms.items() if spec.reference is not None]
        if not reasons or all(reasons):
            why = next(filter(None, reasons), "no arm has a reference")
            sentences.append(f"{name} is not measured: {why}")
    return sentences


def _why_not(run: Run, arm: str, own: OwnMeasure) -> str:
    """Why a measure of a user's own cannot be taken of an arm on the panel, however long one waits; "" where it can."""
    if not run.schedules("panel"):
        return "the run records no panel"
    try:
        features(run, "panel", own.feature)
        if own.labelled:
            labelling_for(run, arm, own)
    except UserError as error:
        return str(error)
    return ""


def has_records(run: Run, stream: str, group: str, *owners: str) -> bool:
    """Are rows of `group` scheduled and, of all these owners, committed already?"""
    return run.schedules(stream, group) and not run.awaits(stream, *owners)
