"""How the C library hands memory to a training process; imports nothing else of the package."""

import ctypes
from contextlib import suppress
from typing import Final

# mallopt's parameters, from malloc.h.
_TRIM_THRESHOLD: Final = -1
_MMAP_MAX: Final = -4


def tune_memory() -> bool:
    """Have glibc keep the memory that is freed, for the whole process; returns whether it could be told to.

    Every step asks for the same activations again. By default a block above 32 MiB is mapped, zeroed page by page and
    unmapped at each use, and the free end of the heap goes back to the kernel. Without that a step of ResNet-18 takes
    less time on a CPU (docs/speed.md says how much), and the process keeps what it held at its fullest. Call it before
    the first large allocation; `coupled-run` does. Where the C library is another one, nothing happens.
    """
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        # No block is mapped on its own; -1 stands for the largest size: the heap's end is never given back.
        return bool(libc.mallopt(_MMAP_MAX, 0) and libc.mallopt(_TRIM_THRESHOLD, -1))
    return False
