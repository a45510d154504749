"""Streams and the memory of graphs, with counters in place of torch's."""

import gc
from itertools import count

import pytest
import torch

from coupled import lanes


@pytest.fixture(autouse=True)
def counted(monkeypatch):
    numbers = count()
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: next(numbers))
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: next(numbers))
    lanes.stream_for.cache_clear()
    yield
    lanes.stream_for.cache_clear()


def test_a_use_has_one_stream_in_a_process_and_no_other_use_has_it():
    uses = ["views", "graphs", "sums", *(f"graphs {k}" for k in range(lanes.LANES))]
    streams = [lanes.stream_for(use, 0) for use in uses]
    assert len(set(streams)) == len(uses) < 32  # torch has that many
    assert [lanes.stream_for(use, 0) for use in uses] == streams
    assert lanes.stream_for("views", 1) not in streams


def test_all_graphs_of_a_device_share_memory_until_the_last_has_gone():
    one, other = lanes.shared_lane(0), lanes.shared_lane(0)
    assert one == other and one.pool is not lanes.shared_lane(1).pool
    handle, stream = one.pool.handle, one.stream
    del one
    assert lanes.shared_lane(0).pool.handle == handle
    del other
    gc.collect()
    fresh = lanes.shared_lane(0)
    assert fresh.pool.handle != handle and fresh.stream == stream


def test_memory_of_a_capture_that_failed_is_not_used_again(monkeypatch):
    ended = []
    for act in ("endAllocateToPool", "releasePool"):
        monkeypatch.setattr(
            torch._C, f"_cuda_{act}", lambda *given, act=act: ended.append((act, *given)), raising=False
        )
    failed = lanes.shared_lane(0)
    lanes.give_up(failed, 0)
    fresh = lanes.shared_lane(0)
    assert fresh.pool is not failed.pool
    assert ended == [("endAllocateToPool", 0, failed.pool.handle), ("releasePool", 0, failed.pool.handle)]
    for lane in (failed, lanes.own_lane(0, 0)):
        lanes.give_up(lane, 0)
        assert lanes.shared_lane(0).pool is fresh.pool


def test_lanes_have_memory_of_their_own_and_streams_of_their_own_as_long_as_there_are():
    own = [lanes.own_lane(k, 0) for k in range(lanes.LANES + 1)]
    assert len({lane.pool.handle for lane in own}) == len(own)
    assert len({lane.stream for lane in own[:-1]}) == lanes.LANES and own[-1].stream == own[0].stream
