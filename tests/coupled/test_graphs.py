"""Graphs alone, of acts that are a line: what is captured, replayed, compared, refused."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from fake_graphs import Again, Late, Streams

from coupled import graphs
from coupled.errors import RunStopped
from coupled.lanes import Lane


def test_arms_that_come_out_otherwise_side_by_side_are_refused(monkeypatch):
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


def test_all_passes_run_as_they_are_before_the_first_is_captured():
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
