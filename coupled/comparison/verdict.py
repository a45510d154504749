"""What the first difference says about its cause, and what the records are too few to say."""

from collections.abc import Sequence
from typing import Final

from coupled.comparison.records import RecordPair
from coupled.comparison.rows import RowDifference, in_words
from coupled.comparison.states import StateDifference
from coupled.recording.layout import SHARED, Cause, cause

# Of all that differs at a step the first cause says most.
MEANINGS: Final = {
    Cause.INPUTS: "the inputs of that step differ, so everything after may",
    Cause.WEIGHTS: "the inputs were equal there: {start}",
    Cause.EVALUATION: (
        "inputs and {weights} were equal there: running statistics, the panel's images or their forward pass differed"
    ),
    Cause.FORWARD: "inputs and {weights} were equal there: the forward pass differed",
    Cause.OBJECTIVE: "the embeddings were equal there: the objective or its arithmetic differed",
    Cause.BACKWARD: "the losses were equal there: the backward pass differed",
    Cause.OPTIMISER: "the gradients' norms were equal there: the optimiser differed",
    Cause.PAST: "all that is chained before it differs unseen: the initial weights, or a step that is not recorded",
}


def of_row(row: RowDifference, step: int, records: RecordPair, kept: Sequence[StateDifference]) -> str:
    """The sentence about a row that is the first to differ; `kept`: the common checkpoints."""
    checked = any((state.step, state.arm) == (step, row.owner) for state in kept)
    lacking = _unrecorded(records, row, step, checked=checked)
    weights = "weights" if checked else "norms of weights"
    meaning = MEANINGS[row.cause].format(weights=weights, start=_start(records, step, "weights"))
    if lacking:
        # What is not recorded cannot be ruled out: the cause is only what it looks like.
        meaning = f"{', '.join(lacking)} not recorded there by both; if they were equal: {meaning.rpartition(': ')[2]}"
    return f"first difference: step {step}, {row.name}, {row.size}; {meaning}{_between(records, step)}"


def of_state(state: StateDifference, records: RecordPair) -> str:
    """The sentence about a checkpoint that is the first to differ."""
    name = state.layers[0].name if state.layers else state.unmatched[0]
    size = ", ".join(in_words(state.layers[0].sizes)) if state.layers else "not in both alike"
    others = len(state.layers) + len(state.unmatched) - 1
    more = f" and {others} more tensors" if others else ""
    return (
        f"first difference: the checkpoint at step {state.step}, arm {state.arm}, {name}{more}, {size}; nothing "
        f"recorded before it differs: {_start(records, state.step, 'states')}{_between(records, state.step)}"
    )


def _start(records: RecordPair, step: int, starts: str) -> str:
    """How a state comes to differ whose past does not."""
    if step == 0:
        return f"the runs started from other {starts}"
    known = records.step_before(step) == step - 1
    return f"the update from step {step - 1} differed" if known else "an update before it differed"


def _unrecorded(records: RecordPair, row: RowDifference, step: int, *, checked: bool) -> list[str]:
    """The causes that would show before this row, but are not among what both recorded at the step."""

    def has(stream: str) -> bool:
        """Are the inputs in a stream recorded there?"""
        return (stream, SHARED) in records.pairs() and step in records.common_steps(stream, SHARED, "batch")

    def shown(of: Cause) -> bool:
        """Is anything of the arm recorded there that shows `of`?"""
        return any(
            cause(stream, owner, column) == of and step in records.common_steps(stream, owner, column.partition(".")[0])
            for stream, owner in records.pairs()
            if owner == row.owner
            for column in records.columns(stream, owner)
        )

    lacking = []
    if row.cause in (Cause.EVALUATION, Cause.FORWARD):
        lacking += [] if has("scalars") else ["draws and learning rate"]
        lacking += [] if checked or shown(Cause.WEIGHTS) else ["weights"]
    if row.cause == Cause.FORWARD:
        lacking += [] if has("pixels") else ["pixels"]
    if row.cause in (Cause.OBJECTIVE, Cause.BACKWARD):
        lacking += [] if shown(Cause.FORWARD) else ["embeddings"]
    return lacking


def _between(records: RecordPair, step: int) -> str:
    """Where the search could not look."""
    before = records.step_before(step)
    if before is None:
        return "" if step == 0 else "; both recorded no step before it"
    return "" if before == step - 1 else f"; the last step before it that both recorded is {before}"
