"""The workers of a sweep: who trains which point, and what becomes of it."""

import signal
import socket
import subprocess
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any, Final

from coupled.config import Config
from coupled.driver.signals import Preemption
from coupled.supervision import blocked
from coupled.sweeps.messages import Message
from coupled.sweeps.processes import command_of, environment
from coupled.sweeps.watching import PointProgress, SweepReporter

_LOOK_S: Final = 0.25  # between two looks at signals and processes
_LEAVING_S: Final = 30.0  # for a worker that has nothing more to do


class Worker:
    """A process that trains points one after another, and the one that it is at."""

    def __init__(self, number: int, descriptor: int, words: Sequence[str]) -> None:
        mine, theirs = socket.socketpair()
        with theirs, blocked():
            self.process = subprocess.Popen(
                command_of("coupled.sweeps.worker", str(theirs.fileno()), str(number), *words),
                stdin=subprocess.DEVNULL,
                env=environment(),
                # With the sweep's lock: who comes after a kill waits until the last worker has stopped.
                pass_fds=(theirs.fileno(), descriptor),
            )
        self.connection: Any = Connection(mine.detach())
        self.point: PointProgress | None = None

    def train(self, point: PointProgress, config: Config) -> None:
        self.point = point
        with suppress(OSError):  # it has ended, which the next look at it tells
            self.connection.send(config)

    def dismiss(self) -> None:
        """Nothing more comes."""
        self.point = None
        self.connection.close()

    @property
    def end(self) -> str:
        """How its process ended."""
        code = self.process.wait()
        return f"ended by {signal.Signals(-code).name}" if code < 0 else f"left with exit code {code}"


class Crew:
    """At most `jobs` workers for these points. `descriptor`: the open lock of the sweep. `words`: what every worker is
    started with besides.
    """

    def __init__(
        self,
        points: Sequence[tuple[PointProgress, Config]],
        jobs: int,
        descriptor: int,
        reporter: SweepReporter,
        words: Sequence[str] = (),
    ) -> None:
        self.words = words
        self.waiting = deque(points)
        self.workers: list[Worker | None] = [None] * min(jobs, len(points))
        self.descriptor, self.reporter = descriptor, reporter
        self.configs = {point.name: config for point, config in points}
        self.dismissed: list[Worker] = []
        self.told = False  # the workers, that they should stop

    @property
    def busy(self) -> list[tuple[int, Worker, PointProgress]]:
        """The workers that are at a point."""
        return [(at, w, w.point) for at, w in enumerate(self.workers) if w is not None and w.point is not None]

    def work(self, preemption: Preemption) -> None:
        """Until all points have ended, or those that were begun have stopped because `preemption` was asked."""
        try:
            while (self.waiting and not preemption.asked) or self.busy:
                if preemption.asked:
                    self._stop(preemption.asked)
                else:
                    self._assign()
                self._listen(preemption)
        except BaseException:
            for worker in self._all():
                worker.process.kill()  # what is committed stands
            raise
        finally:
            self._close()

    def _assign(self) -> None:
        for at, worker in enumerate(self.workers):
            if not self.waiting:
                return
            if worker is None:
                worker = self.workers[at] = Worker(at, self.descriptor, self.words)
            if worker.point is None:
                point, config = self.waiting.popleft()
                point.state = "starting"
                self.reporter.changed(point)
                worker.train(point, config)

    def _stop(self, number: int) -> None:
        if not self.told:
            for _, worker, _ in self.busy:
                worker.process.send_signal(number)
        self.told = True

    def _listen(self, preemption: Preemption) -> None:
        ready = wait([worker.connection for _, worker, _ in self.busy], _LOOK_S)
        for at, worker, point in self.busy:
            ended = worker.process.poll() is not None  # before the look: what it said last is read first
            try:
                if worker.connection in ready or worker.connection.poll():
                    self._hear(at, worker, point, worker.connection.recv(), preemption)
                elif ended:
                    raise EOFError
            except (EOFError, OSError):
                point.state = "stopped" if preemption.asked else "failed"
                point.reason = f"its process was {worker.end}"
                self._dismiss(at)
                self.reporter.changed(point)

    def _hear(self, at: int, worker: Worker, point: PointProgress, message: Message, preemption: Preemption) -> None:
        if message.kind == "note":
            self.reporter.note(point, message.text)
            return
        if message.kind in ("begun", "stepped"):
            point.state, point.step, point.rate = "running", message.step, message.rate
        else:
            assert message.kind in ("finished", "failed", "stopped")
            point.state, point.reason = message.kind, message.text
            point.step = max(point.step, message.step)
            worker.point = None
            # One was asked to stop, all do, as with ranks.
            if message.kind == "stopped":
                preemption.asked = preemption.asked or signal.SIGTERM
            # Nobody knows what a failure leaves behind. The compiler counts over the whole process how often it had to
            # compile the same code, and after a few times no longer does, which changes bits.
            if message.kind != "finished" or self.configs[point.name].train.compile:
                self._dismiss(at)
        self.reporter.changed(point)

    def _dismiss(self, at: int) -> None:
        worker, self.workers[at] = self.workers[at], None
        assert worker is not None
        worker.dismiss()
        self.dismissed.append(worker)

    def _all(self) -> list[Worker]:
        return [*self.dismissed, *(worker for worker in self.workers if worker is not None)]

    def _close(self) -> None:
        for worker in self._all():
            worker.dismiss()
        for worker in self._all():
            try:
                worker.process.wait(_LEAVING_S)
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
