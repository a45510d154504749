"""The learning rate by step and batch size."""

import math
from typing import Protocol

import torch
from torch import Tensor


class Rates(Protocol):
    """What [optimiser] says of the rate. `reference_batch` is None where scaling = constant; so is `horizon` where
    schedule = constant.
    """

    @property
    def learning_rate(self) -> float: ...
    @property
    def scaling(self) -> str: ...
    @property
    def reference_batch(self) -> int | None: ...
    @property
    def warmup(self) -> int: ...
    @property
    def horizon(self) -> int | None: ...


def peak(optimiser: Rates, batch_size: int) -> float:
    """The rate after warm-up: the given one times (B / reference_batch) to the power 1, 1/2, 1/4 or 0.

    docs/theory.md (67). Linear: Goyal et al. 2017 (arXiv 1706.02677).
    """
    if optimiser.reference_batch is None:
        return optimiser.learning_rate
    factor = batch_size / optimiser.reference_batch
    # Square roots round the same everywhere, a power need not: the rate's bits enter the certificate.
    for _ in range({"linear": 0, "sqrt": 1, "fourth-root": 2}[optimiser.scaling]):
        factor = math.sqrt(factor)
    return optimiser.learning_rate * factor


def learning_rate(optimiser: Rates, step: int, batch_size: int) -> float:
    """η of the update from `step` to `step` + 1, at B = `batch_size`.

    Linear warm-up η·(t+1)/warmup for t < warmup; then constant, or the half cosine that reaches 0 at the horizon:
    docs/theory.md (68).
    """
    highest, warmup, horizon = peak(optimiser, batch_size), optimiser.warmup, optimiser.horizon
    if step < warmup:
        return highest * (step + 1) / warmup
    if horizon is None:
        return highest
    return highest * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(horizon - warmup, 1)))


def learning_rates(optimiser: Rates, steps: int, batch_size: int) -> Tensor:
    """η of the first `steps` updates at once, float64 (steps,), for sums: a cosine may differ in its last bit."""
    highest, warmup, horizon = peak(optimiser, batch_size), optimiser.warmup, optimiser.horizon
    t = torch.arange(steps, dtype=torch.float64)
    rates = torch.full_like(t, highest)
    if horizon is not None:
        rates = highest * 0.5 * (1 + torch.cos(math.pi * (t - warmup) / max(horizon - warmup, 1)))
    return torch.where(t < warmup, highest * (t + 1) / max(warmup, 1), rates)
