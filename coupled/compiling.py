"""How kernels are compiled, in every package that has some: numba without any licence to change a float.

In a kernel every constant is a float32 (a plain literal would widen the arithmetic to float64), a row is a slice of its
own (LLVM makes no vectors of `row[i + shift]`), and all that it calls is in its own file, the only one whose changes
numba's cache of compiled code notices.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
Bytes = NDArray[np.uint8]

# A division by zero is ±∞, as torch has it: the check that numba makes by default keeps LLVM from making vectors.
_OPTIONS = {"nogil": True, "error_model": "numpy"}

part: Callable[[Any], Any] = njit(**_OPTIONS)  # a function that kernels of its file call


def kernel(signature: str) -> Callable[[Any], Any]:
    """Compile a function at once, for one signature.

    The code is kept beside its file, or in the user's cache directory, or nowhere if neither can be written.
    """

    def compiled(function: Any) -> Any:
        try:
            return njit(signature, cache=True, **_OPTIONS)(function)
        except RuntimeError as error:
            if "no locator available" not in str(error):
                raise
            return njit(signature, **_OPTIONS)(function)

    return compiled
