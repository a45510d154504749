"""A new stream is three places: a schedule in the config, a spec of its columns, an observer. All else follows."""

from dataclasses import dataclass, fields

import numpy as np
import pytest
import torch
from helpers import tiny

from coupled.comparison import diff
from coupled.config import Schedule
from coupled.config.fields import option
from coupled.config.schema import Record, Written
from coupled.driver.train import train
from coupled.errors import UserError
from coupled.planning.plan import plan
from coupled.reading.records import Records
from coupled.reading.run_json import read_run
from coupled.recording import layout, observers
from coupled.recording.layout import STREAMS, Column, StreamSpec, train_layout
from coupled.recording.observation import Observer
from coupled.verification import verify


@dataclass(frozen=True)
class WithTally(Record):
    tally: Schedule = option(Schedule(every=2), "how many updates there were", kind="recorded")


class Tally(Observer):
    stream = "tally"

    def state(self, seen):
        return {name: {"state.updates": torch.tensor(seen.step)} for name in seen.arms}

    def update(self, seen):
        moved = {name: {"update.updates": torch.tensor(seen.step + 1)} for name in seen.arms}
        return moved | {"shared": {"update.samples": np.array(len(seen.batch.ids))}}


NUMBER = Column("int64")
SPEC = StreamSpec(
    arm=lambda config, dims, arm: {"state.updates": NUMBER, "update.updates": NUMBER},
    shared=lambda config, dims: {"update.samples": NUMBER},
)


@pytest.fixture
def tally(monkeypatch):
    monkeypatch.setitem(Written.__annotations__, "record", WithTally)
    monkeypatch.setitem(layout.STREAMS, "tally", SPEC)
    monkeypatch.setattr(observers, "OBSERVERS", [*observers.OBSERVERS, Tally])


def records_of(run):
    facts, config, manifest = read_run(run)
    return Records(run, config, facts, manifest)


@pytest.mark.slow
def test_a_stream_of_three_places_is_recorded_planned_read_verified_and_compared(tally, tmp_path):
    config = tiny(tmp_path, record={"tally": {"every": 2}})
    records = records_of(train(config))
    steps, values = records.column("tally", "nscl", "state.updates")
    assert (steps.tolist(), values.tolist()) == ([0, 2, 4, 6], [0, 2, 4, 6])
    assert records.column("tally", "nscl", "update.updates")[1].tolist() == [1, 3, 5]
    assert records.column("tally", "shared", "update.samples")[1].tolist() == [config.batches.size] * 3
    assert plan(config).streams["tally"] == 8 * (len(config.arms) * (4 + 3) + 3)
    assert verify(records.path, replay=2).finished and diff(records.path, records.path).equal


def test_a_stream_without_a_schedule_has_no_rows(tally, tmp_path):
    records = records_of(train(tiny(tmp_path, record={"tally": {"every": 0}})))
    assert not records.schedules("tally") and not [pair for pair in records.shards if pair[0] == "tally"]
    with pytest.raises(UserError, match=r"records no tally; its config has an empty schedule record\.tally"):
        records.stream("tally", "cl")


def test_every_stream_has_a_schedule_a_spec_and_an_observer():
    assert {field.name for field in fields(Record)} == STREAMS.keys() | {"own"}
    assert [observer.stream for observer in observers.OBSERVERS] == list(STREAMS)


def test_streams_that_look_at_the_last_state_are_those_with_columns_of_states():
    columns = train_layout(tiny("unused"))
    of_states = {
        s for s, owners in columns.items() if any(c.startswith("state.") for of in owners.values() for c in of)
    }
    assert {field.name for field in fields(Record) if field.metadata["states"]} == of_states
