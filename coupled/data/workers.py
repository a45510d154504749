"""The batches of steps, made ahead of them: by processes (`Ahead`) or by one thread (`AheadThread`).

A batch is a pure function of its step, so neither the number of workers nor a restart changes a byte. Both classes hand
out batches in the order of steps; for any other step they start again there.
"""

import multiprocessing
import os
import queue
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.util import Finalize
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from coupled.errors import RunStopped, UserError

T = TypeVar("T")
_DEPTH = 2  # batches that each worker, or the thread, may be ahead
_PATIENCE = 5.0  # seconds to wait for a worker that was told to go; it needs a tenth of one


class Ahead(Generic[T]):
    """`make(step)` for the steps up to `steps`, made ahead by `workers` processes; with 0 of them, by the caller.

    A worker makes whole batches with one thread, at most two ahead, and hands their tensors over in shared memory:
    /dev/shm must hold two batches of each worker, and two more. UserError and RunStopped of a worker are raised by `at`
    as they were; a worker that was killed is a RunStopped. Workers ignore Ctrl-C and SIGTERM, which reach them when the
    whole job gets the signal: the caller decides what becomes of the step. They end with `close`, with the caller's
    exit, or within a moment of its death. `pinned`: a thread copies what they hand over into pinned memory.
    """

    def __init__(self, make: Callable[[int], T], workers: int, steps: int, pinned: bool = False) -> None:
        assert workers >= 0 and steps >= 0
        self._make, self._workers, self._steps, self._pinned = make, workers, steps, pinned
        self._batches: Iterator[Any] | None = None
        self._processes: list[Any] = []
        self._next = 0  # the step that `_batches` gives next
        self._closing: Any = None  # a number in shared memory: 1 tells the workers to go
        self._at_exit: Any = None

    def at(self, step: int) -> T:
        """What `make(step)` returns, 0 ≤ step < steps."""
        assert 0 <= step < self._steps, f"step {step} of {self._steps}"
        if self._workers == 0:
            return self._make(step)
        if self._batches is None or step != self._next:
            self.close()
            self._start(step)
        try:
            batch = self._received(step)
            if isinstance(batch, _Failure):
                raise batch.error()
        except BaseException:
            self.close()
            raise
        self._next = step + 1
        return batch

    def close(self) -> None:
        """End the workers. `at` would start new ones."""
        if self._closing is not None:
            self._closing.value = 1
            self._at_exit.cancel()
        self._batches = self._closing = None
        for process in self._processes:
            process.join(_PATIENCE)
        self._processes = []

    def _start(self, step: int) -> None:
        self._closing = multiprocessing.RawValue("b", 0)
        # Python's exit waits for workers, and does so after this.
        self._at_exit = Finalize(None, self.close, exitpriority=0)
        others = set(multiprocessing.active_children())
        with _signal_handler_kept(), warnings.catch_warnings():
            # How many workers is the user's to say.
            warnings.filterwarnings("ignore", message="This DataLoader will create")
            self._batches = iter(self._loader(step))
        self._processes = [process for process in multiprocessing.active_children() if process not in others]

    def _loader(self, step: int) -> DataLoader[Any]:
        """Makes the steps from `step` on."""
        return DataLoader(
            _Steps(self._make),
            batch_size=None,
            sampler=range(step, self._steps),
            num_workers=self._workers,
            # Not every start method can carry a user's own split, or keeps the parent that workers watch.
            multiprocessing_context="fork",
            collate_fn=_unchanged,
            worker_init_fn=_Init(self._closing, os.getpid()),
            prefetch_factor=_DEPTH,
            pin_memory=self._pinned,
            # Of its own: the loader draws its workers' base seed, by default from the global generator.
            generator=torch.Generator(),
        )

    def _received(self, step: int) -> Any:
        assert self._batches is not None
        try:
            if all(process.is_alive() for process in self._processes):
                return next(self._batches)
        except RuntimeError as error:
            if not str(error).startswith("DataLoader worker (pid"):
                raise  # an error of `make`, with the worker's traceback
        raise RunStopped(
            f"a loader worker was killed before it made step {step}, as happens when memory or /dev/shm is "
            "full; use fewer workers"
        )


class _Steps(Dataset[Any]):
    """`make` as a data set whose samples are batches."""

    def __init__(self, make: Callable[[int], Any]) -> None:
        self._make = make

    def __getitem__(self, step: int) -> Any:
        try:
            batch = self._make(step)
        except (UserError, RunStopped) as error:
            return _Failure(type(error), str(error))
        try:
            # The queue would do it, but in a thread whose errors reach nobody: the caller would wait for ever.
            return _shared(batch)
        except RuntimeError as error:
            return _Failure(RunStopped, f"no shared memory for step {step} ({error}); use fewer workers")


@dataclass(frozen=True)
class _Failure:
    """An error on its way to the main process: loaders hand over the text of its traceback, not its own line."""

    kind: type[UserError] | type[RunStopped]
    line: str

    def error(self) -> Exception:
        return UserError(self.line, "") if self.kind is UserError else RunStopped(self.line)


def _shared(batch: Any) -> Any:
    """A batch with its tensors in shared memory: a tensor, or tuples and lists of them; all else as it is."""
    if isinstance(batch, Tensor):
        return batch.share_memory_()
    if type(batch) in (tuple, list):
        return type(batch)(_shared(part) for part in batch)
    return batch


def _unchanged(batch: Any) -> Any:
    return batch


@dataclass(frozen=True)
class _Init:
    """A worker's first acts: ignore signals, and watch whether it is still needed."""

    closing: Any
    parent: int

    def __call__(self, worker: int) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        """End this worker once nobody waits for it, even in the middle of a batch, which may take many seconds."""
        while not self.closing.value and os.getppid() == self.parent:
            time.sleep(0.1)
        os._exit(0)


@contextmanager
def _signal_handler_kept() -> Iterator[None]:
    """Undo the loader's handler of SIGCHLD: it would raise a worker's death anywhere, say in a checkpoint's writing.

    `at` notices the death itself.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGCHLD)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)


class AheadThread(Generic[T]):
    """`make(step)` for the steps up to `steps`, made ahead by one thread of this process, at most two ahead.

    For `make` that spends its time in tensor operations, which let other threads run. It has one thread of its own for
    them (their bytes must not depend on that) and leaves the caller's number as it is. Any error of `make` is raised by
    `at`.
    """

    def __init__(self, make: Callable[[int], T], steps: int) -> None:
        self._make, self._steps = make, steps
        self._batches: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._next = 0

    def at(self, step: int) -> T:
        """What `make(step)` returns, 0 ≤ step < steps."""
        assert 0 <= step < self._steps, f"step {step} of {self._steps}"
        if self._thread is None or step != self._next:
            self.close()
            self._start(step)
        try:
            batch, error = self._batches.get()
            if error is not None:
                raise error
        except BaseException:
            self.close()
            raise
        self._next = step + 1
        return batch

    def close(self) -> None:
        """End the thread, once it has made its present batch. `at` would start a new one."""
        self._stop.set()
        if self._thread is not None:
            with suppress(queue.Empty):
                while True:
                    self._batches.get_nowait()  # room for the batch that the thread may be waiting to put
            self._thread.join()
        self._thread = None

    def _start(self, step: int) -> None:
        self._batches, self._stop = queue.Queue(_DEPTH - 1), threading.Event()
        ready, threads = threading.Event(), torch.get_num_threads()
        self._thread = threading.Thread(target=self._work, args=(step, ready), name="ahead", daemon=True)
        self._thread.start()
        ready.wait()
        # OpenMP's count belongs to each thread, but torch also keeps the number that new threads begin with.
        torch.set_num_threads(threads)

    def _work(self, step: int, ready: threading.Event) -> None:
        batches, stop = self._batches, self._stop
        torch.get_num_threads()  # takes the number that threads begin with now, rather than at the first operation
        torch.set_num_threads(1)
        ready.set()
        while step < self._steps and not stop.is_set():
            try:
                batches.put((self._make(step), None))
            except BaseException as error:
                batches.put((None, error))
                return
            step += 1
