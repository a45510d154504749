"""Samples and their classes for measures of geometry: centred features in float64, some rows at a time.

Shapes: f (n, d) features, labels (n,), C classes that are present. Moments are population moments: divisors n and n_c.
Features keep the size at which they were given; an ordinary size is 2^-exponent times theirs (coupled/theory/scale.py).
"""

from collections.abc import Iterator
from functools import cached_property
from typing import Final

import numpy as np
import torch
from torch import Tensor

from analysis.arrays.conversion import Array, labelled, unlabelled
from coupled.errors import UserError
from coupled.theory import rounding
from coupled.theory.scale import exponent, largest, shifted

CHUNK: Final = 1 << 19  # float64 numbers that a step of a loop over rows holds
HELD: Final = 1 << 24  # features up to so many numbers are held in float64 from the start: it saves half the time
_HALF_STEP: Final = 2.0**-53  # what a float64 number may be off by, relative to its size


class Samples:
    """Features f (n, d), at an ordinary size: their `mean` (d,), and rows less that mean."""

    def __init__(self, f: Tensor) -> None:
        self._given = f.double() if f.numel() <= HELD else f
        self.n, self.d = f.shape
        self.exponent = exponent(largest(f))
        # Twice: the first mean is as far off as a sum of n rounds, the second as far as one number does.
        self.mean = torch.zeros(self.d, dtype=torch.float64)
        for _ in range(2):
            rest = torch.zeros_like(self.mean)
            for part, _ in self.parts():
                rest += part.sum(0)
            self.mean = self.mean + rest / self.n

    @classmethod
    def of(cls, h: Array, name: str) -> "Samples":
        """From what a user gives; UserError unless it is (n, d)."""
        return cls(unlabelled(h, name))

    def parts(self, width: int = 0) -> Iterator[tuple[Tensor, slice]]:
        """Centred rows (·, d) at an ordinary size, and which ones; `width`: numbers a row that the caller will hold."""
        size = max(1, CHUNK // max(self.d, width))
        for start in range(0, self.n, size):
            rows = slice(start, min(start + size, self.n))
            # Rows of their own, which the caller may write to.
            yield shifted(self._given[rows].double(), -self.exponent) - self.mean, rows

    def given_size(self, values: Tensor, power: int = 1) -> Tensor:
        """Lengths (power 1) or squared ones (2) at the size of the features as they were given."""
        return shifted(values, power * self.exponent)

    @cached_property
    def finite(self) -> bool:
        return bool(largest(self._given).isfinite())

    @property
    def spread(self) -> Tensor:
        """The largest ‖f − mean‖."""
        return self._norms[0]

    @property
    def rounding_of_rows(self) -> Tensor:
        """How far two rows may be apart that are equal but for the rounding of what was given."""
        return 2 * _HALF_STEP * (self.spread + self.mean.norm())

    def variance(self, name: str) -> Tensor:
        """Total variance E‖f − mean‖², the trace of the covariance. UserError where all samples are one point."""
        variance = self._norms[1] / self.n
        if bool(variance <= self.rounding_of_rows.square()):
            raise UserError(f"{name}: all samples have the same features", "it is undefined at variance 0")
        return variance

    @cached_property
    def _norms(self) -> tuple[Tensor, Tensor]:
        """The largest ‖f − mean‖, and the sum of their squares."""
        squares = torch.cat([part.square().sum(1) for part, _ in self.parts()])
        return squares.max().sqrt(), squares.sum()


class Classes(Samples):
    """Labelled features: the classes' labels `names` (C,), sizes (C,), and centres (C, d) about the mean of samples."""

    def __init__(self, h: Array, labels: Array, name: str) -> None:
        """Raises UserError for what is not features and labels."""
        f, of_rows = labelled(h, labels, name)
        self.names, index = np.unique(of_rows, return_inverse=True)
        self.count = len(self.names)
        super().__init__(f)
        self.index = torch.from_numpy(index)
        self.sizes = self.index.bincount().double()
        sums = self.mean.new_zeros(self.count, self.d)
        for part, rows in self.parts():
            sums.index_add_(0, self.index[rows], part)
        self.centres = sums / self.sizes[:, None]

    def check_several(self, name: str) -> None:
        """Raises UserError for one class alone."""
        if self.count < 2:
            raise UserError(f"{name} of {self.count} classes", "at least two are needed")

    def deviations(self, width: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Rows less the centre of their class (·, d), and which class that is (·,)."""
        for part, rows in self.parts(width):
            own = self.index[rows]
            yield part.sub_(self.centres[own]), own

    @cached_property
    def variances(self) -> Tensor:
        """v_i = E‖f − μ_i‖² of each class (C,)."""
        sums = self.centres.new_zeros(self.count)
        for deviations, own in self.deviations():
            sums.index_add_(0, own, deviations.square().sum(1))
        return sums / self.sizes

    @cached_property
    def _squared_distances(self) -> Tensor:
        return torch.cdist(self.centres, self.centres, compute_mode="donot_use_mm_for_euclid_dist") ** 2

    @cached_property
    def one_centre(self) -> Tensor:
        """Which two classes have centres no further apart than rounding, bool (C, C), False on the diagonal."""
        sums = rounding.of_sum(self.sizes[:, None] + self.sizes) * self.spread
        same = self._squared_distances <= (sums + self.rounding_of_rows).square()
        return same.fill_diagonal_(False)

    def squared_distances(self, name: str) -> Tensor:
        """‖μ_i − μ_j‖² (C, C). UserError for one class, and where two centres are no further apart than rounding."""
        self.check_several(name)
        if self.one_centre.any():
            i, j = self.one_centre.nonzero()[0].tolist()
            pair = f"classes {self.names[i]} and {self.names[j]} have one centre"
            raise UserError(f"{name}: {pair}", "it is undefined at distance 0", "leave one of them out")
        return self._squared_distances

    @cached_property
    def squared_distances_or_0(self) -> Tensor:
        """‖μ_i − μ_j‖² (C, C), 0 where the centres are one."""
        return self._squared_distances.masked_fill(self.one_centre, 0.0)

    def over_pairs(self, values: Tensor) -> float:
        """Mean of values (C, C) off the diagonal."""
        off = ~torch.eye(self.count, dtype=torch.bool)
        return values[off].mean().item()
