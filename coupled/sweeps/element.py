"""One point of a sweep as a job of a cluster: what submitit calls there, once more after each time the job had to go.

submitit keeps the job's signals for itself, so the run is trained by a process of its own (`coupled-run train
--supervised`). Loads no torch.
"""

import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from coupled.errors import RunStopped
from coupled.supervision import blocked
from coupled.sweeps.processes import command_of, environment

SAVING_S: Final = 90.0  # for a run that is asked to stop, to finish its step and save its state
_ASKED: Final = 143  # exit code of a run that stopped because it was asked to
_REQUEUING_S: Final = 600.0  # for the scheduler, which asked it, to end this job and begin it again
_LAST: Final = 1 << 16  # bytes at the end of a log in which its last line is looked for


class Element:
    """Trains the config in this file to its end on `ranks` processes, by a command that ends with `words`. What the run
    prints goes to the `.log` beside it, and so does the reason, as its last line, where it ends otherwise: RunStopped.
    """

    def __init__(self, config: Path, ranks: int, words: Sequence[str] = ()) -> None:
        self.config, self.ranks, self.words = config, ranks, tuple(words)
        self.log = config.with_suffix(".log")
        self._process: Any = None
        self._line: Any = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Element, (self.config, self.ranks, self.words)  # the next job starts a process of its own

    def __call__(self) -> None:
        self._start()
        try:
            self._has_ended(None)
            code = self._process.wait()
            if code == _ASKED:
                time.sleep(_REQUEUING_S)
        finally:
            self._leave()
        if code:
            raise RunStopped(f"{self.config.stem}: {self._reason(code)}")

    def checkpoint(self) -> Any:
        """submitit calls this in a handler of signals, when the job has to go: the run saves its state, and what comes
        back is called in the next job. A run that takes too long goes on from the newest state that it saved before.
        """
        from submitit.helpers import DelayedSubmission

        if self._process is not None and not self._has_ended(0.0):
            self._process.send_signal(signal.SIGUSR2)
            self._ends_or_is_killed()
        return DelayedSubmission(self)

    def _start(self) -> None:
        words = ("--ranks", str(self.ranks), "--supervised", *self.words)
        command = command_of("coupled", "train", str(self.config), *words)
        self._line, theirs = socket.socketpair()
        with theirs, blocked(), self.log.open("ab", buffering=0) as log:
            log.write(f"job {_job()} on {socket.gethostname()}\n".encode())
            self._process = subprocess.Popen(
                command, stdin=theirs.fileno(), stdout=log, stderr=log, env=environment(), start_new_session=True
            )

    def _has_ended(self, seconds: float | None) -> bool:
        """Have all processes of the run ended, this much later at most? It may be asked in a handler of signals while
        it waits: then Popen.wait would not return, as its lock is taken.
        """
        return bool(select.select([self._line], [], [], seconds)[0])  # the end of what is never written

    def _ends_or_is_killed(self) -> None:
        if not self._has_ended(SAVING_S):
            os.killpg(self._process.pid, signal.SIGKILL)
            self._has_ended(None)

    def _leave(self) -> None:
        """Ends the run if it has not ended: the other end of its stdin is gone."""
        self._line.shutdown(socket.SHUT_WR)
        self._ends_or_is_killed()
        self._line.close()
        self._process.wait()

    def _reason(self, code: int) -> str:
        if code < 0:
            reason = f"its process was ended by {signal.Signals(-code).name}"
            with self.log.open("a", encoding="utf-8") as log:
                log.write(f"{reason}\n")
            return reason
        with self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - _LAST))
            lines = log.read().decode(errors="replace").splitlines()
        return next((line for line in reversed(lines) if line.strip()), f"exit code {code}")


def _job() -> str:
    from submitit import JobEnvironment

    return JobEnvironment().job_id
