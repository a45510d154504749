"""Work side by side: the work on an arm is many small tensors, which threads of one kernel do not speed up."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from coupled.runtime import one_thread

K = TypeVar("K")
T = TypeVar("T")


def side_by_side(items: Iterable[K], work: Callable[[K], Iterable[T]], *, most: int | None = None) -> list[T]:
    """What `work` gives for each item (an arm, a place, a pair of arms), in their order; as many at once as torch would
    use threads, and no more than `most`.

    Each runs on one thread, so that values do not depend on how many there are. The first error ends it.
    """
    workers = min(torch.get_num_threads(), most or torch.get_num_threads())
    with one_thread(), ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        tasks = [pool.submit(lambda item=item: list(work(item))) for item in items]
        try:
            return [result for task in tasks for result in task.result()]
        finally:
            pool.shutdown(cancel_futures=True)
