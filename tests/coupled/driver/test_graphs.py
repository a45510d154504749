"""A run whose acts are replayed: the bytes of one whose acts are not, and no act that depends on more than tensors."""

from contextlib import nullcontext, suppress
from types import SimpleNamespace

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
from coupled.lanes import Lane
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


def test_arms_that_come_out_otherwise_side_by_side_stop_the_run(monkeypatch):
    made, x = Late(Streams(monkeypatch)), torch.ones(2)
    acts = {"one": lambda: {"y": x}, "other": lambda: {"y": x + len(made._passes.at_once if made._passes else [])}}

    def step():
        with made.passes():
            for key, act in acts.items():
                made.run(("double", key), act)

    for _ in range(3):
        assert made.refused is None
        step()
    assert str(made.refused).startswith("double, other came out with other bytes side by side")


def test_what_fails_beside_graphs_waits_for_them_all_the_same(monkeypatch):
    made, x = Late(Streams(monkeypatch)), torch.ones(2)

    def step(fails):
        with made.passes():
            y = made.run("double", lambda: {"y": 2 * x})["y"]
            if fails:
                raise KeyError
        return y

    step(False)
    y = step(False)
    with pytest.raises(KeyError):
        step(True)
    assert torch.equal(y, 2 * x)


def test_all_passes_run_as_they_are_before_the_first_is_captured(tmp_path, monkeypatch):
    """Or a device would hold the memory of one that was captured, and of one that runs beside it."""

    class Logged(Again):
        def _plain(self, act, lane):
            acts.append("plain")
            return act()

        def _captured(self, key, act, outputs, lane):
            acts.append("captured")
            return super()._captured(key, act, outputs, lane)

    acts, made, xs = [], Logged(), {"cl": torch.ones(2), "nscl": torch.zeros(2)}
    for _ in range(3):
        with made.passes():
            values = {arm: made.run(arm, lambda x=x: {"y": x + 1})["y"] for arm, x in xs.items()}
            assert all(torch.equal(values[arm], x + 1) for arm, x in xs.items())
        assert all(torch.equal(values[arm], x + 1) for arm, x in xs.items())
    assert acts == ["plain"] * 4 + ["captured"] * 2 and made.replayed[-2:] == ["cl", "nscl"]


def test_a_graph_that_differs_stops_all_ranks_at_the_guard(tmp_path, monkeypatch):
    class Off(Again):
        def _captured(self, key, act, outputs, lane):
            return outputs["z"].zero_

    monkeypatch.setattr(assembly, "graphs_of", lambda *given: Off())
    with pytest.raises(RunStopped, match="of forward and backward, cl .*set train.graphs = false"):
        train(tiny(tmp_path))


def test_acts_of_one_room_give_what_they_give_in_one_place():
    made, x = Again(), torch.ones(2)
    for _ in range(3):
        one = made.run("one", lambda: {"y": x}, room="both")["y"]
        assert torch.equal(one, x)
        other = made.run("other", lambda: {"y": 2 * x}, room="both")["y"]
        assert torch.equal(other, 2 * x) and other.data_ptr() == one.data_ptr()


def test_an_act_that_changes_what_is_there_is_done_once_a_step():
    made, x = Again(), torch.zeros(2)
    for step in range(4):
        made.run("add", lambda: {"y": x.add_(1)}, changes=[x])
        assert torch.equal(x, torch.full((2,), step + 1.0))


def test_a_graph_that_changes_what_is_there_to_other_bytes_is_refused():
    class Off(Again):
        def _captured(self, key, act, outputs, lane):
            return lambda: x.add_(2)

    made, x = Off(), torch.zeros(2)
    made.run("add", lambda: {"y": x.add_(1) * 0}, changes=[x])
    made.run("add", lambda: {"y": x.add_(1) * 0}, changes=[x])
    assert "of add (" in str(made.refused) and x.tolist() == [2, 2]


@pytest.mark.parametrize("within", [True, False])
@pytest.mark.parametrize("left", ["y", "z", "gradient", None])
def test_a_graph_that_leaves_something_out_is_refused(left, within):
    class Partly(Again):
        def _captured(self, key, act, outputs, lane):
            wanted = {"gradient": g, **outputs}

            def replay():
                for name, tensor in wanted.items():
                    if name != left and left is not None:
                        tensor.copy_(3 * x if name == "gradient" else x)

            return replay

    def act():
        g.copy_(3 * x)
        return {"y": x, "z": x}

    made, x, g = Partly(), torch.ones(2), torch.zeros(2)
    for _ in range(2):
        x.add_(1)
        with made.passes() if within else nullcontext():
            made.run("act", act, changes=[g])
    assert ("what it changes" if left == "gradient" else left or "y") in str(made.refused)
    assert g.tolist() == [9, 9]


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


def test_a_graph_that_gives_other_bytes_than_its_act_is_refused():
    class Off(Again):
        def _captured(self, key, act, outputs, lane):
            return lambda: outputs["y"].copy_(torch.tensor([0.0, 1.0]))

    x = torch.tensor([-0.0, 1.0])
    made = Off()
    made.run(("double", "cl"), lambda: {"y": x})
    # What the act gave as it is stays.
    assert made.run(("double", "cl"), lambda: {"y": x})["y"].tolist() == [-0.0, 1.0]
    assert "of double, cl (y came out with other bytes than without)" in str(made.refused)


def test_what_is_not_a_number_is_itself():
    made, x = Again(), torch.tensor([torch.nan, -0.0])
    for _ in range(3):
        assert made.run("x", lambda: {"x": x})["x"].isnan().any()


@pytest.mark.parametrize(
    "error", [RuntimeError("asks for a number\nmore"), torch.OutOfMemoryError("CUDA out of memory")]
)
def test_the_reason_of_a_capture_that_fails_is_that_of_the_act(monkeypatch, error):
    """The end of a capture that has failed fails as well, and leaves its stream behind."""
    stream = ["steps"]

    class Capture:
        def __init__(self, graph, pool, stream, capture_error_mode):
            self.stream = stream

        def __enter__(self):
            stream.append(self.stream)

        def __exit__(self, *given):
            raise RuntimeError("operation failed due to a previous error during capture")

    class Graph:
        def reset(self):
            raise RuntimeError("nothing was captured")

    given_up = []
    monkeypatch.setattr(graphs, "give_up", lambda lane, device: given_up.append(lane.stream))
    for name, double in {
        "CUDAGraph": Graph,
        "graph": Capture,
        "current_device": lambda: 0,
        "current_stream": lambda: stream[-1],
        "set_stream": stream.append,
    }.items():
        monkeypatch.setattr(torch.cuda, name, double)

    def act():
        raise error

    with pytest.raises((RunStopped, torch.OutOfMemoryError)) as raised:
        graphs.Graphs()._captured(("losses", "cl"), act, {}, Lane("captures", SimpleNamespace(handle=None)))
    if isinstance(error, torch.OutOfMemoryError):
        assert raised.value is error
    else:
        assert "of losses, cl (asks for a number): set train.graphs = false" in str(raised.value)
    assert stream[-1] == "steps" and given_up == ["captures"]


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
