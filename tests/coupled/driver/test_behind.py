"""A device that runs behind the host: its flags are read a step later, and nothing is spoiled or saved meanwhile."""

import pytest
import torch
from helpers import spoil_gradient, tiny

from coupled import runtime
from coupled.driver.assembly import assemble
from coupled.driver.loop import advance, lockstep
from coupled.driver.reporter import Silent
from coupled.driver.train import train
from coupled.errors import RunStopped
from coupled.recording.checkpoints import tensors
from coupled.store import open_tensors, tree_hash

CONTROLS = {
    "cl": {"objective": "dcl"},
    "nscl": {"objective": "nscl"},
    "kicked": {"kind": "kicked", "match": "nscl"},
    "late": {"kind": "nudged", "scale": 1e-3, "at": 3},
    "twin": {"kind": "twin"},
}


@pytest.fixture
def behind(monkeypatch):
    """A CPU that is taken for such a device: what it does is done at once, and looked at as late."""
    monkeypatch.setattr(runtime, "runs_behind", lambda device: True)


@pytest.mark.parametrize(
    "sections",
    [
        {},
        pytest.param({"arms": CONTROLS, "record": {"ledger": {"every": 2}}}, marks=pytest.mark.slow),
        pytest.param({"optimiser": {"name": "adamw", "clip_norm": 1.0}}, marks=pytest.mark.slow),
    ],
    ids=["plain", "audited", "adamw"],
)
def test_it_writes_the_same_bytes(tmp_path, monkeypatch, sections):
    runs = []
    for behind in (True, False):
        monkeypatch.setattr(runtime, "runs_behind", lambda device, behind=behind: behind)
        runs.append(train(tiny(tmp_path / str(behind), **sections)))
    assert tree_hash(runs[0]) == tree_hash(runs[1])


@pytest.mark.parametrize(
    "optimiser",
    [{}, pytest.param({"name": "lars"}, marks=pytest.mark.slow), {"name": "adamw"}],
    ids=["sgd", "lars", "adamw"],
)
@pytest.mark.parametrize("step", [0, 2, pytest.param(5, marks=pytest.mark.slow)])
def test_every_arm_is_left_in_its_last_good_state(tmp_path, behind, optimiser, step):
    every = {"optimiser": optimiser, "checkpoints": {"keep": {"every": 1}}}
    run = assemble(tiny(tmp_path, **every))
    spoil_gradient(run.arms["nscl"], step)
    with run, pytest.raises(RunStopped, match=rf"arm nscl has a non-finite gradient at step {step}: all arms stopped"):
        lockstep(run, Silent())
    checkpoints = sorted((run.root / "checkpoints").iterdir())
    assert checkpoints[-1].name == f"step-{step:09d}"
    for name, arm in run.arms.items():
        file, names = open_tensors(checkpoints[-1] / f"{name}.safetensors"), tensors(arm)
        assert names.keys() >= {key for key in file if not key.startswith("optimiser")}
        for key, tensor in names.items():
            if key not in file:  # what an optimiser keeps, before its first step
                assert step == 0 and not tensor.any(), (name, key)
            else:
                assert tensor.detach().numpy().tobytes() == file[key].tobytes(), (name, key)
    assert f'"step":{step}' in (run.root / "log/events.jsonl").read_text().replace(" ", "")


def test_steps_after_it_move_nothing_and_none_of_their_rows_is_saved(tmp_path, behind):
    run = assemble(tiny(tmp_path, checkpoints={"keep": {"steps": [0]}, "recovery": {"every": 0}}))
    spoil_gradient(run.arms["nscl"], 2)
    for step in range(3):
        advance(run, step)
    left = {name: arm.state.weights.clone() for name, arm in run.arms.items()}
    assert not any(weights.isnan().any() for weights in left.values())
    arm = run.arms["cl"]
    arm.state.gradient.fill_(1.0)
    arm.update(0.1, run.guard.halted)
    assert torch.equal(arm.state.weights, left["cl"])
    with run, pytest.raises(RunStopped, match="at step 2"):
        run.preempt(3)
    assert not (run.root / "preempt").exists()
