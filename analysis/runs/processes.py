"""Work on the arms of a run in processes of their own: it is many small operations, which wait for Python's lock."""

import multiprocessing
import signal
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing.context import BaseContext
from sys import platform
from typing import Any, Final, TypeVar

import torch

from analysis.runs.parallel import side_by_side
from coupled.errors import RunStopped
from coupled.reading.records import Records

K = TypeVar("K")
T = TypeVar("T")

_LEAST_BYTES: Final = 8 << 20  # of records: with fewer the work is done before a process has started
_inherited: list[Callable[[], Any]] = []  # in a process started here: what it may be asked to do


def in_processes(items: Iterable[K], work: Callable[[K], T], done: Callable[[], None] = lambda: None) -> list[T]:
    """What `work` gives for each item, in their order; as many processes at once as torch would use threads.

    They are copies of this process: `work` may be any function, what it changes stays there, what it gives must be
    picklable. Each runs on one thread, so that values do not depend on how many there are. The first error ends it.
    `done` is called here, in any thread, whenever an item is. Where processes cannot be copied safely, threads take
    their place.
    """
    items = list(items)
    workers = min(torch.get_num_threads(), len(items))
    if workers < 2 or platform == "darwin" or "fork" not in multiprocessing.get_all_start_methods():
        return side_by_side(items, lambda item: _one(work, item, done))
    context: BaseContext = multiprocessing.get_context("fork")
    whole = [partial(work, item) for item in items]
    others = multiprocessing.active_children()
    with ProcessPoolExecutor(workers, context, _begin, (whole,)) as pool:
        try:
            with warnings.catch_warnings():
                # Python 3.12 warns of other threads at a copy. Those of torch and BLAS only ever wait for work there.
                warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
                tasks = [pool.submit(_do, at) for at in range(len(items))]
            for task in tasks:
                task.add_done_callback(lambda _: done())
            return [task.result() for task in tasks]
        except BrokenProcessPool:
            raise RunStopped(
                "a process that computed curves was ended from outside, as the system does when memory is short; "
                "the run is intact: free memory, and do it again"
            ) from None
        except BaseException:
            for child in multiprocessing.active_children():
                if child not in others:
                    child.kill()  # whatever it makes of other signals: it has nothing to lose
            raise
        finally:
            pool.shutdown(cancel_futures=True)


def _one(work: Callable[[K], T], item: K, done: Callable[[], None]) -> Iterable[T]:
    yield work(item)
    done()


def for_arms(run: Records, work: Callable[[str], T]) -> list[T]:
    """What `work` gives for each arm of a run: in processes, or here where the run has recorded little."""
    recorded = sum(entry.size or 0 for entries in run.shards.values() for entry in entries)
    if recorded < _LEAST_BYTES:
        return side_by_side(run.arms, lambda arm: [work(arm)], most=1)
    return in_processes(run.arms, work)


def _begin(whole: Sequence[Callable[[], Any]]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal: the process that waits for this one ends it
    torch.set_num_threads(1)
    _inherited[:] = whole


def _do(at: int) -> Any:
    return _inherited[at]()
