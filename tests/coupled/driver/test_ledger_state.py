"""A run with a ledger is the same run: it trains the same bytes, and goes on to the same accumulators."""

import shutil

import pytest
import torch
from helpers import Operations, rewrite
from interrupted import Crash, Stop, T, config_of, path_of, stopped

from coupled.comparison import diff
from coupled.driver.assembly import assemble
from coupled.driver.loop import advance
from coupled.driver.train import resume, train
from coupled.errors import Preempted
from coupled.models import ledger_sums
from coupled.recording import ledger as ledger_state
from coupled.recording.ledger import Ledger
from coupled.store import StoreError, tree_hash
from coupled.threads import share
from coupled.verification import verify

pytestmark = [pytest.mark.kernels, pytest.mark.slow]
ARMS = {
    "cl": {"objective": "dcl"},
    "nscl": {"objective": "nscl"},
    "nudged": {"kind": "nudged"},
    "ce": {"objective": "ce", "reference": "nscl"},
}
# Others than these lines and the ledger's own files, no bytes of a run tell whether it had one.
LISTS = ("run.json", "manifest.jsonl", "state.json")


def config(folder, record=None, **sections):
    record = {"ledger": {"every": 1}} if record is None else record
    return config_of(folder, arms=ARMS, record={"panel": {"every": 3}, "pixels": {"every": 2}, **record}, **sections)


def files(run):
    """All but what is of the ledger, or lists it."""
    every = {path.relative_to(run): path for path in run.rglob("*") if path.is_file() and "log" not in path.parts}
    return {
        name: path.read_bytes()
        for name, path in every.items()
        if name.name not in LISTS and "ledger" not in str(name) and name.name != "run.lock"
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return train(config(tmp_path_factory.mktemp("ledger")))


@pytest.mark.parametrize("schedule", [{}, {"every": 3}, {"steps": [2]}])
def test_whatever_the_ledger_looks_at_all_else_has_the_same_bytes(whole, schedule, tmp_path):
    contrast = {"ledger": {"contrast": ["nscl", "nudged"]}} if schedule else {}
    other = train(config(tmp_path, {"ledger": schedule}, **contrast))
    assert files(other) == files(whole)
    assert (other / "records/ledger").exists() == bool(schedule)


def test_a_step_that_the_ledger_does_not_look_at_asks_for_no_operation_more(tmp_path):
    operations = []
    for name, schedule in (("off", {}), ("later", {"steps": [5]})):
        run = assemble(config(tmp_path / name, record={"ledger": schedule}))
        assert run is not None
        with run:
            advance(run, 0)
            with Operations() as asked:
                advance(run, 1)
        operations.append(asked.names)
    assert operations[0] == operations[1] and len(operations[0]) > 100


def test_no_stream_changes_what_the_ledger_tells(whole, tmp_path):
    streams = ("scalars", "layers", "motion", "similarity", "panel", "surrogate", "pixels")
    off = {stream: {"every": 0, "log": 0, "last": False} for stream in streams}
    alone = train(config(tmp_path, {"ledger": {"every": 1}, **off}))
    assert ledger_bytes(alone) == ledger_bytes(whole)


def ledger_bytes(run):
    """Its rows and accumulators."""
    patterns = ("records/ledger/*/*", "checkpoints/*/*.ledger.safetensors")
    return [path.read_bytes() for pattern in patterns for path in sorted(run.glob(pattern))]


def test_threads_of_the_ledgers_pass_change_no_bit(whole, monkeypatch, tmp_path):
    monkeypatch.setattr(ledger_sums, "share", lambda walk_over, count, _threads: share(walk_over, count, 2))
    assert tree_hash(train(config(tmp_path))) == tree_hash(whole)


@pytest.mark.parametrize("way", [Stop, Crash])
@pytest.mark.parametrize("step", range(1, 8))
def test_a_run_that_ends_at_any_step_goes_on_to_the_same_accumulators(whole, way, step, tmp_path):
    stopped(config(tmp_path), way(step))
    assert tree_hash(resume(path_of(tmp_path))) == tree_hash(whole)


def test_a_run_killed_twice_and_preempted_between_goes_on_to_them_too(whole, tmp_path):
    stopped(config(tmp_path), Crash(4))
    with pytest.raises(Preempted):
        resume(path_of(tmp_path), reporter=Stop(6))
    with pytest.raises(KeyboardInterrupt):
        resume(path_of(tmp_path), reporter=Crash(7))
    assert tree_hash(resume(path_of(tmp_path))) == tree_hash(whole)


def test_accumulators_that_begin_again_at_a_resume_are_seen(whole, monkeypatch, tmp_path):
    stopped(config(tmp_path), Stop(4))
    monkeypatch.setattr(Ledger, "restore", lambda self, file_of: None)
    assert tree_hash(resume(path_of(tmp_path))) != tree_hash(whole)


def test_verify_trains_the_ledger_again_and_sees_accumulators_that_are_others(whole, tmp_path):
    assert any("trained again" in sentence for sentence in verify(whole, replay=2).proven)
    run = shutil.copytree(whole, tmp_path / "run")

    def change(tensors):
        tensors["distance.objective"][0] += 1

    rewrite(run, f"checkpoints/step-{T:09d}/nscl.ledger.safetensors", change)
    with pytest.raises(StoreError, match=r"distance\.objective of arm nscl\.ledger at step 8"):
        verify(run, replay=2)
    assert not diff(whole, run).equal


def test_a_ledger_of_another_shape_is_not_gone_on_with(tmp_path):
    stopped(config(tmp_path, writing={"asynchronous": False}), Crash(4))
    name = "checkpoints/step-000000003/nscl.ledger.safetensors"
    rewrite(path_of(tmp_path), name, lambda tensors: tensors.pop("momentum.objective"))
    with pytest.raises(StoreError, match=r"not those of the ledger of nscl: momentum\.objective"):
        resume(path_of(tmp_path))


def test_a_run_may_be_longer_than_it_was_with_its_ledger(tmp_path):
    train(config(tmp_path))
    path = resume(path_of(tmp_path), extend=T + 2)
    longer = train(config(tmp_path / "longer", train={"steps": T + 2}))
    names = {of.name for of in path.glob(f"checkpoints/step-{T + 2:09d}/*.ledger.*")}
    assert names and all(
        (path / f"checkpoints/step-{T + 2:09d}" / name).read_bytes()
        == (longer / f"checkpoints/step-{T + 2:09d}" / name).read_bytes()
        for name in names
    )


@pytest.mark.parametrize("mover", ["nscl", "cl"])
def test_what_is_added_beside_updates_is_a_part_of_its_own(monkeypatch, tmp_path, mover):
    """Of an arm, and of its reference: for that it has the other sign."""
    monkeypatch.setattr(ledger_state, "is_moved", lambda config, arm: arm == mover)
    run = assemble(config(tmp_path, train={"precision": "float64"}))
    assert run is not None
    with run:
        total = torch.zeros_like(run.arms[mover].state.weights)
        for step in range(3):
            advance(run, step)
            move = 1e-3 * run.arms[mover].state.weights
            run.arms[mover].state.weights += move
            run.ledger.moved({mover: move})
            total += move
        row = run.ledger.look(None)["nscl"]
    part = run.ledger.captured()["nscl.ledger"]["distance.moves"]
    shared = run.arms["nscl"].state.shared
    assert torch.equal(torch.from_numpy(part), (total if mover == "cl" else -total)[:shared])
    assert row["state.from_moves"].norm() > 0.01 and row["state.from_rounding"].max() < 1e-12


@pytest.mark.slow
def test_compiled_training_has_the_same_bytes_with_a_ledger(tmp_path):
    """A compiled backward may reuse what its forward kept, unless another one needs it."""
    without, with_ledger = (  # in this order: the second one's settings would be the first one's too
        train(config(tmp_path / name, {"ledger": schedule}, train={"compile": True, "steps": 3, "threads": 1}))
        for name, schedule in (("off", {}), ("on", {"every": 1}))
    )
    assert files(with_ledger) == files(without)
