"""A tracker on its own thread: whatever it does, who offers it points neither waits nor sees an error."""

import threading

import pytest

from coupled.errors import UserError
from coupled.tracking import mirror
from coupled.tracking.mirror import Mirror
from coupled.tracking.points import point


class Kept:
    """Keeps what it is given; the first point waits for `gate`."""

    def __init__(self, gate=None, fails=None):
        self.points, self.closed, self.gate, self.fails = [], False, gate, fails
        self.at_work = threading.Event()

    def log(self, step, values):
        self.at_work.set()
        if self.gate is not None:
            self.gate.wait(60)
        if self.fails is not None:
            raise self.fails
        self.points.append((step, dict(values)))

    def close(self):
        self.closed = True


def mirrored(tracker):
    warnings = []
    return Mirror("kept", lambda: tracker, lambda *words: warnings.append(words)), warnings


def test_points_come_in_order_and_the_tracker_is_closed_behind_the_last():
    tracker = Kept()
    mirror, warnings = mirrored(tracker)
    for step in range(50):
        mirror.offer(point(step, {"loss/cl": step / 2}))
    mirror.close(60)
    assert tracker.points == [(step, {"loss/cl": step / 2}) for step in range(50)]
    assert tracker.closed and not warnings


@pytest.mark.parametrize("error", [ValueError("no\nroom"), SystemExit(3), KeyboardInterrupt(), MemoryError()])
def test_a_tracker_that_raises_is_said_once_and_asked_for_nothing_more(error):
    tracker = Kept(fails=error)
    mirror, warnings = mirrored(tracker)
    mirror.offer(point(0, {"a": 1.0}))
    mirror.close(60)
    mirror.offer(point(1, {"a": 1.0}))
    ((name, reason),) = warnings
    assert name == "kept" and reason.startswith(f"failed ({type(error).__name__}: ") and "\n" not in reason
    assert tracker.points == [] and tracker.closed


def test_a_warning_that_cannot_be_written_stops_nothing(monkeypatch):
    def full(name, reason):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(mirror, "_SLOW_S", -1.0)  # at once
    hangs = threading.Event()
    late = Mirror("kept", lambda: hangs.wait(60) and Kept(), full)
    late.offer(point(0, {"a": 1.0}))
    assert late._warned
    hangs.set()
    late.close(60)


def test_a_tracker_that_cannot_be_opened_says_what_to_do():
    warnings = []

    def opened():
        raise UserError("x is not installed here", "the run goes on without it", "pip install x")

    mirror = Mirror("x", opened, lambda *words: warnings.append(words))
    mirror.offer(point(0, {}))
    mirror.close(60)
    assert warnings == [("x", "x is not installed here; the run goes on without it; pip install x")]


def test_a_tracker_that_hangs_is_left(monkeypatch):
    gate = threading.Event()
    tracker = Kept(gate)
    kept, warnings = mirrored(tracker)
    kept.offer(point(0, {}))
    assert tracker.at_work.wait(60)
    kept.offer(point(1, {}))
    assert not warnings
    monkeypatch.setattr(mirror, "_SLOW_S", 0.0)
    kept.offer(point(2, {}))
    kept.close(0.01)
    ((_, reason),) = warnings  # once, though it did not end either
    assert reason.startswith("has not answered")
    gate.set()


def test_of_more_points_than_may_wait_the_oldest_go(monkeypatch):
    gate = threading.Event()
    tracker = Kept(gate)
    kept, _ = mirrored(tracker)
    kept.offer(point(-1, {}))
    assert tracker.at_work.wait(60)
    for step in range(mirror._MOST + 10):
        kept.offer(point(step, {}))
    gate.set()
    kept.close(60)
    assert [step for step, _ in tracker.points] == [-1, *range(10, mirror._MOST + 10)]


def test_what_is_not_finite_is_no_value_of_a_point():
    assert point(3, {"a": float("nan"), "b": float("inf"), "c": 0.0}).values == {"c": 0.0}
