"""`coupled-run`: the entry point, and what the process needs before torch is loaded."""

import ctypes
import os
import sys
from contextlib import suppress

from coupled.terminal.entry import guarded


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns its exit code: 0 done, 2 the user's mistake, 3 the run had to stop."""
    _keep_freed_memory()

    def body() -> int:
        # Loading torch takes seconds: Ctrl-C meanwhile is no traceback either.
        from coupled.commands import run

        return run(argv)

    code = guarded("coupled-run", body)
    if code and int(os.environ.get("WORLD_SIZE", "1")) > 1 and "TORCHELASTIC_RUN_ID" in os.environ:
        # One rank of several: its threads wait for messages that will not come, and tidying up would abort.
        sys.stderr.flush()
        os._exit(code)
    return code


def _keep_freed_memory() -> None:
    """Let glibc keep memory that is freed: every step asks for the same activations, and getting their pages from the
    kernel again takes a fifth of a step. Without glibc this does nothing.
    """
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(mmap_threshold, 32 << 20)  # the largest glibc accepts
        libc.mallopt(trim_threshold, (1 << 31) - 1)
