"""Initial weights by address: one table of layer rules, no draw from a global generator.

Parameter names are part of the address, so that adding a layer or building in another order changes no other weight.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from coupled.address import Purpose, name_word, normal, words
from coupled.models.batchnorm import BatchNorm
from coupled.models.flat import FlatState

Rule = Callable[[int, str, torch.Size, int], Tensor]


def _gaussian(std: Callable[[torch.Size], float]) -> Rule:
    def rule(seed: int, name: str, shape: torch.Size, draw: int) -> Tensor:
        values = normal(seed, Purpose.INIT, shape.numel(), a=name_word(name), b=draw)
        return (values * std(shape)).view(shape)

    return rule


def _constant(value: float) -> Rule:
    return lambda seed, name, shape, draw: torch.full(shape, value, dtype=torch.float64)


# conv: He et al. 2015, fan-out, as torchvision's ResNets; linear: variance 1/fan-in.
RULES: dict[tuple[type[nn.Module], str], Rule] = {
    (nn.Conv2d, "weight"): _gaussian(lambda shape: math.sqrt(2 / (shape[0] * shape[2] * shape[3]))),
    (nn.Linear, "weight"): _gaussian(lambda shape: 1 / math.sqrt(shape[1])),
    (BatchNorm, "weight"): _constant(1.0),
    (BatchNorm, "bias"): _constant(0.0),
    (BatchNorm, "running_mean"): _constant(0.0),
    (BatchNorm, "running_var"): _constant(1.0),
}


def initialise(network: nn.Module, state: FlatState, seed: int, draw: int) -> None:
    """Fill weights and buffers from (seed, name, draw): float64 values, rounded once to the state's precision.

    Draw 0 is the initialisation that arms share; independent arms have draws of their own.
    """
    filled = state.named_weights() | state.named_buffers()
    assert len({name_word(name) for name in filled}) == len(filled), "two parameter names share an address"
    for name, tensor in filled.items():
        path, _, leaf = name.rpartition(".")
        rule = RULES[type(network.get_submodule(path)), leaf]
        with torch.no_grad():
            tensor.copy_(rule(seed, name, tensor.shape, draw))


def nudge(state: FlatState, seed: int, scale: float | str, draw: int) -> None:
    """Move every weight, sign by address: "ulp" to its next float up or down, s to w·(1 ± s). Buffers are untouched."""
    for segment in state.weight_segments:
        weight = segment.view(state.weights)
        low_bit = words(seed, Purpose.NUDGE, weight.numel(), a=name_word(segment.name), b=draw) & 1
        sign = (2 * low_bit - 1).to(weight).view(weight.shape)
        if isinstance(scale, str):
            weight.copy_(torch.nextafter(weight, sign * torch.inf))
        else:
            # In float64 and rounded once: 1 ± s itself would round to unequal steps up and down in float32.
            weight.copy_(weight.double() * (1 + sign.double() * scale))
