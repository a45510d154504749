"""A process that torchrun started takes its place in the mesh, and leaves it again."""

import itertools
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from coupled.config import Config
from coupled.errors import EarlyEnd, UserError
from coupled.ranks.faults import RankLost, Watch
from coupled.ranks.mesh import ALONE, Axis, Mesh
from coupled.ranks.placement import Placement, place


def is_rank() -> bool:
    """Is this process one of several that torchrun started?"""
    return dist.is_torchelastic_launched() and int(os.environ.get("WORLD_SIZE", "1")) > 1


def rank_here() -> int:
    """This process's rank by its environment, before it has joined the others; 0 where it is alone."""
    return int(os.environ["RANK"]) if is_rank() else 0


_joins = itertools.count()


@contextmanager
def joined(config: Config, then: str = "") -> Iterator[Mesh]:
    """This process's place among the ranks of a run; `ALONE` where there is one process. UserError if they do not fit.

    Under torchrun the process group is made here and ended here. `then`: the end of the line about a lost rank.
    """
    if not is_rank():
        yield ALONE
        return
    placement = place(config, int(os.environ["WORLD_SIZE"]))
    store, rank, world = next(rendezvous("env://", timeout=timedelta(seconds=config.ranks.timeout)))
    # A process may train one run after another: the second must not read what the first left in the store.
    store = PrefixStore(f"coupled/{next(_joins)}", store)
    watch = Watch(store, rank, world, config.ranks.timeout, then)
    try:
        mesh = _mesh(config, placement, PrefixStore("groups", store), rank, watch)
        yield mesh
    except RankLost:
        _ends_by_itself()
        raise  # nobody waits for a lost rank: the line is printed before the launcher ends all others
    except EarlyEnd as error:
        _ends_by_itself()
        watch.leave(error)
        if watch.all_left() and dist.is_initialized():
            dist.destroy_process_group()
        raise
    else:
        with watch.waiting():
            # Without it gloo aborts now and then in a process whose peers have left.
            dist.barrier(group=mesh.host.group)
        watch.finish()
        dist.destroy_process_group()
    finally:
        watch.close()


def _ends_by_itself() -> None:
    """From here on SIGTERM does nothing: a launcher sends it as soon as one rank has ended, and the rank that prints
    what is wrong may not have done so yet. One that does not end is killed by the launcher later.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _mesh(config: Config, placement: Placement, store: Any, rank: int, watch: Watch) -> Mesh:
    cuda, world, parts = config.train.device == "cuda", placement.world, placement.data
    if cuda:
        _take_device()
    timeout = timedelta(seconds=config.ranks.timeout)
    with watch.waiting():
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if cuda else "gloo", store=store, rank=rank, world_size=world, timeout=timeout
        )
        grid = torch.arange(world).view(-1, parts)
        groups: Any = [
            dist.new_subgroups_by_enumeration(lines.tolist(), timeout=timeout)[0] for lines in (grid.T, grid)
        ]
        mesh = DeviceMesh.from_group(groups, config.train.device, mesh=grid, mesh_dim_names=("arms", "data"))
        host = dist.new_group(backend="gloo", timeout=timeout)
        # made where batches are split alone: with nccl every group has buffers of its own on the GPU
        sums = dist.new_subgroups_by_enumeration(grid.tolist(), timeout=timeout)[0] if parts > 1 else None
        writers = dist.new_group(grid[:, 0].tolist(), backend="gloo", timeout=timeout)
    a, d = divmod(rank, parts)
    return Mesh(
        placement,
        rank,
        arms=Axis(a, len(placement.groups), mesh.get_group("arms"), watch),
        data=Axis(d, parts, mesh.get_group("data"), watch),
        host=Axis(rank, world, host, watch),
        sums=Axis(d, parts, sums, watch),
        writers=Axis(a, len(placement.groups), writers if d == 0 else None, watch),
    )


def _take_device() -> None:
    """The GPU of this rank is the current one from now on."""
    local, count = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if local >= count:
        raise UserError(
            f"{os.environ.get('LOCAL_WORLD_SIZE', local + 1)} ranks on this machine",
            f"it has {count} CUDA devices, one for each rank",
            "start fewer ranks, or use train.device = cpu",
        )
    torch.cuda.set_device(local)
