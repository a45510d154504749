"""Writing beside computing: order, bounds, errors."""

import threading

import pytest

from coupled.recording.writer import Writer


@pytest.fixture
def writer():
    made = Writer(asynchronous=True, limit=100)
    yield made
    made.close()


def test_tasks_run_in_their_order_and_drain_waits_for_all(writer):
    done = []
    for number in range(50):
        writer.put(10, lambda number=number: done.append(number))
    writer.drain()
    assert done == list(range(50))


def test_without_a_thread_a_task_has_run_when_put_returns():
    done = []
    Writer(asynchronous=False, limit=1).put(10, lambda: done.append(threading.current_thread()))
    assert done == [threading.main_thread()]


def test_put_waits_for_room_and_leaves_nothing_out(writer):
    gate, done = threading.Event(), []
    writer.put(60, lambda: (gate.wait(), done.append(0)))
    writer.put(40, lambda: done.append(1))
    third = threading.Thread(target=lambda: writer.put(1, lambda: done.append(2)))
    third.start()
    third.join(0.2)
    assert third.is_alive() and done == []
    gate.set()
    third.join(10)
    writer.drain()
    assert done == [0, 1, 2]


def test_drain_waits_for_a_task_without_bytes_too(writer):
    """The end of a run is such a task: a run that did not wait for it stayed unfinished, once in a thousand runs."""
    gate, done = threading.Event(), []
    writer.put(0, lambda: (gate.wait(), done.append(0)))
    waiting = threading.Thread(target=writer.drain)
    waiting.start()
    waiting.join(0.2)
    waited = waiting.is_alive()
    gate.set()
    waiting.join(10)
    assert waited and not waiting.is_alive() and done == [0]


def test_a_task_larger_than_the_limit_waits_alone(writer):
    done = []
    for size in (50, 1000, 50):
        writer.put(size, lambda size=size: done.append(size))
    writer.drain()
    assert done == [50, 1000, 50]


def failing():
    raise OSError("no space")


def test_an_error_is_raised_by_drain_and_no_later_task_runs(writer):
    done, gate = [], threading.Event()
    writer.put(1, lambda: (gate.wait(), failing()))
    writer.put(1, lambda: done.append(1))
    gate.set()
    writer._thread.join(10)
    writer.put(1, lambda: done.append(2))
    assert writer.failed
    for _ in range(2):
        with pytest.raises(OSError, match="no space"):
            writer.drain()
    assert done == []


def test_an_error_wakes_a_put_that_waits_for_room(writer):
    gate = threading.Event()
    writer.put(100, lambda: (gate.wait(), failing()))
    threading.Timer(0.1, gate.set).start()
    writer.put(100, list)
    assert writer.failed


def test_closing_ends_the_task_at_hand_and_drops_what_waits(writer):
    begun, gate, done = threading.Event(), threading.Event(), []
    writer.put(1, lambda: (begun.set(), gate.wait(), done.append(0)))
    writer.put(1, lambda: done.append(1))
    assert begun.wait(10)
    threading.Timer(0.1, gate.set).start()
    writer.close()
    assert done == [0]
