"""Versions of what a GPU's kernels come from, asked of the libraries themselves: a package need not be recorded."""

import ctypes
import re
from pathlib import Path
from typing import Final

import torch

UNKNOWN: Final = "unknown"
_KERNEL_MODULE: Final = Path("/proc/driver/nvidia/version")


def libraries() -> dict[str, str]:
    """CUDA, cuDNN, cuBLAS, the driver and, where torch has it, NCCL."""
    found = {
        "cuda": str(torch.version.cuda),
        "cudnn": str(torch.backends.cudnn.version()),
        "cublas": _cublas(),
        "driver": _driver(),
    }
    if torch.distributed.is_available() and torch.distributed.is_nccl_available():
        found["nccl"] = ".".join(map(str, torch.cuda.nccl.version()))  # type: ignore[reportAttributeAccessIssue]
    return found


def _cublas() -> str:
    try:
        library = ctypes.CDLL(f"libcublas.so.{str(torch.version.cuda).partition('.')[0]}")  # torch has loaded it
        return ".".join(str(_asked(library.cublasGetProperty, part)) for part in range(3))
    except (OSError, AttributeError):
        return UNKNOWN


def _driver() -> str:
    """The version of the kernel module; in a container that hides it, of CUDA that the driver is for."""
    try:
        module = re.search(r"\d+\.\d+[.\d]*", _KERNEL_MODULE.read_text())
        if module is not None:
            return module[0]
    except OSError:
        pass
    try:
        number = _asked(ctypes.CDLL("libcuda.so.1").cuDriverGetVersion)
    except (OSError, AttributeError):
        return UNKNOWN
    return f"for CUDA {number // 1000}.{number % 1000 // 10}"


def _asked(function: "ctypes._NamedFuncPointer", *arguments: int) -> int:
    """What a C function writes where its last argument points; OSError if it fails."""
    value = ctypes.c_int()
    if code := function(*arguments, ctypes.byref(value)):
        raise OSError(code, function.__name__)
    return value.value
