"""Two rows of one column: how they differ."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from coupled.recording.layout import Cause, cause

_NEAR = 9999  # ulps; beyond it their number says nothing that the difference does not


class Sizes(NamedTuple):
    """How far pairs of elements are apart that differ in a byte.

    `largest`, `relative`: max |Δ|, and max |Δ|/max(|a|, |b|), over finite pairs (nan where there is none; relative is
    of floats only). `ulps`: the most floats that lie between a finite pair. Pairs apart from these: `nans` of which one
    is NaN, `payloads` of two NaNs of other bits, `infinite` with an infinity. Counted in them: `zeros`, of 0 and −0.
    """

    largest: float
    relative: float
    ulps: int
    nans: int
    payloads: int
    infinite: int
    zeros: int


class RowDifference(NamedTuple):
    """How a column differs at one step.

    `differing` of `total` elements (of a column of digests: digests, whose `sizes` are None) differ in their bytes.
    `layer`, `largest_layer`, of per-layer columns: the first in the network's order that differs, and the one that does
    most ("" where no finite pair differs).
    """

    stream: str
    owner: str
    column: str
    differing: int
    total: int
    sizes: Sizes | None
    layer: str = ""
    largest_layer: str = ""

    @property
    def name(self) -> str:
        return f"{self.column} of {self.stream}/{self.owner}" + (f" ({self.layer})" if self.layer else "")

    @property
    def layers(self) -> str:
        """ "encoder.stem.weight, most encoder.bn.bias"; "" of other columns."""
        most = f", most {self.largest_layer}" if self.largest_layer not in ("", self.layer) else ""
        return self.layer + most

    @property
    def size(self) -> str:
        """The difference in words."""
        if self.sizes is None:
            return f"{self.differing} of {self.total} digests"
        return ", ".join([f"{self.differing} of {self.total} elements", *in_words(self.sizes)])

    @property
    def cause(self) -> Cause:
        """What differs first where this column does."""
        return cause(self.stream, self.owner, self.column)


def in_words(sizes: Sizes) -> list[str]:
    """How far apart, in words; nothing that is nothing."""
    parts = []
    if sizes.largest == sizes.largest:  # not NaN
        relative = [f"relative {sizes.relative:.2g}"] if sizes.relative > 0 else []
        near = [f"{sizes.ulps} ulp"] if 0 < sizes.ulps <= _NEAR else []
        parts.append(f"largest {sizes.largest:.3g}" + (f" ({', '.join(relative + near)})" if relative + near else ""))
    for count, of in (
        (sizes.zeros, "of 0 and −0"),
        (sizes.nans, "NaN in one only"),
        (sizes.payloads, "NaN in both, of other bits"),
        (sizes.infinite, "with an infinity"),
    ):
        parts += [f"{count} {of}"] if count else []
    return parts


def row_difference(
    stream: str, owner: str, column: str, a: np.ndarray, b: np.ndarray, layers: Sequence[str]
) -> RowDifference | None:
    """None where both rows have the same bytes. Shapes and dtypes are equal. `layers`: what a row's elements are of."""
    if a.dtype == np.uint8:  # digests: how far they are apart means nothing
        width = a.shape[-1]
        others = (a.reshape(-1, width) != b.reshape(-1, width)).any(axis=1)
        count = int(others.sum())
        return RowDifference(stream, owner, column, count, len(others), None) if count else None
    one, other = np.ravel(a), np.ravel(b)
    at = np.flatnonzero(differing(one, other))
    if not len(at):
        return None
    x, y = one[at], other[at]
    first = most = ""
    if len(one) == len(layers):
        first = layers[int(at[0])]
        fine = np.isfinite(x) & np.isfinite(y)
        gaps = np.abs(np.subtract(x, y, out=np.zeros_like(x), where=fine))
        most = layers[int(at[int(np.argmax(gaps))])] if fine.any() else ""
    return RowDifference(stream, owner, column, len(at), len(one), sizes_of(x, y), first, most)


def differing(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Which elements differ in a byte, bool (n,); x and y (n,) of one dtype. 0 and −0 do, and NaNs of other bits."""
    bits = np.dtype(f"u{x.dtype.itemsize}")
    return np.ascontiguousarray(x).view(bits) != np.ascontiguousarray(y).view(bits)


def sizes_of(x: np.ndarray, y: np.ndarray) -> Sizes:
    """The sizes of pairs that all differ in a byte, (n,) each, n ≥ 1."""
    if x.dtype.kind != "f":
        gap = np.abs(x.astype(np.float64) - y.astype(np.float64))
        return Sizes(float(gap.max()), float("nan"), 0, 0, 0, 0, 0)
    nans = np.isnan(x).astype(int) + np.isnan(y)
    fine = np.isfinite(x) & np.isfinite(y)
    one, both = int((nans == 1).sum()), int((nans == 2).sum())
    infinite = int((~fine & (nans == 0)).sum())
    if not fine.any():
        return Sizes(float("nan"), float("nan"), 0, one, both, infinite, 0)
    u, v = x[fine].astype(np.float64), y[fine].astype(np.float64)
    with np.errstate(over="ignore"):  # the difference of two finite numbers may be infinite
        gap, scale = np.abs(u - v), np.maximum(np.abs(u), np.abs(v))
    relative = np.divide(gap, scale, out=np.zeros_like(gap), where=scale > 0)
    zeros = int((scale == 0).sum())
    return Sizes(float(gap.max()), float(relative.max()), ulps(x[fine], y[fine]), one, both, infinite, zeros)


def ulps(x: np.ndarray, y: np.ndarray) -> int:
    """The most floats of their type that lie between a pair of finite ones; −0 and 0 are one apart."""
    one, other = _ordered(x), _ordered(y)
    return int((np.maximum(one, other) - np.minimum(one, other)).max())


def _ordered(values: np.ndarray) -> np.ndarray:
    """Unsigned integers in the order of the floats, next to each other where these are."""
    bits = np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}")
    sign = bits.dtype.type(1 << (8 * values.dtype.itemsize - 1))
    return np.where(bits & sign, ~bits, bits | sign)
