"""The ledger's pass over an arm's flat vectors and its reference's; here is chosen how it is taken."""

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

import torch
from torch import Tensor

from coupled.models.segments import Segments


class Product(IntEnum):
    """What is summed over each layer, of the differences D, V, a, b and of what D is made of: docs/theory.md (107)."""

    DD = 0
    VV = 1
    DV = 2
    AA = 3
    BB = 4
    AD = 5
    BD = 6
    AB = 7
    AV = 8
    BV = 9
    INSTABILITY = 10  # D_a²
    OBJECTIVE = 11  # D_b²
    BOTH = 12  # D_a D_b
    ALONG = 13  # D_b D
    START = 14  # D_0²
    MOVES = 15  # D_k²
    REST = 16  # (D − D_0 − D_a − D_b − D_k)²


class Vectors(NamedTuple):
    """Flat vectors of one layout and precision; those that a pass is not about are None.

    Of the arm: weights, momentum buffer, gradient, and the gradient of its reference's loss. Of the reference:
    weights, buffer, gradient. What both began with. I and O, D_a and D_b, D_k, which a pass over a step changes.
    """

    weights: Tensor
    momentum: Tensor | None
    gradient: Tensor | None
    gradient_of_reference: Tensor | None
    reference: Tensor
    reference_momentum: Tensor | None
    reference_gradient: Tensor | None
    start: Tensor | None
    reference_start: Tensor | None
    sum_of_instability: Tensor | None
    sum_of_objective: Tensor | None
    from_instability: Tensor | None
    from_objective: Tensor | None
    moves: Tensor | None


class Passing(NamedTuple):
    """What a pass is about: V, with the accumulators' own momentum; gradients; the split, with D_0 and D_k."""

    momentum: bool
    gradients: bool
    split: bool
    apart: bool
    moves: bool


class Rates(NamedTuple):
    """η, μ and λ of a step."""

    learning_rate: float
    momentum: float
    decay: float


def ledger_pass(layers: Segments, vectors: Vectors, about: Passing, rates: Rates) -> Sequence[Tensor]:
    """Every `Product`, float64 (layers,), 0 where the pass is not about it; then, if it has gradients and the split,
    the accumulators take in the step: docs/theory.md (105).
    """
    if layers.lengths.is_cuda:
        return in_operations(layers, vectors, about, rates)
    from coupled.models.ledger_sums import ledger_sums  # numba takes its time to load

    arrays = [None if flat is None else flat.numpy() for flat in vectors]
    return torch.from_numpy(ledger_sums(arrays, about, rates, *layers.blocks, torch.get_num_threads())).unbind()


def in_operations(layers: Segments, vectors: Vectors, about: Passing, rates: Rates) -> list[Tensor]:
    """`ledger_pass` in operations, as a GPU takes it."""
    d = _less(vectors.reference, vectors.weights)
    a = b = d
    factors = {Product.DD: (d, d)}
    if about.gradients:
        a = _less(vectors.reference_gradient, vectors.gradient_of_reference)
        b = _less(vectors.gradient_of_reference, vectors.gradient)
        factors |= {Product.AA: (a, a), Product.BB: (b, b), Product.AD: (a, d), Product.BD: (b, d), Product.AB: (a, b)}
    if about.momentum:
        v = _less(vectors.reference_momentum, vectors.momentum)
        factors |= {Product.VV: (v, v), Product.DV: (d, v)}
        if about.gradients:
            factors |= {Product.AV: (a, v), Product.BV: (b, v)}
    if about.split:
        factors |= _of_split(vectors, about, d)
    totals = layers.totals((x * y for x, y in factors.values()), vectors.weights.itemsize)
    if about.split and about.gradients:
        _take(vectors.sum_of_instability, vectors.from_instability, a + rates.decay * d, rates)
        _take(vectors.sum_of_objective, vectors.from_objective, b, rates)
    sums, none = dict(zip(factors, totals.unbind(), strict=True)), torch.zeros_like(totals[0])
    return [sums.get(product, none) for product in Product]


def _of_split(vectors: Vectors, about: Passing, d: Tensor) -> dict[Product, tuple[Tensor, Tensor]]:
    """The factors of the products that tell what D is made of."""
    assert vectors.from_instability is not None and vectors.from_objective is not None
    d_a, d_b = vectors.from_instability.double(), vectors.from_objective.double()
    rest = d - d_a - d_b
    factors = {Product.INSTABILITY: (d_a, d_a), Product.OBJECTIVE: (d_b, d_b), Product.BOTH: (d_a, d_b)}
    if about.apart:
        d_0 = _less(vectors.reference_start, vectors.start)
        rest -= d_0
        factors[Product.START] = d_0, d_0
    if about.moves:
        assert vectors.moves is not None
        d_k = vectors.moves.double()
        rest -= d_k
        factors[Product.MOVES] = d_k, d_k
    return factors | {Product.ALONG: (d_b, d), Product.REST: (rest, rest)}


def _less(x: Tensor | None, y: Tensor | None) -> Tensor:
    """x − y in float64."""
    assert x is not None and y is not None
    return x.double() - y


def _take(total: Tensor | None, moved: Tensor | None, step: Tensor, rates: Rates) -> None:
    """I ← μI + step, D_a ← D_a − ηI; without momentum no sum is kept."""
    assert moved is not None
    if total is not None:
        total.copy_(rates.momentum * total.double() + step)
        step = total.double()
    moved.copy_(moved.double() - rates.learning_rate * step)
