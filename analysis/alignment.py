"""Linear CKA and RSA of two sets of features, for tensors and arrays. The formulas are `coupled.alignment`'s."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coupled import alignment
from coupled.errors import UserError

Features = Tensor | NDArray[Any]


def linear_cka(x: Features, y: Features, *, debiased: bool = True) -> float | Features:
    """Linear CKA of x (…, n, d) and y (…, n, d'), computed in float64: a float for one pair, else float64 (…).

    debiased (default): range [−1, 1], negative is legal, n ≥ 4 (Song et al. 2012); biased: range [0, 1], n ≥ 2
    (Kornblith et al. 2019). NaN where a representation is constant over samples or the input is not finite.
    Raises UserError for shapes that do not fit.
    """
    a, b = _pair(x, y, "linear CKA", 4 if debiased else 2)
    return _like(x, alignment.linear_cka(a, b, debiased=debiased))


def rsa(x: Features, y: Features, *, comparison: str = "pearson") -> float | Features:
    """Pearson correlation of the cosine-similarity matrices of x (…, n, d) and y (…, n, d'), off the diagonal.

    In float64: a float for one pair, else float64 (…); range [−1, 1]; n ≥ 3. NaN where all similarities are equal or
    the input is not finite. Raises UserError for shapes that do not fit or another comparison.
    """
    if comparison != "pearson":
        raise UserError(f"comparison = {comparison!r}", 'only "pearson" is there')
    a, b = _pair(x, y, "RSA", 3)
    return _like(x, alignment.rsa(a, b))


def _pair(x: Features, y: Features, name: str, least: int) -> tuple[Tensor, Tensor]:
    a, b = _tensor(x, name), _tensor(y, name)
    shapes = f"{name} of shapes {tuple(a.shape)} and {tuple(b.shape)}"
    if a.ndim < 2 or b.ndim < 2 or a.shape[:-1] != b.shape[:-1]:
        raise UserError(shapes, "(…, n, d) and (…, n, d') are needed: the same n samples in both")
    if a.shape[-2] < least:
        raise UserError(shapes, f"at least {least} samples are needed, given {a.shape[-2]}")
    return a, b


def _tensor(values: Features, name: str) -> Tensor:
    # A copy for arrays: torch cannot share a read-only array, such as a mapped one.
    tensor = values if isinstance(values, Tensor) else torch.tensor(np.asarray(values))
    if tensor.is_complex() or tensor.dtype == torch.bool:
        raise UserError(f"{name} of {tensor.dtype}", "real numbers are needed")
    return tensor.detach().double()


def _like(x: Features, value: Tensor) -> float | Features:
    if value.ndim == 0:
        return value.item()
    return value if isinstance(x, Tensor) else value.numpy()
