"""How much of a computed float64 number may be rounding: less than that is no measurement, and no difference.

What decides whether a value is defined, or two numbers are equal, must not hang on a last digit, which another machine
computes differently. All bounds are those of the worst case: rounding that adds up in one direction.
"""

from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T", float, Tensor)


def of_sum(terms: T) -> T:
    """Of a sum of n terms, relative to the sum of their sizes: (n + 100) · 2^-53.

    A rounding for every addition, in any order, and a hundred for what is done before and after: products, squares.
    """
    return (terms + 100) * 2.0**-53


def of_cosines(d: int, given: torch.dtype = torch.float64) -> float:
    """How far two computed cosines of rows of d numbers may be apart that are equal: (2d + 4) · 2^-52 + 4u.

    Each is off by half of that at most: in float64 d for the sum of its products (Σ|u_k v_k| ≤ 1, in any order) and
    d/2 + 2 for the norm and the division of either row, times 2^-53; and u for either row as it was given, whose
    numbers are rounded already: u is half of `given`'s epsilon, 2^-24 for float32.
    """
    return (2 * d + 4) * 2.0**-52 + 2 * torch.finfo(given).eps
