"""A run whose acts are replayed: the bytes of one whose acts are not, and no act that depends on more than tensors."""

from contextlib import suppress

import pytest
import torch
from fake_graphs import Again, Late, Streams
from helpers import tiny

from coupled import graphs, runtime
from coupled.driver import assembly
from coupled.driver.assembly import assemble
from coupled.driver.loop import advance
from coupled.driver.reporter import Silent
from coupled.driver.train import resume, train
from coupled.errors import RunStopped
from coupled.graphs import graphs_of
from coupled.inputs.in_place import InPlace
from coupled.ranks.mesh import ALONE, Axis, Mesh
from coupled.store import tree_hash

ARMS = {
    "cl": {"objective": "dcl"},
    "nscl": {"objective": "nscl"},
    "scl": {"objective": "scl"},
    "ce": {"objective": "ce", "reference": "scl"},
    "twin": {"kind": "twin"},
    "placebo": {"kind": "placebo", "of": "nscl"},
    "other": {"kind": "other-inputs"},
}
CONTROLS = {
    "cl": {"objective": "dcl"},
    "nscl": {"objective": "nscl"},
    "kicked": {"kind": "kicked", "match": "nscl"},
    "late": {"kind": "nudged", "scale": 1e-3, "at": 3, "direction": "batch"},
}
DOUBLE = {"precision": "float64"}
AUDITED = {"ledger": {"every": 3}, "flips": {"every": 2}}
CASES = {
    "float32": {"arms": ARMS},
    "every arm": {"arms": ARMS, "train": DOUBLE},
    "audited": {"arms": CONTROLS, "record": AUDITED, "train": DOUBLE},
    "a view a forward": {
        "train": {**DOUBLE, "views_forward": "separate"},
        "optimiser": {"name": "lars", "clip_norm": 0.5},
    },
    "adamw": {
        "arms": {name: ARMS[name] for name in ("cl", "scl", "ce")},
        "train": DOUBLE,
        "optimiser": {"name": "adamw", "learning_rate": 1e-3, "weight_decay": 0.1, "clip_norm": 0.1},
    },
    "now and then": {
        "train": DOUBLE,
        "record": {"scalars": {"every": 2}, "layers": {"steps": [1, 2, 5]}, "motion": {"log": 1}},
    },
}


@pytest.fixture
def replaying(monkeypatch):
    """The graphs of every run that is made after it, in order."""
    made = []

    def graphs_of(config, device, mesh):
        made.append(Again())
        return made[-1]

    monkeypatch.setattr(assembly, "graphs_of", graphs_of)
    monkeypatch.setattr(runtime, "runs_behind", lambda device: True)
    return made


FEW = ("float32", "audited")  # of the fast tests


@pytest.mark.parametrize(
    "case", [case if case in FEW else pytest.param(case, marks=pytest.mark.slow) for case in CASES]
)
def test_replayed_acts_give_the_same_bytes(tmp_path, replaying, case, monkeypatch):
    replayed = train(tiny(tmp_path / "replayed", **CASES[case]))
    assert replaying[0].replayed
    monkeypatch.undo()
    assert tree_hash(replayed) == tree_hash(train(tiny(tmp_path / "plain", **CASES[case])))


@pytest.mark.slow
def test_a_run_that_is_gone_on_with_runs_each_act_once_and_captures_it_again(tmp_path, replaying, monkeypatch):
    class Crash(Silent):
        def stepped(self, step):
            if step == 4:
                raise KeyboardInterrupt

    config = tiny(tmp_path / "crashed", checkpoints={"keep": {"steps": [0, 3]}})
    with suppress(KeyboardInterrupt):
        train(config, reporter=Crash())
    resumed = resume(tmp_path / "crashed" / config.name)
    assert len(replaying) == 2 and replaying[1].captured
    monkeypatch.undo()
    assert tree_hash(resumed) == tree_hash(train(tiny(tmp_path / "plain", checkpoints={"keep": {"steps": [0, 3]}})))


@pytest.mark.parametrize("case", ["float32", pytest.param("audited", marks=pytest.mark.slow)])
def test_arms_side_by_side_give_the_same_bytes_and_nothing_reads_them_early(tmp_path, monkeypatch, case):
    made, plain = [], train(tiny(tmp_path / "plain", **CASES[case]))
    streams = Streams(monkeypatch)
    monkeypatch.setattr(assembly, "graphs_of", lambda *given: made.append(Late(streams)) or made[-1])
    monkeypatch.setattr(runtime, "runs_behind", lambda device: True)
    assert tree_hash(plain) == tree_hash(train(tiny(tmp_path / "beside", **CASES[case])))
    lanes = made[0].lanes
    own = [lane for key, lane in lanes.items() if key[0] == "forward and backward"]
    assert len(own) == len({id(lane.stream) for lane in own}) == len({lane.pool for lane in own}) > 1
    assert all(lane.pool == "all" for lane in lanes.values() if lane not in own)
    assert made[0]._compared


def test_a_graph_that_differs_stops_all_ranks_at_the_guard(tmp_path, monkeypatch):
    class Off(Again):
        def _captured(self, key, act, outputs, lane):
            return outputs["z"].zero_

    monkeypatch.setattr(assembly, "graphs_of", lambda *given: Off())
    with pytest.raises(RunStopped, match="of forward and backward, cl .*set train.graphs = false"):
        train(tiny(tmp_path))


@pytest.mark.parametrize("refusing", ["losses", "update before its rate", "sums of weights"])
def test_a_graph_of_an_observer_or_an_update_that_is_refused_stops_the_run_at_the_next_guard(
    tmp_path, monkeypatch, refusing
):
    class Off(Again):
        def _captured(self, key, act, outputs, lane):
            if key[0] == refusing:
                return lambda: None
            return super()._captured(key, act, outputs, lane)

    monkeypatch.setattr(assembly, "graphs_of", lambda *given: Off())
    monkeypatch.setattr(runtime, "runs_behind", lambda device: True)
    with pytest.raises(RunStopped, match=f"of {refusing}, cl.*set train.graphs = false"):
        train(tiny(tmp_path, optimiser={"name": "lars", "clip_norm": 0.5}))


def test_an_act_is_captured_at_its_second_step_and_an_audited_step_is_not(tmp_path, replaying):
    arms = {name: CONTROLS[name] for name in ("cl", "nscl")}
    run = assemble(tiny(tmp_path, arms=arms, record={"ledger": {"steps": [2]}}))
    (made,) = replaying
    step_of = ("forward and backward", "nscl")
    with run:
        for step, (captured, replayed) in enumerate([(0, 0), (1, 1), (1, 1), (1, 2)]):
            advance(run, step)
            assert (made.captured.count(step_of), made.replayed.count(step_of)) == (captured, replayed)


def test_a_batch_in_place_lies_where_the_last_one_was(tmp_path):
    run = assemble(tiny(tmp_path, arms=ARMS, train={"memory_format": "channels_last"}, model={"width": 8}))
    with run:
        in_place = InPlace()
        first = in_place(run.source.at(0))
        where = [tensor.data_ptr() for tensor in first.on_device()]
        again = run.source.at(1)
        second = in_place(again)
        assert second.in_place and all(other.in_place for other in second.others.values())
        assert [tensor.data_ptr() for tensor in second.on_device()] == where
        for own, given in zip(second.on_device(), again.on_device(), strict=True):
            assert torch.equal(own, given) and own.stride() == given.stride()
            assert own.data_ptr() != given.data_ptr()
        assert (second.step, second.others.keys()) == (1, again.others.keys())


def test_code_of_a_user_is_not_captured(tmp_path, monkeypatch):
    monkeypatch.setattr(graphs, "registered", lambda name: (lambda *given: None) if name == "nscl" else None)
    assert "nscl is code" in graphs_of(tiny(tmp_path), torch.device("cuda"), ALONE).why_not


def test_what_forbids_graphs_is_said(tmp_path):
    gpu = torch.device("cuda")
    config = tiny(tmp_path)
    assert graphs_of(config, torch.device("cpu"), ALONE).why_not == "arms are on a CPU"
    assert graphs_of(config, gpu, ALONE).is_on and not graphs_of(config, gpu, ALONE).at_once
    assert graphs_of(tiny(tmp_path, train={"side_by_side": True}), gpu, ALONE).at_once
    assert graphs_of(config, gpu, Mesh(arms=Axis(0, 2))).is_on
    assert "share a batch" in graphs_of(config, gpu, Mesh(data=Axis(0, 2))).why_not
    for section in ({"graphs": False}, {"compile": True}):
        assert not graphs_of(tiny(tmp_path, train=section), gpu, ALONE).is_on
