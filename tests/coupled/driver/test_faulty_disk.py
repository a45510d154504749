"""A damaged checkpoint or shard is named when a run is resumed; a disk that fails stops it within a step."""

import threading

import pytest
from interrupted import Crash, Stop, config_of, path_of, stopped

from coupled.driver.reporter import Silent
from coupled.driver.resuming import ResumeTerms
from coupled.driver.train import resume, train
from coupled.recording.writer import Writer
from coupled.store import RunDirectory, StoreError, tree_hash

pytestmark = pytest.mark.slow  # runs of their own; others of the fast ones train, resume and read as well

# Whatever a step gave to be written is on disk before the next.
AT_ONCE = {"asynchronous": False}


def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_it_is_taken(golden, tmp_path):
    stopped(config_of(tmp_path, writing=AT_ONCE), Crash(7))
    file = path_of(tmp_path) / "checkpoints/step-000000005/nscl.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    watched = Stop(None)
    assert tree_hash(resume(path_of(tmp_path), reporter=watched)) == golden
    assert any("step-000000005" in note for note in watched.notes)
    assert any("resumed at step 3" in note for note in watched.notes)


def test_a_damaged_shard_is_named_with_the_step_from_which_it_is_made_again(golden, tmp_path):
    stopped(config_of(tmp_path, writing=AT_ONCE), Crash(7))
    (shard,) = path_of(tmp_path).glob("records/similarity/nscl/steps-000000003-*")
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    before = tree_hash(path_of(tmp_path))
    with pytest.raises(StoreError, match=r"steps-000000003.*sha256.*resume .* --from 0 makes again"):
        resume(path_of(tmp_path))  # step 3 is no permanent checkpoint: by now it has gone
    assert tree_hash(path_of(tmp_path)) == before
    assert tree_hash(resume(path_of(tmp_path), terms=ResumeTerms(from_step=0))) == golden


def test_a_run_whose_saved_states_are_all_damaged_is_refused_with_the_way_out(golden, tmp_path):
    stopped(config_of(tmp_path, writing=AT_ONCE), Crash(7))
    for file in path_of(tmp_path).glob("checkpoints/*/nscl.safetensors"):
        file.write_bytes(b"")
    with pytest.raises(StoreError, match=r"no state to go on from is left.*--from 0"):
        resume(path_of(tmp_path))
    assert tree_hash(resume(path_of(tmp_path), terms=ResumeTerms(from_step=0))) == golden


@pytest.mark.parametrize("asynchronous", [True, False])
def test_a_write_that_fails_stops_the_run_within_a_step_and_it_goes_on_later(
    asynchronous, golden, tmp_path, monkeypatch
):
    steps, commit, fail, failed = [], RunDirectory.append_checkpoint, Writer._fail, threading.Event()

    def failing(self, step, files, state):
        if step == 3:
            raise StoreError(self.root, "No space left on device")
        return commit(self, step, files, state)

    def told(self, error):
        fail(self, error)
        failed.set()

    class Watch(Silent):
        def stepped(self, step):
            steps.append(step)
            if step == 3:  # the thread that writes may not have come to it
                assert failed.wait(60)

    monkeypatch.setattr(RunDirectory, "append_checkpoint", failing)
    monkeypatch.setattr(Writer, "_fail", told)
    with pytest.raises(StoreError, match="No space left"):
        train(config_of(tmp_path, writing={"asynchronous": asynchronous}), reporter=Watch())
    monkeypatch.undo()
    assert max(steps) <= 3  # the step after the failure is not made
    assert tree_hash(resume(path_of(tmp_path))) == golden
