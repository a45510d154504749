"""The linear probes of the papers: Adam for a fixed number of steps, no penalty, and so no optimum.

Shapes: f (n, d) features, index (n,) which of the C classes they are of, weights (C, d).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor

from analysis.arrays.linear_probe import Fitted, checked, gradient
from coupled.address import Purpose, permutation

Protocol = Literal["p1", "p2"]


@dataclass(frozen=True)
class Recipe:
    """How a paper's released code trains its probe.

    column: the features it is on; batch: shots in a step, None for all; epochs, and those of two classes.
    """

    column: Literal["h", "z"]
    rate: float
    batch: int | None
    epochs: int
    epochs_of_two: int


RECIPES: Final[dict[Protocol, Recipe]] = {
    "p1": Recipe("z", 3e-4, 256, 200, 501),
    "p2": Recipe("h", 3e-3, None, 300, 300),
}


def adam_probe(f: Tensor, index: Tensor, classes: int, protocol: Protocol) -> Fitted:
    """A probe trained as docs/theory.md (89) says, from W = 0, in float64; shots are visited in orders by address.

    Its gradient is that of the mean cross-entropy: it says how far from an optimum the probe was left. All classes are
    in `index`. UserError for one class, and features that are not finite.
    """
    checked(f, index, classes)
    recipe, x = RECIPES[protocol], f.double()
    weights = x.new_zeros(classes, f.shape[1])
    at_zero = gradient(weights, x, index, 0.0).norm().item()
    adam = torch.optim.Adam([weights], lr=recipe.rate)
    steps = 0
    for batch in _batches(recipe, len(x), classes):
        weights.grad = gradient(weights, x[batch], index[batch], 0.0)
        adam.step()
        steps += 1
    remaining = gradient(weights, x, index, 0.0).norm().item()
    return Fitted(weights, remaining / at_zero if at_zero else 0.0, steps)


def _batches(recipe: Recipe, n: int, classes: int) -> Iterator[Tensor | slice]:
    """Which shots each step takes."""
    for epoch in range(recipe.epochs_of_two if classes == 2 else recipe.epochs):
        if recipe.batch is None:
            yield slice(None)
        else:
            yield from permutation(0, Purpose.PROBE_ORDER, n, a=epoch).split(recipe.batch)
