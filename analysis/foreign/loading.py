"""Checkpoints of unknown origin to tensors, by a process of its own that has limits on memory and time."""

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self

from analysis.foreign.folders import Checkpoint
from coupled.store import StoreError, TensorFile, open_tensors

CHILD: Final = Path(__file__).with_name("child.py")
SECONDS: Final = 120.0  # for torch to start on a busy machine
_BYTES_A_SECOND: Final = 4 << 20  # a slow disk's
# One thread each, which makes a fork safe; and nothing that lets torch load what is not weights.
_THREADS: Final = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_NEVER: Final = ("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_WEIGHTS_ONLY_LOAD")


class Loader:
    """Loads one checkpoint at a time; its tensors lie in the file `output` until the next is loaded.

    `seconds`: what a file may take beside the time that its size allows. Inside `with`, a process waits for files.
    """

    def __init__(self, output: Path, seconds: float = SECONDS) -> None:
        self._output, self._seconds = output, seconds
        self._last: tuple[Checkpoint, TensorFile] | None = None

    def __enter__(self) -> Self:
        self._asking, theirs = socket.socketpair()
        with theirs:
            environment = {name: value for name, value in os.environ.items() if name not in _NEVER}
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(CHILD), str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**environment, **_THREADS},
                start_new_session=True,  # so that its forks can be ended with it
            )
        return self

    def __exit__(self, *error: object) -> None:
        self._asking.close()
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def load(self, checkpoint: Checkpoint) -> TensorFile:
        """The tensors of a checkpoint by the file's own names, float32 or int64, mapped.

        Nothing that the file asks for is run. StoreError (exit code 3) says what is wrong with it: it is damaged,
        hostile, of another epoch, or takes more memory or time than a file of its size may.
        """
        if self._last is not None and self._last[0] == checkpoint:
            return self._last[1]
        self._last = None
        self._output.unlink(missing_ok=True)
        reply = self._asked(checkpoint)
        if "fault" in reply:
            raise StoreError(checkpoint.path, str(reply["fault"]))
        if checkpoint.form == "snapshot" and reply["epoch"] != checkpoint.epoch:
            raise StoreError(checkpoint.path, f"its EPOCHS_RUN is {reply['epoch']}, its name says {checkpoint.epoch}")
        try:
            self._last = checkpoint, open_tensors(self._output)
        except StoreError as error:
            raise StoreError(checkpoint.path, f"its tensors cannot be read: {error.reason}") from None
        return self._last[1]

    def _asked(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """What the process answers. StoreError where it does not, or not in time."""
        with checkpoint.opened() as descriptor:
            limit = self._seconds + os.fstat(descriptor).st_size / _BYTES_A_SECOND
            request = {"form": checkpoint.form, "output": str(self._output), "seconds": max(1, round(limit))}
            self._asking.settimeout(limit)
            reply = b""
            try:
                socket.send_fds(self._asking, [json.dumps(request).encode()], [descriptor])
                while not reply.endswith(b"\n"):
                    piece = self._asking.recv(1 << 16)
                    if not piece:
                        raise StoreError(checkpoint.path, "the process that was to load it ended")
                    reply += piece
            except TimeoutError:
                raise StoreError(checkpoint.path, f"loading it took longer than {limit:.0f} s") from None
            except (BrokenPipeError, ConnectionResetError):
                raise StoreError(checkpoint.path, "the process that was to load it ended") from None
        return json.loads(reply)
