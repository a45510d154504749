"""Streams of a user's own, as a run has them on record: nothing of their code is run."""

import numpy as np

from analysis.runs.curve import Curve
from coupled.config.own_streams import PREFIX, stream_name
from coupled.errors import UserError, unknown
from coupled.reading.records import Block, Records
from coupled.recording.layout import own_column


def values(records: Records, name: str, arm: str) -> Block:
    """All recorded steps, int64 (T,), and values (T, *shape) of a stream of one's own. UserError, with the names that
    there are, for one that the run does not record of this arm.
    """
    own = records.config.record.own
    records.arm(arm)
    if not own:
        raise UserError(f"{records.path} has no stream own.{name}", "its config has no [record.own]", "train with one")
    if name not in own:
        raise unknown("stream", name, own, PREFIX)
    if own[name].arms and arm not in own[name].arms:
        raise UserError(f"{PREFIX}{name} of {arm}", "it is recorded of " + ", ".join(own[name].arms))
    return records.column(stream_name(name), arm, own_column(records.config, name))


def curve(records: Records, measure: str, arm: str) -> Curve:
    """The curve of a stream of numbers, `measure` = "own.<name>". UserError for one of another shape."""
    name = measure.removeprefix(PREFIX)
    steps, recorded = values(records, name, arm)
    if recorded.ndim > 1:
        raise UserError(
            f"{measure} has rows of shape {recorded.shape[1:]}", "a curve is of numbers", f'use run.own("{name}", …)'
        )
    config, on_panel = records.config, records.config.record.own[name].of == "panel"
    return Curve(
        measure=measure,
        arm=arm,
        reference=None,
        steps=steps,
        values=recorded.astype(np.float64),
        n=config.panel.size if on_panel else 2 * config.batches.size,
        d=config.model.projection_dim,
        feature=None,
        source="panel" if on_panel else "batch",
        split="test" if on_panel else "train",
        labelling=None,
        estimator="a function of the user's own",
        undefined="the function gave NaN",
    )
