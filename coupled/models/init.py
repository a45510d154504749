"""Initial weights by address: one table of layer rules, no draw from a global generator.

Parameter names are part of the address, so that adding a layer or building in another order changes no other weight.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from coupled.address import Purpose, name_word, normal, uniform, words
from coupled.models.flat import HEAD, FlatState


@dataclass(frozen=True)
class _Address:
    """The address of one parameter's values."""

    seed: int
    name: str
    draw: int

    @property
    def purpose(self) -> Purpose:
        return Purpose.HEAD if self.name.startswith(HEAD) else Purpose.INIT

    def normal(self, count: int) -> Tensor:
        """Standard normal values, float64 (count,)."""
        return normal(self.seed, self.purpose, count, a=name_word(self.name), b=self.draw)

    def uniform(self, count: int) -> Tensor:
        """Uniform values in (−1, 1), float64 (count,)."""
        return 2 * uniform(words(self.seed, self.purpose, count, a=name_word(self.name), b=self.draw)) - 1


Rule = Callable[[_Address, torch.Size], Tensor]


def _gaussian(std: Callable[[torch.Size], float]) -> Rule:
    return lambda address, shape: (address.normal(shape.numel()) * std(shape)).view(shape)


def _uniform(bound: Callable[[torch.Size], float]) -> Rule:
    return lambda address, shape: (address.uniform(shape.numel()) * bound(shape)).view(shape)


def _constant(value: float) -> Rule:
    return lambda address, shape: torch.full(shape, value, dtype=torch.float64)


# Glorot & Bengio 2010; also of the three stacked (w, w) matrices of an attention's (3w, w), as torch does it.
_XAVIER = _uniform(lambda shape: math.sqrt(6 / (shape[0] + shape[1])))
_ZERO, _ONE = _constant(0.0), _constant(1.0)

# docs/theory.md (71).
# By the name of a class and the rest of the parameter's name; `child.leaf` of a parent comes before the `leaf` of the
# child.
# conv: He et al. 2015, fan-out, as torchvision's ResNets; linear: variance 1/fan-in. Transformer: the distributions of
# torchvision's VisionTransformer (its conv_proj is cut at ±2, more than ten standard deviations) and torch's attention.
RULES: dict[tuple[str, str], Rule] = {
    ("Conv2d", "weight"): _gaussian(lambda shape: math.sqrt(2 / (shape[0] * shape[2] * shape[3]))),
    ("Conv2d", "bias"): _ZERO,
    ("Linear", "weight"): _gaussian(lambda shape: 1 / math.sqrt(shape[1])),
    ("Linear", "bias"): _ZERO,
    ("BatchNorm", "weight"): _ONE,
    ("BatchNorm", "bias"): _ZERO,
    ("BatchNorm", "running_mean"): _ZERO,
    ("BatchNorm", "running_var"): _ONE,
    ("LayerNorm", "weight"): _ONE,
    ("LayerNorm", "bias"): _ZERO,
    ("GroupNorm", "weight"): _ONE,
    ("GroupNorm", "bias"): _ZERO,
    ("ViT", "class_token"): _ZERO,
    ("ViT", "conv_proj.weight"): _gaussian(lambda shape: 1 / math.sqrt(shape[1:].numel())),
    ("ViT", "conv_proj.bias"): _ZERO,
    ("Encoder", "pos_embedding"): _gaussian(lambda shape: 0.02),
    ("MultiheadAttention", "in_proj_weight"): _XAVIER,
    ("MultiheadAttention", "in_proj_bias"): _ZERO,
    ("MultiheadAttention", "out_proj.weight"): _uniform(lambda shape: 1 / math.sqrt(shape[1])),
    ("MultiheadAttention", "out_proj.bias"): _ZERO,
    **{("MLPBlock", f"{layer}.weight"): _XAVIER for layer in (0, 3)},
    **{("MLPBlock", f"{layer}.bias"): _gaussian(lambda shape: 1e-6) for layer in (0, 3)},
}


def initialise(network: nn.Module, state: FlatState, seed: int, draw: int) -> None:
    """Fill weights and buffers from (seed, name, draw): float64 values, rounded once to the state's precision.

    Draw 0 is the initialisation that arms share; independent arms have draws of their own.
    """
    filled = state.named_weights() | state.named_buffers()
    assert len({name_word(name) for name in filled}) == len(filled), "two parameter names share an address"
    for name, tensor in filled.items():
        _fill(network, name, tensor, seed, draw)


def initialise_head(network: nn.Module, state: FlatState, seed: int, draw: int) -> None:
    """As `initialise`, of the classifier head alone; nothing where there is none."""
    for name, tensor in state.named_weights().items():
        if name.startswith(HEAD):
            _fill(network, name, tensor, seed, draw)


def _fill(network: nn.Module, name: str, tensor: Tensor, seed: int, draw: int) -> None:
    with torch.no_grad():
        tensor.copy_(_rule(network, name)(_Address(seed, name, draw), tensor.shape))


def has_rule(network: nn.Module, name: str) -> bool:
    """Does the table know the first values of a parameter or buffer?"""
    return any(key in RULES for key in _keys(network, name))


def _rule(network: nn.Module, name: str) -> Rule:
    """The rule for a parameter: its parent's parent's for `child.leaf` before its own module's for `leaf`."""
    keys = _keys(network, name)
    rules = [RULES[key] for key in keys if key in RULES]
    assert rules, f"no rule for the initial values of {name}: {' or '.join(map(str, keys))}"
    return rules[0]


def _keys(network: nn.Module, name: str) -> list[tuple[str, str]]:
    """Where the table is looked at for a parameter, in order. A class that is derived from one of torch's or ours has
    the rules of that one; other classes have none, whatever they are called.
    """
    parts = name.split(".")
    keys = []
    for own in (2, 1):
        module = network.get_submodule(".".join(parts[:-own]))
        kinds = [kind for kind in type(module).__mro__ if kind.__module__.startswith(("torch.nn.", "coupled."))]
        keys += [(kind.__name__, ".".join(parts[-own:])) for kind in kinds]
    return keys


def nudge(state: FlatState, seed: int, scale: float | str, draw: int) -> None:
    """Move every weight, sign by address: "ulp" to its next float up or down, s to w·(1 ± s). Buffers are untouched.

    docs/theory.md (72).
    """
    for segment in state.weight_segments:
        weight = segment.view(state.weights)
        low_bit = words(seed, Purpose.NUDGE, weight.numel(), a=name_word(segment.name), b=draw) & 1
        sign = (2 * low_bit - 1).to(weight).view(weight.shape)
        if isinstance(scale, str):
            weight.copy_(torch.nextafter(weight, sign * torch.inf))
        else:
            # In float64 and rounded once: 1 ± s itself would round to unequal steps up and down in float32.
            weight.copy_(weight.double() * (1 + sign.double() * scale))
