"""What a run shows beside its records: at a bounded rate, of what it recorded, and in no byte of it."""

import json
import threading
from itertools import count
from types import SimpleNamespace

import pytest
import torch
from helpers import Operations, tiny
from interrupted import Crash, Stop, T, config_of, path_of, stopped

from coupled.cli import main
from coupled.config.toml import to_toml
from coupled.driver import loop, mirrors
from coupled.driver.reporter import Silent
from coupled.driver.train import resume, train
from coupled.errors import UserError
from coupled.reading.live import LIVE, read_live
from coupled.reading.records import Records
from coupled.reading.run_json import read_run
from coupled.store import tree_hash
from coupled.store.lock import RunLock
from coupled.theory.alignment import linear_cka
from coupled.tracking.trackers import TRACKERS


class Kept:
    """A tracker that keeps what it is told."""

    def __init__(self, run):
        self.run, self.points, self.closed = run, [], False

    def log(self, step, values):
        self.points.append((step, dict(values)))

    def close(self):
        self.closed = True


@pytest.fixture
def kept(monkeypatch):
    """The trackers that runs open under the name of tensorboard."""
    opened = []
    monkeypatch.setitem(TRACKERS, "tensorboard", lambda run: opened.append(Kept(run)) or opened[-1])
    return opened


@pytest.fixture
def every_step(monkeypatch):
    """A clock on which a look is due before every step. At the end all that trackers have to do gets done."""
    monkeypatch.setattr("coupled.driver.run._TRACKERS_S", 1e5)
    seconds = count(step=100)
    monkeypatch.setattr(mirrors, "time", SimpleNamespace(monotonic=lambda: float(next(seconds))))


@pytest.fixture
def standing(monkeypatch):
    """A clock that stands still."""
    monkeypatch.setattr(mirrors, "time", SimpleNamespace(monotonic=lambda: 1.0))


def with_trackers(folder, *names, **sections):
    return config_of(folder, log={"trackers": list(names)}, **sections)


def events(folder):
    return [json.loads(line) for line in (path_of(folder) / "log/events.jsonl").read_text().splitlines()]


def raising(run):
    raise ValueError("no such project")


class Hanging(Kept):
    gate = threading.Event()

    def log(self, step, values):
        self.gate.wait(60)


WAYS = {
    "tensorboard's own": (TRACKERS["tensorboard"], None),
    "raises": (raising, "failed (ValueError: no such project)"),
    "hangs": (Hanging, "had not ended when the run had, and was left"),
}


@pytest.mark.parametrize("way", WAYS)
def test_no_tracker_changes_a_byte_whatever_it_does(way, golden, tmp_path, monkeypatch, every_step):
    tracker, warning = WAYS[way]
    monkeypatch.setitem(TRACKERS, "tensorboard", tracker)
    if way == "hangs":
        monkeypatch.setattr("coupled.driver.run._TRACKERS_S", 0.0)
    watched = Stop(None)
    assert tree_hash(train(with_trackers(tmp_path, "tensorboard"), reporter=watched)) == golden
    warnings = [event["warning"] for event in events(tmp_path) if event["event"] == "tracker"]
    if way == "hangs":
        Hanging.gate.set()
        assert warning in warnings
    else:
        assert warnings == ([] if warning is None else [warning])
        assert [note for note in watched.notes if "tracker" in note] == [
            f"warning: tracker tensorboard: {warning}" for _ in warnings
        ]


def test_without_its_live_file_and_with_it_a_run_has_equal_bytes(golden, tmp_path, every_step):
    assert tree_hash(train(config_of(tmp_path / "a", log={"live": False}))) == golden
    assert tree_hash(train(config_of(tmp_path / "b"))) == golden


def records_of(path):
    facts, config, manifest = read_run(path)
    return Records(path, config, facts, manifest)


def test_a_tracker_is_told_what_is_recorded(tmp_path, kept, every_step):
    records = records_of(train(with_trackers(tmp_path, "tensorboard")))
    (tracker,) = kept
    told = {name: {step: values[name] for step, values in tracker.points if name in values}
            for name in {name for _, values in tracker.points for name in values}}  # fmt: skip
    columns = {
        "loss/cl": ("cl", "batch.loss"),
        "loss/nscl": ("nscl", "batch.loss"),
        "gap/nscl": ("nscl", "batch.gap.size"),
        "weight_gap/nscl": ("nscl", "state.weight_gap"),
        "learning_rate": ("shared", "batch.learning_rate"),
    }
    for name, (owner, column) in columns.items():
        recorded = dict(zip(*(array.tolist() for array in records.column("scalars", owner, column)), strict=True))
        assert told[name] == {step: recorded[step] for step in told[name]}, name
        assert {0, 4, T - 1} <= told[name].keys() <= recorded.keys()  # of two rows that come at once, one is told
    panels = {step: [torch.tensor(records.row("panel", arm, "state.h", step)) for arm in ("nscl", "cl")]
              for step in (0, 3, 6)}  # fmt: skip
    assert told["cka/nscl"] == {step: float(linear_cka(*pair)) for step, pair in panels.items()}
    assert told.keys() == {*columns, "gap/cl", "cka/nscl"} and tracker.closed


def test_a_clock_that_stands_still_gives_the_first_the_last_and_no_more(tmp_path, kept, standing):
    train(with_trackers(tmp_path, "tensorboard"))
    steps = [step for step, values in kept[0].points if "learning_rate" in values or "weight_gap/nscl" in values]
    assert steps == [T - 1, T]  # before the first step nothing is recorded yet


def test_between_two_looks_nothing_is_computed(tmp_path, standing):
    run = SimpleNamespace(mesh=SimpleNamespace(most=lambda *values: values), start=0)
    config = tiny(tmp_path)
    mesh = SimpleNamespace(is_first=True, holder=lambda owner: 0)
    run.mirrors = mirrors.Mirrors(config, tmp_path, mesh, None, None)
    run.mirrors.begin(0, print, print)
    run.mirrors._next = 2.0  # the clock is at 1
    with Operations() as operations:
        for step in range(100 % config.train.steps):
            loop.meet(run, step, Silent(), None)
    assert operations.names == []


def test_a_resumed_run_goes_on_in_its_trackers_unless_told_otherwise(golden, tmp_path, kept, every_step):
    stopped(with_trackers(tmp_path, "tensorboard"), Stop(4))
    assert tree_hash(resume(path_of(tmp_path))) == golden
    first, second = kept
    assert first.run.id == second.run.id != "0" * 8 and (first.run.start, second.run.start) == (0, 4)
    steps = [step for tracker in kept for step, values in tracker.points if "learning_rate" in values]
    assert steps == sorted(set(steps)) and {0, 4, T - 1} <= set(steps)
    resume(path_of(tmp_path), terms=mirrors_from(0), overrides=["log.trackers=[]"])
    assert len(kept) == 2


def mirrors_from(step):
    from coupled.driver.resuming import ResumeTerms

    return ResumeTerms(from_step=step)


def test_a_log_that_names_other_trackers_is_not_believed(tmp_path, kept):
    stopped(config_of(tmp_path), Stop(4))
    line = json.dumps({"event": "start", "trackers": ["rm -rf", 3, None, "tensorboard"]}).encode() + b"\n"
    with (path_of(tmp_path) / "log/events.jsonl").open("ab") as log:
        log.write(line)
    resume(path_of(tmp_path))
    assert len(kept) == 1


def test_an_unknown_tracker_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"log\.trackers = 'tensorbord'; one of tensorboard, trackio, wandb"):
        with_trackers(tmp_path, "tensorbord")


class Looking(Silent):
    """Reads the live file after every update."""

    def __init__(self, path):
        self.path, self.seen = path, []

    def stepped(self, step):
        self.seen.append((step, read_live(self.path)))


def test_the_live_file_says_where_a_run_is_and_goes_with_its_end(tmp_path, every_step):
    looking = Looking(path_of(tmp_path))
    records = records_of(train(config_of(tmp_path, writing={"asynchronous": False}), reporter=looking))
    steps, losses = records.column("scalars", "nscl", "batch.loss")
    losses = dict(zip(steps.tolist(), losses.tolist(), strict=True))
    for done, live in looking.seen:
        assert (live.step, live.planned) == (done - 1, T)
        assert all(values["loss/nscl"] == losses[step] for step, values in live.points)
    assert [step for step, _ in live.points][-1] >= T - 3
    assert not (path_of(tmp_path) / LIVE).exists()


def test_a_run_that_was_asked_to_stop_has_said_where(tmp_path, standing):
    stopped(config_of(tmp_path), Stop(4))
    assert read_live(path_of(tmp_path)).step == 4


def test_a_killed_run_leaves_its_live_file(tmp_path, every_step):
    stopped(config_of(tmp_path, writing={"asynchronous": False}), Crash(5))
    assert read_live(path_of(tmp_path)).step == 4


@pytest.mark.slow
def test_on_two_ranks_the_first_tells_the_numbers_of_all_arms(golden, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (tmp_path / "tiny.toml").write_text(to_toml(config_of(tmp_path)))
    words = ["train", str(tmp_path / "tiny.toml"), "--set", f"paths.runs={tmp_path}", "--set", "log.seconds=0.1"]
    assert main([*words, "--ranks", "2", "--track", "tensorboard"]) == 0
    assert tree_hash(path_of(tmp_path)) == golden
    told = EventAccumulator(str(path_of(tmp_path) / "log/tensorboard"))
    told.Reload()
    records = records_of(path_of(tmp_path))
    for arm in ("cl", "nscl"):
        recorded = dict(zip(*(a.tolist() for a in records.column("scalars", arm, "batch.loss")), strict=True))
        events = told.Scalars(f"loss/{arm}")
        assert events[-1].step == T - 1
        assert all(event.value == pytest.approx(recorded[event.step], rel=1e-6) for event in events)
    assert [event.step for event in told.Scalars("cka/nscl")] == [0, 3, 6]


def test_a_mirror_that_cannot_be_closed_leaves_the_run_free(golden, tmp_path, monkeypatch):
    def broken(self, seconds):
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(mirrors.Mirrors, "close", broken)
        with pytest.raises(OSError, match="no space left") as raised:
            train(config_of(tmp_path))
    RunLock(path_of(tmp_path)).release()  # nobody holds it, although the traceback still holds the run
    assert raised.traceback and tree_hash(path_of(tmp_path)) == golden


HOSTILE = [
    b"", b"{", b"[]", b"null", b'{"step":1}', b"\xff", b'{"a":' * 5000,
    b'{"step":-1}', b'{"step":true}', b'{"step":1e400}',
]  # fmt: skip
WHOLE = {
    "step": 3, "planned": 9, "time": 1.5, "rate": 2, "host": "h", "pid": 4, "names": ["a"],
    "points": [[0, 1.0], [2, None]],
}  # fmt: skip
SPOILT = [
    {"step": "3"}, {"rate": float("nan")}, {"points": [[0]]}, {"points": [[2, 1.0], [1, 1.0]]},
    {"points": [["x", 1.0]]}, {"names": 3}, {"points": [[0, 10**400]]}, {"points": [[0, [1]]]}, {"pid": None},
]  # fmt: skip


def test_a_live_file_is_read_back(tmp_path):
    (tmp_path / "log").mkdir()
    (tmp_path / LIVE).write_text(json.dumps(WHOLE))
    live = read_live(tmp_path)
    assert live.points == ((0, {"a": 1.0}), (2, {})) and live.left == 3.0


@pytest.mark.parametrize("data", [*HOSTILE, *(json.dumps({**WHOLE, **spoilt}).encode() for spoilt in SPOILT)])
def test_a_live_file_that_cannot_be_believed_says_nothing(data, tmp_path):
    (tmp_path / "log").mkdir()
    (tmp_path / LIVE).write_bytes(data)
    live = read_live(tmp_path)
    assert live is None or live.points == ()
