"""The stream motion: how far each arm is from its own start, and whether it went where its reference went."""

from functools import partial

import torch
from torch import Tensor

from coupled.models.segments import Sum
from coupled.recording.observation import Observation, Observer, Rows
from coupled.recording.weights import Weights


class Motion(Observer):
    """docs/theory.md (62)."""

    stream = "motion"
    sums = frozenset({Sum.MOVED, Sum.ALONG})

    def state(self, seen: Observation) -> Rows:
        weights = seen.weights
        rows = {
            name: {
                "state.moved": partial(_moved, weights, name),
                "state.layer_moved": partial(_layer_moved, weights, name),
            }
            for name in weights.own
        }
        for name in weights.compared:
            rows[name]["state.cosine"] = partial(_cosine, weights, name)
        return rows


def _moved(weights: Weights, arm: str) -> Tensor:
    """‖w − w_0‖ of all layers, 0-d."""
    return weights.moved(arm).sum().sqrt()


def _layer_moved(weights: Weights, arm: str) -> Tensor:
    """‖w − w_0‖ per layer (layers,)."""
    return weights.moved(arm).sqrt()


def _cosine(weights: Weights, arm: str) -> Tensor:
    """The cosine of an arm's motion and its reference's, 0-d."""
    return cosine(*weights.along(arm))


def cosine(product: Tensor, square: Tensor, reference_square: Tensor) -> Tensor:
    """The cosine of two motions, 0-d, from their product and their squared norms; NaN where either is 0."""
    # The product of two squared norms may leave float64 where neither does, so its root is taken of their digits, and
    # their powers of two are halved. One root of both: for equal motions it is the squared norm itself, the cosine 1.
    digits, powers = zip(*map(torch.frexp, (square, reference_square)), strict=True)
    power = powers[0] + powers[1]
    half = power // 2
    root = (digits[0] * digits[1] * _power_of_two(power - 2 * half)).sqrt()
    quarter = half // 2
    return (product * _power_of_two(-quarter) * _power_of_two(quarter - half) / root).clamp(-1.0, 1.0)


def _power_of_two(exponent: Tensor) -> Tensor:
    """2^exponent, made of its bits: |exponent| ≤ 1022."""
    return ((exponent.long() + 1023) << 52).view(torch.float64)
