"""The linear probe: multinomial logistic regression without bias, with a ridge, at its optimum.

Shapes: f (n, d) features, index (n,) which of the C classes they are of, weights W (C, d). scikit-learn solves; how
close to the optimum it came is measured here, in float64.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from analysis.extra import alone, extra
from coupled.errors import UserError
from coupled.theory import rounding
from coupled.theory.scale import exponent, largest, scaled, shifted

RIDGE: Final = 1e-2
SMALLEST: Final = 1e-4  # the gradient of a fit that is at its optimum, relative to that at 0: no larger
NEED: Final = "the linear probe"
_TRIES: Final = 4  # fits, each from where the last one ended, with a tenth of its tolerance
_ITERATIONS: Final = 1000  # of one fit
_NUMBERS: Final = 1 << 21  # float64 numbers that a block of rows makes


@dataclass(frozen=True)
class Fitted:
    """A fitted classifier without bias: weights (C, d) float64, for features as they are given.

    gradient: the norm of the gradient of the objective, relative to that at W = 0; iterations: what the solver took.
    """

    weights: Tensor
    gradient: float
    iterations: int

    @property
    def converged(self) -> bool:
        return self.gradient <= SMALLEST


def linear_probe(
    f: Tensor, index: Tensor, classes: int, *, ridge: float = RIDGE, start: Fitted | None = None
) -> Fitted:
    """The minimiser of docs/theory.md (87), by Newton's method; `start`: a fit of like shots, to set out from.

    All classes are in `index`. Where the features say nothing linear about the classes, W = 0 is the optimum. UserError
    for one class, features that are not finite, and where scikit-learn is not installed.
    """
    checked(f, index, classes)
    size = _Size(f)
    x, strength = size.ordinary(f), ridge / len(f)
    at_zero = gradient(x.new_zeros(classes, f.shape[1]), x, index, strength).norm().item()
    # Rows and residuals, 1/C less whether it is the class, have norm 1 at most, on average.
    if at_zero <= rounding.of_sum(float(len(f))):
        return Fitted(x.new_zeros(classes, f.shape[1]), 0.0, 0)
    weights = x.new_zeros(classes, f.shape[1]) if start is None else size.of_ordinary(start.weights)
    iterations, remaining = 0, math.inf
    with alone(NEED):
        fit = _solver(x, index, classes, strength)
        for attempt in range(_TRIES):
            # The solver looks at the largest entry; most of them are smaller.
            tolerance = SMALLEST * at_zero * 3 / math.sqrt(weights.numel()) / 10**attempt
            weights, taken = fit(weights, tolerance)
            iterations += taken
            remaining = gradient(weights, x, index, strength).norm().item() / at_zero
            if remaining <= SMALLEST:
                break
    return Fitted(size.of_given(weights), remaining, iterations)


def predicted(fitted: Fitted, f: Tensor) -> Tensor:
    """The class (n,) whose score is largest; of equal ones the first."""
    # A product of ordinary sizes is in range; a power of two changes no order.
    weights, by = scaled(fitted.weights), -exponent(largest(f))
    step = max(1, _NUMBERS // max(weights.shape))
    blocks = (rows.double() for rows in f.split(step))
    return torch.cat([((shifted(rows, by) if bool(by) else rows) @ weights.T).argmax(1) for rows in blocks])


def gradient(weights: Tensor, f: Tensor, index: Tensor, strength: float) -> Tensor:
    """The gradient (C, d) of the mean cross-entropy of softmax(W f) plus (strength/2)·‖W‖²; float64."""
    sums = torch.zeros_like(weights)
    step = max(1, _NUMBERS // max(weights.shape))
    for rows, own in zip(f.split(step), index.split(step), strict=True):
        shares = (rows.double() @ weights.T).softmax(1)
        shares[torch.arange(len(own)), own] -= 1
        sums += shares.T @ rows.double()
    return sums / len(f) + strength * weights


class _Size:
    """The root mean square norm of features: divided by it, they have the norm 1."""

    def __init__(self, f: Tensor) -> None:
        self._exponent = exponent(largest(f))
        self._rest = shifted(f.double(), -self._exponent).square().sum(1).mean().sqrt().item() or 1.0

    def ordinary(self, f: Tensor) -> Tensor:
        return shifted(f.double(), -self._exponent) / self._rest

    def of_ordinary(self, weights: Tensor) -> Tensor:
        """Weights for the features divided by their size, of those for features as given."""
        return shifted(weights, self._exponent) * self._rest

    def of_given(self, weights: Tensor) -> Tensor:
        """The reverse."""
        return shifted(weights / self._rest, -self._exponent)


def _solver(x: Tensor, index: Tensor, classes: int, strength: float) -> Callable[[Tensor, float], tuple[Tensor, int]]:
    """fit(weights, tolerance): weights (C, d) from those on, and how many iterations it took."""
    features, of_rows = x.numpy(), index.numpy()
    # Of two classes scikit-learn fits v = w_1 − w_0 with (its strength/2)·‖v‖²: w_1 = −w_0 = v/2, so ‖W‖² is ‖v‖²/2.
    binary = classes == 2
    model = extra("sklearn.linear_model", "scikit-learn", NEED).LogisticRegression(
        C=1 / (len(x) * (strength / 2 if binary else strength)),
        fit_intercept=False,
        solver="newton-cg",
        max_iter=_ITERATIONS,
        warm_start=True,
    )

    def fit(weights: Tensor, tolerance: float) -> tuple[Tensor, int]:
        model.coef_ = (weights[1:] - weights[:1] if binary else weights).numpy()
        model.set_params(tol=tolerance).fit(features, of_rows)
        weights = torch.from_numpy(np.array(model.coef_))
        return torch.cat([-weights / 2, weights / 2]) if binary else weights, int(model.n_iter_[0])

    return fit


def checked(f: Tensor, index: Tensor, classes: int) -> None:
    if classes < 2:
        raise UserError(f"{NEED} of {classes} class", "at least two are needed")
    assert index.unique().tolist() == list(range(classes)), "every class has a shot"
    if not largest(f).isfinite():
        raise UserError(f"{NEED}: features that are not finite", "no probe is defined on them")
