"""A rank that dies or hangs: the ranks that are left find out which one it was, and say so, in bounded time."""

import itertools
import os
import signal
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from coupled.errors import EarlyEnd, RunStopped

_BEAT_S: Final = 0.5
# The beats of every rank that is alive arrive within this time; a rank that is silent for so long is stopped or dead.
_SILENCE_S: Final = 3.0
_LEAVE_S: Final = 20.0
# The heart looks at the others' beats at every second of its own; one that stood still at so many looks in a row (20 s)
# is lost, whatever the main thread waits for.
_BEATS_A_LOOK: Final = 2
_LOOKS: Final = 20
# Looks that a process which is still there has beyond `ranks.timeout`: a message that fails by then says it first.
_SLACK: Final = 5
# The heart of a rank that does not print waits for the one that does, and that of one without the store for its main
# thread, which may have come to its own end.
_TOLD_S: Final = 5.0
_ALONE_S: Final = 10.0


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


class Silences:
    """How many looks in a row each rank's beats have stood still.

    Looks are counted, and not seconds: where a machine sleeps for a while, its ranks look no oftener than they beat.
    """

    def __init__(self) -> None:
        self._before: list[tuple[bytes, int]] = []

    def after(self, beats: Sequence[bytes]) -> list[int]:
        """The count of every rank, after a look that has seen these beats."""
        before = self._before or [(b"", 0)] * len(beats)
        self._before = [
            (now, looks + 1 if now == then else 0) for now, (then, looks) in zip(beats, before, strict=True)
        ]
        return [looks for _, looks in self._before]


class Watch:
    """Beats for this rank in the store that all ranks share, and finds the silent rank when a message fails.

    A thread of its own beats, the heart, so a rank that computes for long still beats; one that is stopped or dead does
    not. Where no message fails because calls return at once (nccl), the main thread waits for ever for what a lost rank
    would have sent: the heart, which looks at the others' beats, then says so and ends the process. `then`: what a
    user can do next, at the end of the line.
    """

    def __init__(self, store: Any, rank: int, world: int, timeout: float, then: str = "") -> None:
        self._store, self.rank, self._world, self._timeout, self._then = store, rank, world, timeout, then
        # A connection of its own: while the main thread waits for a key, nobody else gets an answer through its one.
        self._heart = store.clone()
        store.set(f"pid/{rank}", f"{socket.gethostname()} {os.getpid()}")
        store.add(f"beat/{rank}", 1)
        self._silences, self._all_here = Silences(), False
        self._leaving, self._ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._live, name="heartbeat", daemon=True)
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
        self._leaving.set()
        with suppress(RuntimeError):
            if error.agreed:
                self._store.set(f"done/{self.rank}", "")
            self._store.set(f"ended/{self.rank}", str(error.exit_code))
            self._store.add("left", 1)
            ends = time.monotonic() + (_LEAVE_S if error.agreed else 0)
            while self._store.add("left", 0) < self._world and time.monotonic() < ends:
                time.sleep(0.05)

    def finish(self) -> None:
        """Tell the others that this rank has nothing left to do with them: its silence is no loss."""
        self._leaving.set()
        with suppress(RuntimeError):
            self._store.set(f"done/{self.rank}", "")

    def all_left(self) -> bool:
        """Have all ranks come to their end by themselves?"""
        with suppress(RuntimeError):
            return self._store.add("left", 0) == self._world
        return False

    def close(self) -> None:
        """End the beating."""
        self._ended.set()
        self._thread.join()

    def _live(self) -> None:
        try:
            for beat in itertools.count(1):
                if self._ended.wait(_BEAT_S):
                    return
                self._heart.add(f"beat/{self.rank}", 1)
                if beat % _BEATS_A_LOOK or self._leaving.is_set():
                    continue
                if (error := self._look()) is not None:
                    self._end(error)
        except RuntimeError as error:  # the store has gone with the process that kept it
            if not self._ended.wait(_ALONE_S):
                self._end(RankLost(f"lost contact with the other ranks ({_first_line(error)}){self._then}"))

    def _look(self) -> RunStopped | None:
        """The error of ranks that are lost by now."""
        beats = [f"beat/{rank}" for rank in range(self._world)]
        self._all_here = self._all_here or self._heart.check(beats)
        if not self._all_here:
            return None
        silences = enumerate(self._silences.after(self._heart.multi_get(beats)))
        lost = [rank for rank, looks in silences if looks >= _LOOKS and self._is_lost(rank, looks)]
        return self._elsewhere(self._heart, lost) or self._named(self._heart, lost)

    def _is_lost(self, rank: int, looks: int) -> bool:
        """Is a silent rank missed? One that is done is not; a process that is still there is waited for."""
        if self._heart.check([f"done/{rank}"]):
            return False
        if self._heart.check([f"ended/{rank}"]):
            return True
        host, pid = _place_of(self._heart, rank)
        late = (looks - _SLACK) * _BEATS_A_LOOK * _BEAT_S >= self._timeout
        return late or host != socket.gethostname() or not _exists(pid)

    def _end(self, error: RunStopped) -> None:
        """End this process, unless its main thread has come to its own end; one rank writes the line."""
        told = isinstance(error, Elsewhere)
        with suppress(RuntimeError):
            ends = time.monotonic() + (_TOLD_S if error.quiet and not told else 0)
            while time.monotonic() < ends and not told and not self._ended.wait(0.1):
                told = self._heart.check(["told"])
        if self._leaving.is_set() or self._ended.is_set():
            return
        if not told:
            # write, not print: the main thread may be in the middle of one; a progress bar has hidden the cursor
            cursor = "\x1b[?25h" if os.isatty(2) else ""
            os.write(2, f"{cursor}coupled-run: {error}\n".encode())
            with suppress(RuntimeError):
                self._heart.set("told", "")
        os._exit(error.exit_code)

    def _lost(self, error: Exception) -> RunStopped:
        """What has become of the others, now that a message has failed."""
        try:
            gone = self._elsewhere(self._store, range(self._world)) or self._named(self._store, self._silent())
        except RuntimeError:
            return RankLost(f"lost contact with the other ranks ({_first_line(error)}){self._then}")
        reason = f"a message between ranks failed, though all of them are alive ({_first_line(error)})"
        return gone or RankLost(reason + self._then)

    def _elsewhere(self, store: Any, ranks: Iterable[int]) -> RunStopped | None:
        """The error of a rank that has ended by itself, if one of these has."""
        ended = next((rank for rank in ranks if store.check([f"ended/{rank}"])), None)
        return None if ended is None else Elsewhere(int(store.get(f"ended/{ended}")))

    def _named(self, store: Any, silent: Sequence[int]) -> RunStopped | None:
        """The error that names the silent ranks, if there are any: the first of the others prints it."""
        if not silent:
            return None
        speaker = min((rank for rank in range(self._world) if rank not in silent), default=self.rank)
        names = []
        for rank in silent:
            host, pid = _place_of(store, rank)
            names.append(f"rank {rank} (process {pid} on {host})")
            if speaker == self.rank and host == socket.gethostname():
                # A stopped process does not act on the launcher's SIGTERM: the job would wait for it.
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
        message = f"{' and '.join(names)} died or hung (ranks.timeout = {self._timeout:g} s){self._then}"
        return RankLost(message, quiet=speaker != self.rank)

    def _silent(self) -> list[int]:
        """The other ranks whose beats stand still."""
        others = [rank for rank in range(self._world) if rank != self.rank]
        before = {rank: self._store.add(f"beat/{rank}", 0) for rank in others}
        time.sleep(_SILENCE_S)
        return [rank for rank in others if self._store.add(f"beat/{rank}", 0) == before[rank]]


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


def _place_of(store: Any, rank: int) -> tuple[str, int]:
    """The machine and the process of a rank."""
    host, pid = store.get(f"pid/{rank}").decode().split()
    return host, int(pid)


def _exists(pid: int) -> bool:
    """Is a process of this machine still there, and not only its exit code?"""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    with suppress(OSError):  # where there is /proc
        return (
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0] != "Z"
        )
    return True
