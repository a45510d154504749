"""The trackers as their libraries are asked: TensorBoard's is here, the others' faces are pretended."""

import sys
from types import SimpleNamespace

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from coupled.commands.options import TRACKERS as CHOICES
from coupled.errors import UserError
from coupled.tracking.trackers import TRACKERS, TensorBoard, Tracked, Trackio, Wandb


def tracked(folder, start=0):
    return Tracked("run", folder, "12ab34cd", start, {"seed": 0})


def test_a_config_allows_the_trackers_that_there_are():
    assert list(CHOICES) == list(TRACKERS)


def logged(folder, name):
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(name)]


def test_tensorboard_has_each_value_at_its_step(tmp_path):
    board = TensorBoard(tracked(tmp_path))
    board.log(0, {"loss/cl": 2.0, "gap/cl": 0.5})
    board.log(3, {"loss/cl": 1.0})
    board.close()
    assert logged(tmp_path, "loss/cl") == [(0, 2.0), (3, 1.0)] and logged(tmp_path, "gap/cl") == [(0, 0.5)]


def test_a_run_that_goes_on_hides_what_it_makes_again(tmp_path):
    for start, steps in ((0, (0, 1, 2, 3)), (2, (2, 3, 4))):
        board = TensorBoard(tracked(tmp_path, start))
        for step in steps:
            board.log(step, {"loss/cl": float(step + 10 * start)})
        board.close()
    assert logged(tmp_path, "loss/cl") == [(0, 0.0), (1, 1.0), (2, 22.0), (3, 23.0), (4, 24.0)]


@pytest.mark.parametrize("name", TRACKERS)
def test_a_library_that_is_missing_is_named_with_the_extra(name, tmp_path, monkeypatch):
    for module in ("torch.utils.tensorboard", "tensorboardX", "trackio", "wandb"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=rf"^{name} is not installed here; the run goes on.*coupled\[trackers\]'"):
        TRACKERS[name](tracked(tmp_path))


def test_tensorboardx_takes_the_place_of_tensorboard(tmp_path, monkeypatch):
    calls = []
    writer = lambda *words, **options: SimpleNamespace(close=lambda: calls.append((words, options)))  # noqa: E731
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    monkeypatch.setitem(sys.modules, "tensorboardX", SimpleNamespace(SummaryWriter=writer))
    TensorBoard(tracked(tmp_path)).close()
    assert calls == [((str(tmp_path / "tensorboard"),), {"purge_step": None, "flush_secs": 10})]


class Face(SimpleNamespace):
    """Notes every call."""

    def __init__(self):
        super().__init__(calls=[], Settings=lambda **options: options)

    def init(self, **options):
        self.calls.append(("init", options))
        return self

    def log(self, values, **options):
        self.calls.append(("log", values, options))

    def define_metric(self, *words, **options):
        self.calls.append(("metric", words, options))

    def finish(self):
        self.calls.append("finish")


def test_trackio_is_begun_logged_to_and_ended(tmp_path, monkeypatch, capsys):
    face = Face()
    monkeypatch.setitem(sys.modules, "trackio", face)
    tracker = Trackio(tracked(tmp_path))
    tracker.log(4, {"loss/cl": 1.0})
    tracker.close()
    (begun, options), *rest = face.calls
    assert begun == "init" and (options["project"], options["name"]) == ("coupled", "run-12ab34cd")
    assert options["resume"] == "allow" and rest == [("log", {"loss/cl": 1.0}, {"step": 4}), "finish"]
    face.print("what it says")
    assert capsys.readouterr() == ("", "what it says\n")  # never where results go


def test_wandb_is_offline_and_lets_panels_come_late(tmp_path, monkeypatch):
    face = Face()
    monkeypatch.setitem(sys.modules, "wandb", face)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    tracker = Wandb(tracked(tmp_path))
    tracker.log(4, {"loss/cl": 1.0})
    tracker.close()
    (begun, options), metric, *rest = face.calls
    assert begun == "init" and options["mode"] == "offline" and options["dir"] == str(tmp_path)
    assert (options["id"], options["resume"]) == ("12ab34cd", "allow")
    assert metric == ("metric", ("*",), {"step_metric": "step"})
    assert rest == [("log", {"loss/cl": 1.0, "step": 4}, {}), "finish"]
