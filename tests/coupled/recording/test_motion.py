"""How far arms are from their own starts, which come from addresses and not from checkpoints."""

import numpy as np
import pytest
import torch
from helpers import tiny

from coupled.arms.initial import build_arms, initial_weights
from coupled.driver.train import train
from coupled.reading.records import Records
from coupled.reading.run_json import read_run
from coupled.recording.observers import motion
from coupled.store import open_tensors

CPU = torch.device("cpu")
ARMS = {
    "cl": {"objective": "dcl"},
    "ce": {"objective": "ce"},
    "twin": {"kind": "twin", "of": "ce"},
    "nudged": {"kind": "nudged", "scale": 1e-3},
    "ulp": {"kind": "nudged", "of": "ce", "draw": 2},
    "independent": {"kind": "independent", "draw": 3},
    "follower": {"objective": "nscl", "reference": "independent"},
}


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Of a run whose only checkpoint is the last."""
    keep = {"keep": {"log": 0, "steps": [], "last": True}, "recovery": {"every": 0}}
    path = train(tiny(tmp_path_factory.mktemp("runs"), arms=ARMS, checkpoints=keep))
    facts, config, manifest = read_run(path)
    return Records(path, config, facts, manifest)


def test_starts_are_those_that_arms_are_built_with():
    config = tiny("unused", arms=ARMS)
    starts, arms = initial_weights(config, ARMS, CPU), build_arms(config, CPU)
    for name, arm in arms.items():
        assert starts[name].numpy().tobytes() == arm.state.weights[: arm.state.shared].numpy().tobytes()
    assert len({start.data_ptr() for start in starts.values()}) == 4  # one for all that start alike


@pytest.mark.parametrize("arm", ARMS)
def test_motion_is_from_the_arms_own_start_where_no_checkpoint_has_it(records, arm):
    end = open_tensors(records.path / f"checkpoints/step-000000006/{arm}.safetensors")
    state = build_arms(records.config, CPU)[arm].state
    start = {segment.name: segment.view(state.weights).numpy() for segment in state.shared_segments}
    moved = [np.linalg.norm(np.float64(end[f"weights.{name}"]) - np.float64(w)) for name, w in start.items()]
    steps, total = records.column("motion", arm, "state.moved")
    assert steps.tolist() == list(range(7)) and total[0] == 0 and total[6] == pytest.approx(np.linalg.norm(moved))
    np.testing.assert_allclose(records.column("motion", arm, "state.layer_moved")[1][6], moved, rtol=1e-12)


def test_a_twin_goes_exactly_where_its_reference_goes(records):
    cosine = records.column("motion", "twin", "state.cosine")[1]
    assert np.isnan(cosine[0]) and (cosine[1:] == 1).all()


def test_cosines_are_numbers_from_the_first_update_on(records):
    for arm in ("ce", "nudged", "ulp", "independent", "follower"):
        cosine = records.column("motion", arm, "state.cosine")[1]
        assert np.isnan(cosine[0]) and (np.abs(cosine[1:]) < 1).all()
    assert "state.cosine" not in records.layout["motion"]["cl"]


@pytest.mark.parametrize("size", [1e-145, 1e-80, 1.0, 1e77, 1e145])
def test_a_cosine_does_not_depend_on_how_far_the_arms_went(size):
    a, b = (np.random.default_rng(seed).normal(size=30) for seed in (0, 1))

    def cosine(x, y):
        return motion.cosine(*(torch.tensor(p @ q) for p, q in ((x, y), (x, x), (y, y)))).item()

    expected = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    assert cosine(a * size, b) == pytest.approx(expected, rel=1e-12)
    assert cosine(a * size, b * size) == pytest.approx(expected, rel=1e-12)
    assert cosine(a * size, a * size) == 1 and cosine(a * size, -a * size) == -1
    assert np.isnan(cosine(a * size, 0 * b))
