"""A run whose arms are moved, stopped anywhere and gone on with: every move once, and the bytes of the whole run."""

import pytest
from interrupted import Crash, Stop, T, config_of, path_of, stopped

from coupled.driver.train import resume, train
from coupled.store import tree_hash

pytestmark = [pytest.mark.kernels, pytest.mark.slow]

ARMS = {
    "cl": {"objective": "dcl"},
    "nscl": {"objective": "nscl"},
    "matched": {"kind": "nudged", "scale": "matched", "match": "nscl"},
    "at-checkpoint": {"kind": "nudged", "at": 5, "scale": 1e-3},
    "between": {"kind": "nudged", "of": "nscl", "at": 4, "direction": "batch", "scale": 1e-2},
    "kicked": {"kind": "kicked", "match": "nscl"},
    "last": {"kind": "nudged", "at": T},
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The hash of the run that was never interrupted."""
    return tree_hash(train(config_of(tmp_path_factory.mktemp("whole"), arms=ARMS)))


@pytest.mark.parametrize("end", [Stop(1), Stop(3), Stop(4), Stop(6), Crash(5), Crash(T)])
def test_a_run_that_is_stopped_around_a_move_goes_on_to_the_same_bytes(end, whole, tmp_path):
    stopped(config_of(tmp_path, arms=ARMS), end)
    assert tree_hash(resume(path_of(tmp_path))) == whole


def test_moves_that_are_made_once_more_are_seen(whole, tmp_path, monkeypatch):
    from coupled.driver import loop

    def twice(run, step, rate):
        plain(run, step, rate)
        if step == 5:
            plain(run, step, rate)

    plain = loop.move
    monkeypatch.setattr(loop, "move", twice)
    assert tree_hash(train(config_of(tmp_path, arms=ARMS))) != whole
