"""Sums over samples from which linear CKA and RSA follow: one pass, float64, additive over shards and ranks.

Shapes: x (…, n, d) and y (…, n, e): n samples of two representations, leading axes are batched (steps, say). Below,
x_i and y_i are rows after the shift, q_i = ‖x_i‖² and u_i = ‖y_i‖²: docs/theory.md (38).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import torch
from torch import Tensor

from coupled.errors import UserError
from coupled.theory.scale import scaled, scaled_rows, unit_rows

_CHUNK_NUMBERS = 4 << 20  # of x and y together that are held as float64 at a time: 32 MiB
_LEAST_ROWS = 64  # fewer rows a product would waste more time than the memory is worth


class Cross(NamedTuple):
    """The sums of one ordered pair of representations, as the formulas of CKA and RSA take them."""

    n: int
    shift_x: Tensor  # (…, d)
    shift_y: Tensor  # (…, e)
    xy: Tensor  # (…, d, e)  Σ x_i y_iᵀ
    x: Tensor  # (…, d)  Σ x_i
    y: Tensor  # (…, e)  Σ y_i
    q: Tensor  # (…)  Σ q_i
    u: Tensor  # (…)  Σ u_i
    qu: Tensor  # (…)  Σ q_i u_i
    ux: Tensor  # (…, d)  Σ u_i x_i
    qy: Tensor  # (…, e)  Σ q_i y_i


@dataclass(frozen=True)
class Moments:
    """Sums of a pair of representations about stored shifts; `+` joins samples, `-` takes them out again.

    Exact for any shifts, accurate where these are near the means: see `Moments.of`. Rows count as they are given: if
    float64 cannot hold their fourth powers (about 1e±77), CKA of them is NaN. `coupled.theory.scale` brings a whole
    representation to another size; a stream is divided by one power of two, the same for all of its shards.
    """

    unit: bool  # rows were normalised before the shift, as cosine similarity wants them
    shift_x: Tensor
    shift_y: Tensor
    n: int
    xy: Tensor
    xx: Tensor
    yy: Tensor
    x: Tensor
    y: Tensor
    q: Tensor
    u: Tensor
    qu: Tensor
    qq: Tensor
    uu: Tensor
    qx: Tensor
    qy: Tensor
    ux: Tensor
    uy: Tensor

    @staticmethod
    def of(x: Tensor, y: Tensor, shift_x: Tensor, shift_y: Tensor, *, unit: bool = False) -> "Moments":
        """The moments of x (…, n, d) and y (…, n, e) about shift_x (…, d) and shift_y (…, e); n may be 0.

        unit: rows are divided by their norms first (a zero row stays zero), and the shifts are of such rows. The
        input is made float64 a few rows at a time, never whole.
        """
        assert x.shape[:-1] == y.shape[:-1], (x.shape, y.shape)
        total = _nothing(x, y, shift_x.double(), shift_y.double(), unit)
        for rows in _chunks(x, y):
            total._add_rows(_rows(x[..., rows, :], unit), _rows(y[..., rows, :], unit))
        return replace(total, n=x.shape[-2])

    @staticmethod
    def about_mean(x: Tensor, y: Tensor, *, unit: bool = False) -> "Moments":
        """The moments about the samples' own means, where they are most accurate; two passes over the input."""
        return Moments.of(x, y, mean_row(x, unit=unit), mean_row(y, unit=unit), unit=unit)

    def __add__(self, other: "Moments") -> "Moments":
        self._must_match(other)
        return replace(self, **{name: getattr(self, name) + getattr(other, name) for name in _SUMS})

    def __sub__(self, other: "Moments") -> "Moments":
        self._must_match(other)
        return replace(self, **{name: getattr(self, name) - getattr(other, name) for name in _SUMS})

    def unsqueeze(self, axis: int) -> "Moments":
        """The same with one more leading axis, of length 1."""
        tensors = {name: getattr(self, name).unsqueeze(axis) for name in (*_SUMS, "shift_x", "shift_y") if name != "n"}
        return replace(self, **tensors)

    def _must_match(self, other: "Moments") -> None:
        for name in ("shift_x", "shift_y"):
            if not _same(getattr(self, name), getattr(other, name)):
                raise UserError(
                    f"moments with different {name}", "only moments about equal shifts add", "store one shift for all"
                )
        if self.unit != other.unit:
            raise UserError("moments of rows and of unit rows", "only moments of the same kind add")

    def _add_rows(self, x: Tensor, y: Tensor) -> None:
        """Add float64 rows to these sums in place: only `of` may, before anybody else has them."""
        x = x - self.shift_x[..., None, :]
        y = y - self.shift_y[..., None, :]
        q, u = x.square().sum(-1), y.square().sum(-1)
        for total, left, right in ((self.xy, x, y), (self.xx, x, x), (self.yy, y, y)):
            total += left.mT @ right
        self.x.add_(x.sum(-2))
        self.y.add_(y.sum(-2))
        self.q.add_(q.sum(-1))
        self.u.add_(u.sum(-1))
        self.qu.add_((q * u).sum(-1))
        self.qq.add_(q.square().sum(-1))
        self.uu.add_(u.square().sum(-1))
        for total, weights, rows in ((self.qx, q, x), (self.qy, q, y), (self.ux, u, x), (self.uy, u, y)):
            total += (weights[..., None, :] @ rows)[..., 0, :]

    @property
    def cross(self) -> Cross:
        """x with y."""
        return Cross(
            n=self.n,
            shift_x=self.shift_x,
            shift_y=self.shift_y,
            xy=self.xy,
            x=self.x,
            y=self.y,
            q=self.q,
            u=self.u,
            qu=self.qu,
            ux=self.ux,
            qy=self.qy,
        )

    @property
    def of_x(self) -> Cross:
        """x with itself."""
        return Cross(
            n=self.n,
            shift_x=self.shift_x,
            shift_y=self.shift_x,
            xy=self.xx,
            x=self.x,
            y=self.x,
            q=self.q,
            u=self.q,
            qu=self.qq,
            ux=self.qx,
            qy=self.qx,
        )

    @property
    def of_y(self) -> Cross:
        """y with itself."""
        return Cross(
            n=self.n,
            shift_x=self.shift_y,
            shift_y=self.shift_y,
            xy=self.yy,
            x=self.y,
            y=self.y,
            q=self.u,
            u=self.u,
            qu=self.uu,
            ux=self.uy,
            qy=self.uy,
        )


def _same(a: Tensor, b: Tensor) -> bool:
    """NaN is the same as NaN: of steps in a batch one that is not finite must not refuse the others."""
    return torch.equal(a, b) or (a.shape == b.shape and torch.allclose(a, b, rtol=0, atol=0, equal_nan=True))


_SUMS = [field.name for field in fields(Moments) if field.name not in ("unit", "shift_x", "shift_y")]


def mean_row(x: Tensor, *, unit: bool = False) -> Tensor:
    """The mean over samples of x (…, n, d), or of its unit rows: float64 (…, d), a few rows at a time."""
    total = x.new_zeros((*x.shape[:-2], x.shape[-1]), dtype=torch.float64)
    for rows in _chunks(x):
        total += _rows(x[..., rows, :], unit).sum(-2)
    return total / max(1, x.shape[-2])


def narrow(x: Tensor, *, unit: bool = False) -> Tensor:
    """The samples x (…, n, d) at an ordinary size, and in n features where d is more; x itself if it is like that.

    CKA sees neither a common factor nor a rotation, and RSA (`unit`) no factor of a row; with n features sums cost n²
    instead of d². Without `unit` rows lose their mean as well where they are rotated, which CKA does not see either
    and which keeps the rotation's rounding at the size of the spread.
    """
    x = x if unit else scaled(x)
    if x.shape[-2] >= x.shape[-1]:
        return x
    x = scaled_rows(x.double()) if unit else x.double()
    x = x if unit else x - x.mean(-2, keepdim=True)
    return torch.linalg.qr(x.mT, mode="r").R.mT


def _rows(x: Tensor, unit: bool) -> Tensor:
    return unit_rows(x) if unit else x.double()


def _chunks(*sides: Tensor) -> Iterator[slice]:
    batch = math.prod(sides[0].shape[:-2])
    size = max(_LEAST_ROWS, _CHUNK_NUMBERS // max(1, batch * sum(side.shape[-1] for side in sides)))
    return (slice(start, start + size) for start in range(0, sides[0].shape[-2], size))


def _nothing(x: Tensor, y: Tensor, shift_x: Tensor, shift_y: Tensor, unit: bool) -> Moments:
    """The moments of no samples, in tensors of their own."""
    batch, d, e = x.shape[:-2], x.shape[-1], y.shape[-1]

    def zeros(*shape: int) -> Tensor:
        return shift_x.new_zeros((*batch, *shape))

    scalars = {name: zeros() for name in ("q", "u", "qu", "qq", "uu")}
    vectors = {name: zeros(d) for name in ("x", "qx", "ux")} | {name: zeros(e) for name in ("y", "qy", "uy")}
    return Moments(unit, shift_x, shift_y, 0, xy=zeros(d, e), xx=zeros(d, d), yy=zeros(e, e), **scalars, **vectors)
