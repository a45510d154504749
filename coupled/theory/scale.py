"""The size of features: measures that do not depend on it bring them to an ordinary size, by exact powers of two.

The sums behind CKA hold fourth powers of features, and its null band holds products of two such sums. In float64 they
stay in range, for any number of samples, if the features lie between 2^-64 and 2^64. A power of two changes no digit,
so a value is the same at every size; features of an ordinary size are left as they are.

Shapes: x (…, n, d): n rows of one representation, leading axes are batched, each at a size of its own.
"""

import torch
from torch import Tensor

_ORDINARY = 64  # the exponents of ordinary sizes: −64 to 64
# Norms whose squares have all their digits in float64.
_LEAST_NORM, _LARGEST_NORM = 2.0**-400, 2.0**400


def largest(x: Tensor, *, rows: bool = False) -> Tensor:
    """The largest |entry|, float64 (…), or (…, n) of every row; NaN if an entry is."""
    axes = (-1,) if rows else (-2, -1)
    return torch.maximum(x.amax(axes), -x.amin(axes)).double()


def exponent(size: Tensor) -> Tensor:
    """The e for which a size is 2^e times a number in [½, 1), int64; 0 for ordinary sizes, for 0, NaN and infinity."""
    exponents = size.frexp().exponent.long()
    ordinary = (exponents.abs() <= _ORDINARY) | (size == 0) | ~size.isfinite()
    return torch.where(ordinary, 0, exponents)


def shifted(x: Tensor, by: Tensor) -> Tensor:
    """x · 2^by in float64, exact where the result is a normal number; |by| ≤ 4088. x itself where all of `by` is 0."""
    if not by.any():
        return x
    # In four steps: 2^by itself may be out of range. Made of its bits: pow may round.
    quarter = by // 4
    for part in (quarter, quarter, quarter, by - 3 * quarter):
        x = x.double() * ((part + 1023) << 52).view(torch.float64)
    return x


def scaled(x: Tensor) -> Tensor:
    """x (…, n, d) at an ordinary size; x itself, in its own precision, if it has one."""
    return shifted(x, -exponent(largest(x))[..., None, None])


def scaled_rows(x: Tensor) -> Tensor:
    """The same of every row of x (…, n, d) by itself."""
    return shifted(x, -exponent(largest(x, rows=True))[..., None])


def unit_rows(x: Tensor) -> Tensor:
    """Rows of norm 1 in float64, whatever their size; a zero row stays zero."""
    x = x.double()
    norm = x.norm(dim=-1, keepdim=True)
    # A zero row is out of range too; scaling it does no harm.
    if not ((norm > _LEAST_NORM) & (norm < _LARGEST_NORM)).all():
        x = scaled_rows(x)
        norm = x.norm(dim=-1, keepdim=True)
    return x / norm.clamp(min=_LEAST_NORM)
