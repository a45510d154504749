"""What the array functions take: tensors, arrays and what NumPy makes one of, as tensors; the rest is one line.

Shapes: features (…, n, d), labels (n,).
"""

from typing import Any, Final

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from coupled.errors import UserError

Array = Tensor | NDArray[Any]

_KEPT: Final = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_REAL, _WHOLE = "real numbers are needed", "integers are needed"


def pair(x: Array, y: Array, name: str, least: int) -> tuple[Tensor, Tensor]:
    """Both as tensors on the device of x; raises UserError unless they are (…, n, d) and (…, n, e), n ≥ least."""
    a, b = numbers(x, name), numbers(y, name)
    shapes = f"{name} of shapes {tuple(a.shape)} and {tuple(b.shape)}"
    if a.ndim < 2 or b.ndim < 2 or a.shape[:-1] != b.shape[:-1]:
        raise UserError(shapes, "(…, n, d) and (…, n, d') are needed: the same n samples in both")
    if a.shape[-2] < least:
        raise UserError(shapes, f"at least {least} samples are needed, given {a.shape[-2]}")
    if 0 in (a.shape[-1], b.shape[-1]):
        raise UserError(shapes, "(…, n, d) and (…, n, d') are needed: at least one feature in each")
    return a, b.to(a.device)


def labelled(h: Array, labels: Array, name: str) -> tuple[Tensor, NDArray[Any]]:
    """Features (n, d) as a tensor on the CPU and their labels, integers (n,); raises UserError for anything else."""
    f, classes = numbers(h, name).cpu(), integers(labels, name)
    if f.ndim != 2 or classes.shape != f.shape[:1] or 0 in f.shape:
        shapes = f"{name} of features {tuple(f.shape)} and labels {classes.shape}"
        raise UserError(shapes, "(n, d) and (n,) are needed, n and d at least 1")
    return f, classes


def unlabelled(h: Array, name: str) -> Tensor:
    """Features (n, d) as a tensor on the CPU; raises UserError for anything else."""
    f = numbers(h, name).cpu()
    if f.ndim != 2 or 0 in f.shape:
        raise UserError(f"{name} of features {tuple(f.shape)}", "(n, d) are needed, n and d at least 1")
    return f


def numbers(values: Array, name: str) -> Tensor:
    """Real numbers as a tensor without a gradient, of their own float type or else in float64.

    A tensor and an array share memory with the result where that can be helped. Raises UserError for what is not
    numbers, or not all there.
    """
    if isinstance(values, Tensor):
        return _of_tensor(values, name)
    array = _array(values, name)
    if array.dtype.kind not in "fiu":
        raise _unfit(name, f"an array of {array.dtype}", _REAL)
    if array.dtype.kind != "f" or array.dtype.itemsize > 8:
        array = _float64(array, name)
    # torch takes neither another byte order, backwards strides nor, without a warning, read-only memory (mapped, say).
    return torch.from_numpy(np.require(array, array.dtype.newbyteorder("="), ["C", "A", "W"]))


def integers(labels: Array, name: str) -> NDArray[Any]:
    """Integers as an array of any shape; raises UserError for anything else."""
    if isinstance(labels, Tensor):
        whole = not (labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool)
        if not whole or labels.layout != torch.strided or labels.is_quantized or labels.device.type == "meta":
            raise _unfit(name, f"labels of {labels.dtype}", _WHOLE, "number the classes")
        return labels.detach().cpu().numpy()
    array = _array(labels, name)
    if array.dtype.kind not in "iu":
        raise _unfit(name, f"labels of {array.dtype}", _WHOLE, "number the classes")
    return array


def _of_tensor(values: Tensor, name: str) -> Tensor:
    dense = values.layout == torch.strided and not values.is_quantized and not values.is_nested
    if not dense or values.device.type == "meta":
        raise _unfit(name, f"a tensor of {values.layout} on {values.device}", "dense numbers are needed")
    if values.is_complex() or values.dtype == torch.bool:
        raise _unfit(name, f"a tensor of {values.dtype}", _REAL)
    tensor = values.detach()
    # Not every other device computes in float64.
    tensor = tensor if tensor.device.type in ("cpu", "cuda") else tensor.cpu()
    return tensor if tensor.dtype in _KEPT else tensor.double()


def _array(values: ArrayLike, name: str) -> NDArray[Any]:
    """What NumPy makes of values; raises UserError if it makes nothing of them, or if they are masked."""
    if np.ma.is_masked(values):
        raise _unfit(name, "a masked array", "no value may be masked", "fill them or leave them out")
    try:
        return np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        reason = str(error).partition(". ")[0]
        raise _unfit(name, f"a {type(values).__name__}", f"it is no array: {reason}") from None


def _float64(array: NDArray[Any], name: str) -> NDArray[np.float64]:
    with np.errstate(over="ignore", under="ignore"):
        values = array.astype(np.float64)
    lost = (np.isfinite(array) != np.isfinite(values)) | ((array != 0) & (values == 0))
    if array.dtype.kind == "f" and lost.any():
        raise _unfit(name, f"an array of {array.dtype}", "it holds numbers that float64 cannot hold", "scale it")
    return values


def _unfit(name: str, given: str, allowed: str, do: str = "convert it") -> UserError:
    return UserError(f"{name} of {given}", allowed, do)
