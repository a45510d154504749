"""The learning rate by step."""

import math

from coupled.config.schema import Optimiser


def learning_rate(optimiser: Optimiser, step: int) -> float:
    """η of the update from `step` to `step` + 1.

    Linear warm-up η·(t+1)/warmup for t < warmup; then constant, or the half cosine that reaches 0 at the horizon.
    """
    peak, warmup, horizon = optimiser.learning_rate, optimiser.warmup, optimiser.horizon
    if step < warmup:
        return peak * (step + 1) / warmup
    if optimiser.schedule == "constant":
        return peak
    assert horizon is not None
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(horizon - warmup, 1)))
