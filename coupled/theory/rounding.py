"""How much of a computed float64 number may be rounding: a smaller number is no measurement, and no difference.

Whether a value is defined, or two numbers are equal, must not depend on a last digit, which another machine computes
differently. All bounds are those of the worst case: rounding that adds up in one direction.
"""

from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T", float, Tensor)


def of_sum(terms: T) -> T:
    """Of a sum of n terms, relative to the sum of their sizes: (n + 100) · 2^-53.

    One rounding for every addition, in any order, and a hundred for the operations before and after: products, squares.
    """
    return (terms + 100) * 2.0**-53


def of_cosines(d: int) -> float:
    """How far two computed cosines of float64 rows of d numbers may be apart that are equal: (2d + 6) · 2^-52.

    Each is off by (2d + 6) · 2^-53 at most: d for the sum of its products (Σ|u_k v_k| ≤ 1, in any order), d/2 + 2 for
    the norm and the division of either row, 1 for either row as it was given, whose numbers are rounded already.
    """
    return (2 * d + 6) * 2.0**-52


def tie(cosines: Tensor, d: int, given: torch.dtype) -> Tensor:
    """The same for each of some cosines c (float64, any shape), of rows that were given in the precision `given`:
    (2d + 4) · 2^-52 + 4u·sin θ + 12u², u half the epsilon of `given` (2^-24 for float32): docs/theory.md (49).

    The numbers of a row are off by u of themselves at most, so its direction turns by no more than that, the angle θ of
    two rows by 2u, and its cosine by 2u·sin θ + 2u². Near 1, where all cosines of a tight class lie, that is next to
    nothing. sin θ is that of c, with what c itself may be off by.
    """
    computed, unit = (2 * d + 4) * 2.0**-52, torch.finfo(given).eps / 2
    sine = ((1 - cosines) * (1 + cosines)).clamp(min=0).add(computed).sqrt()
    return computed + 4 * unit * sine + 12 * unit**2
