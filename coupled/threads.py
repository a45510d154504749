"""Threads that live as long as the process, for compiled kernels, which leave Python's lock to others."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), "kernels")


# A forked process has none of its parent's threads; it would wait for them.
os.register_at_fork(after_in_child=_pool.cache_clear)


def share(kernel: Callable[[int, int], None], count: int, threads: int) -> None:
    """Run `kernel(start, stop)` over all of 0 … count − 1, by `threads` threads of which this is one.

    Waking the others takes some 50 µs: a kernel that is done sooner has nothing to share.
    """
    threads = min(threads, count)
    if threads < 2:
        kernel(0, count)
        return
    ends = [count * thread // threads for thread in range(1, threads + 1)]
    others = [_pool().submit(kernel, start, stop) for start, stop in pairwise(ends)]
    kernel(0, ends[0])
    for other in others:
        other.result()
