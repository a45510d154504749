"""A run that was made longer is the run of that length: equal bytes."""

import json

import pytest
from interrupted import Crash, Stop, config_of, path_of, stopped

from coupled.driver.train import resume, train
from coupled.errors import UserError
from coupled.store import tree_hash

pytestmark = pytest.mark.slow  # runs of their own; others of the fast ones train, resume and read as well

LONG = {"train": {"steps": 12}}


@pytest.mark.parametrize("step", [None, 2, 6])
def test_an_extended_run_is_the_run_of_that_length(step, tmp_path):
    expected = tree_hash(train(config_of(tmp_path / "long", **LONG)))
    if step is None:
        train(config_of(tmp_path))
    else:
        stopped(config_of(tmp_path), Stop(step))
    path = resume(path_of(tmp_path), extend=12)
    assert tree_hash(path) == expected
    assert json.loads((path / "run.json").read_bytes())["config"]["train"]["steps"] == 12


def test_an_extended_run_replays_no_more_than_it_must(tmp_path):
    """The last checkpoint is one of the longer run too."""
    sections = {"checkpoints": {"keep": {"every": 4, "last": False}, "recovery": {"steps": []}}}
    train(config_of(tmp_path, **sections))
    watched = Stop(None)
    path = resume(path_of(tmp_path), extend=12, reporter=watched)
    assert any("resumed at step 8" in note for note in watched.notes)
    assert tree_hash(path) == tree_hash(train(config_of(tmp_path / "long", **sections, **LONG)))


def test_an_extension_survives_a_kill_in_it(tmp_path):
    train(config_of(tmp_path))
    with pytest.raises(KeyboardInterrupt):
        resume(path_of(tmp_path), extend=12, reporter=Crash(9))
    assert tree_hash(resume(path_of(tmp_path))) == tree_hash(train(config_of(tmp_path / "long", **LONG)))


@pytest.mark.parametrize(
    ("steps", "message"), [(8, "more than the 8"), (7, "more than"), (21, "at most 20: there the cosine")]
)
def test_an_extension_that_cannot_be_is_refused_and_leaves_the_run_as_it_was(steps, message, tmp_path):
    path = train(config_of(tmp_path))
    before = tree_hash(path)
    with pytest.raises(UserError, match=message):
        resume(path, extend=steps)
    assert tree_hash(path) == before
