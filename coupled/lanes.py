"""CUDA streams of this process by what they are for, and the memory that CUDA graphs share.

torch hands out 32 streams and then begins again: whoever asked for a new one for every run would one day get the very
stream on which another captures a graph. Those that are asked for here are 19; NCCL takes its own from the same 32.
"""

from contextlib import suppress
from functools import cache
from typing import Any, Final, NamedTuple
from weakref import WeakValueDictionary

import torch

# Streams for graphs that are replayed at once; more of them take turns on these.
LANES: Final = 16


class Pool:
    """Memory of CUDA graphs, as long as somebody holds this."""

    def __init__(self) -> None:
        self.handle: Any = torch.cuda.graph_pool_handle()


class Lane(NamedTuple):
    """Where graphs are captured, and may be replayed beside those of other lanes: a stream, with what libraries keep
    for it, and the memory of what lies between a graph's inputs and outputs.
    """

    stream: torch.cuda.Stream
    pool: Pool


@cache
def stream_for(use: str, device: int) -> torch.cuda.Stream:
    """The stream of this process for `use`, another one for every other use."""
    return torch.cuda.Stream(device)


def shared_lane(device: int) -> Lane:
    """That of all graphs on a device which are replayed one after the other, of whatever run."""
    # Not a cache: a pool whose graphs are all gone is not to be used again.
    pool = _POOLS.get(device)
    if pool is None:
        pool = _POOLS[device] = Pool()
    return Lane(stream_for("graphs", device), pool)


def own_lane(index: int, device: int) -> Lane:
    """One of those that run at once, in memory of its own."""
    return Lane(stream_for(f"graphs {index % LANES}", device), Pool())


def give_up(lane: Lane, device: int) -> None:
    """To be called when a capture in a lane has failed: its pool is not used again."""
    if _POOLS.get(device) is lane.pool:
        del _POOLS[device]
    # An end that failed leaves the allocator as if the capture went on: it would keep what other streams have freed.
    with suppress(RuntimeError, AttributeError):
        torch._C._cuda_endAllocateToPool(device, lane.pool.handle)
        torch._C._cuda_releasePool(device, lane.pool.handle)


_POOLS: Final[WeakValueDictionary[int, Pool]] = WeakValueDictionary()
