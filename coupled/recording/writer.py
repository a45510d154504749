"""Writing beside computing: one thread commits objects in the order in which they were given."""

import threading
from collections import deque
from collections.abc import Callable

Task = Callable[[], object]


class Writer:
    """Runs tasks one after the other on a thread of its own; without `asynchronous`, at once in the caller's.

    At most `limit` bytes wait (one task may be larger, then it waits alone); `put` blocks until there is room, and
    nothing is left out. After a task has failed none is run any more, and `drain` raises its error; `put` does not, so
    that where several processes do the same tasks all of them leave at the same point.
    """

    def __init__(self, *, asynchronous: bool, limit: int) -> None:
        self._limit = limit
        self._changed = threading.Condition()
        self._waiting: deque[tuple[int, Task]] = deque()
        self._size = 0  # bytes of what waits or is being written
        self._tasks = 0  # how many these are: a task may have no bytes
        self._error: BaseException | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="writer", daemon=True) if asynchronous else None
        if self._thread is not None:
            self._thread.start()

    def put(self, size: int, task: Task) -> None:
        """Have `task`, which holds `size` bytes, run after all before it."""
        if self._thread is None:
            task()
            return
        with self._changed:
            self._changed.wait_for(lambda: self._error or not self._size or self._size + size <= self._limit)
            if self._error is not None:
                return
            self._waiting.append((size, task))
            self._size += size
            self._tasks += 1
            self._changed.notify_all()

    @property
    def failed(self) -> bool:
        """Has a task failed?"""
        return self._error is not None

    def drain(self) -> None:
        """Wait until all tasks have run."""
        with self._changed:
            self._changed.wait_for(lambda: self._error or not self._tasks)
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """End the thread after the task it is at; what waits is dropped."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                size, task = self._waiting.popleft()
            try:
                task()
            except BaseException as error:  # whatever it is, it is the run's to raise
                self._fail(error)
                return
            del task  # its arrays, before the next is waited for
            with self._changed:
                self._size -= size
                self._tasks -= 1
                self._changed.notify_all()

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self._error = error
            self._waiting.clear()
            self._changed.notify_all()
