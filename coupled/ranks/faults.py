"""A rank that dies or hangs: the ranks that are left find out which one it was, and say so, in bounded time."""

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, TypeVar

from coupled.errors import EarlyEnd, RunStopped

_BEAT_S: Final = 0.5
# The beats of every rank that is alive arrive within this time; a rank that is silent for so long is stopped or dead.
_SILENCE_S: Final = 3.0
_LEAVE_S: Final = 20.0


class Elsewhere(RunStopped):
    """Another rank prints what is wrong: this one ends with the same exit code and prints nothing."""

    quiet = True

    def __init__(self, exit_code: int) -> None:
        super().__init__("")
        self.exit_code = exit_code


Ending = TypeVar("Ending", bound=EarlyEnd)


def agreed(error: Ending) -> Ending:
    """The error, marked as one that all ranks have agreed to end with."""
    error.agreed = True
    return error


class RankLost(RunStopped):
    """A rank that this one waited for is gone. `quiet`: another rank prints the line."""

    def __init__(self, message: str, quiet: bool = False) -> None:
        super().__init__(message)
        self.quiet = quiet


class Watch:
    """Beats for this rank in the store that all ranks share, and finds the silent rank when a message fails.

    A thread of its own beats, so a rank that computes for long still beats; one that is stopped or dead does not.
    """

    def __init__(self, store: Any, rank: int, world: int, timeout: float) -> None:
        self._store, self.rank, self._world, self._timeout = store, rank, world, timeout
        store.set(f"pid/{rank}", f"{socket.gethostname()} {os.getpid()}")
        store.add(f"beat/{rank}", 1)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._thread.start()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around a message: the error of a lost rank becomes RankLost with its name."""
        try:
            yield
        except (RuntimeError, ConnectionError) as error:
            raise self._lost(error) from error

    def leave(self, error: EarlyEnd) -> None:
        """Tell the others that this rank ends by itself. If all have agreed to end so, wait a while for them.

        Once one rank has ended, a launcher ends all others, even one that is still making its state durable.
        """
        with suppress(RuntimeError):
            self._store.set(f"ended/{self.rank}", str(error.exit_code))
            self._store.add("left", 1)
            ends = time.monotonic() + (_LEAVE_S if error.agreed else 0)
            while self._store.add("left", 0) < self._world and time.monotonic() < ends:
                time.sleep(0.05)

    def all_left(self) -> bool:
        """Have all ranks come to their end by themselves?"""
        with suppress(RuntimeError):
            return self._store.add("left", 0) == self._world
        return False

    def close(self) -> None:
        """End the beating."""
        self._ended.set()
        self._thread.join()

    def _beat(self) -> None:
        with suppress(RuntimeError):  # the store has gone with the job
            while not self._ended.wait(_BEAT_S):
                self._store.add(f"beat/{self.rank}", 1)

    def _lost(self, error: Exception) -> RunStopped:
        first_line = str(error).splitlines()[0]
        try:
            for rank in range(self._world):
                if self._store.check([f"ended/{rank}"]):
                    return Elsewhere(int(self._store.get(f"ended/{rank}")))
            silent = self._silent()
        except RuntimeError:
            return RankLost(f"lost contact with the other ranks ({first_line})")
        speaker = min((rank for rank in range(self._world) if rank not in silent), default=self.rank)
        if not silent:
            return RankLost(f"a message between ranks failed, though all of them are alive ({first_line})")
        names = []
        for rank in silent:
            host, pid = self._store.get(f"pid/{rank}").decode().split()
            names.append(f"rank {rank} (process {pid} on {host})")
            if speaker == self.rank and host == socket.gethostname():
                # A stopped process does not act on the launcher's SIGTERM: the job would wait for it.
                with suppress(OSError):
                    os.kill(int(pid), signal.SIGKILL)
        message = f"{' and '.join(names)} died or hung (ranks.timeout = {self._timeout:g} s)"
        return RankLost(message, quiet=speaker != self.rank)

    def _silent(self) -> list[int]:
        """The other ranks whose beats stand still."""
        others = [rank for rank in range(self._world) if rank != self.rank]
        before = {rank: self._store.add(f"beat/{rank}", 0) for rank in others}
        time.sleep(_SILENCE_S)
        return [rank for rank in others if self._store.add(f"beat/{rank}", 0) == before[rank]]
