"""An encoder's outline: names and shapes of its weights and running statistics, as a config holds them.

With it a run of an encoder whose code or library is not here is read all the same: what a reader needs of a network is
its names and shapes. One tensor is "conv1.weight 16 3 3 3": its name, then its shape.
"""

import math
import re
from collections.abc import Sequence
from typing import Final, cast

import torch
from torch import nn

from coupled.errors import UserError

# Buffers are those of our batch-norm alone; anything else is a weight.
BUFFERS: Final = ("running_mean", "running_var")
_TENSOR: Final = re.compile(r"([A-Za-z_]\w*(?:\.\w+){0,31})((?: \d{1,10}){0,8})", re.ASCII)
_LONGEST: Final = 512  # characters of an outline's line
_MOST: Final = 1 << 40  # elements of a tensor


class Outline(nn.Module):
    """Stands for an encoder: a tree of modules with the names and shapes of an outline, and no forward."""

    def __init__(self, tensors: Sequence[str]) -> None:
        """Takes no storage on the meta device. UserError for what is no outline: it may come from a stranger's file."""
        super().__init__()
        for line in tensors:
            name, shape = _parsed(line)
            path, _, leaf = name.rpartition(".")
            module: nn.Module = self
            for part in path.split(".") if path else ():
                if part not in module._modules:
                    _must_be_free(module, part, line)
                    module.add_module(part, nn.Module())
                module = cast(nn.Module, module._modules[part])
            _must_be_free(module, leaf, line)
            if leaf in BUFFERS:
                module.register_buffer(leaf, torch.empty(shape))
            else:
                module.register_parameter(leaf, nn.Parameter(torch.empty(shape)))


def outline_of(encoder: nn.Module) -> tuple[str, ...]:
    """The outline of an encoder: its weights in their order, then its running statistics."""
    named = [*encoder.named_parameters(), *encoder.named_buffers()]
    return tuple(" ".join([name, *map(str, tensor.shape)]) for name, tensor in named)


def narrow_pointwise(tensors: Sequence[str], least: int) -> str | None:
    """The name of a 1×1 convolution with fewer than `least` input channels; None where there is none."""
    parsed = (_parsed(line) for line in tensors)
    return next((name for name, shape in parsed if len(shape) == 4 and shape[2:] == (1, 1) and shape[1] < least), None)


def _parsed(line: str) -> tuple[str, tuple[int, ...]]:
    match = _TENSOR.fullmatch(line) if len(line) <= _LONGEST else None
    shape = tuple(map(int, match[2].split())) if match else ()
    if match is None or math.prod(shape) > _MOST:
        raise UserError(f"model.tensors: {line[:80]!a}", "a dotted name and a shape, such as conv1.weight 16 3 3 3")
    return match[1], shape


def _must_be_free(module: nn.Module, name: str, line: str) -> None:
    if name in module._parameters or name in module._modules or hasattr(module, name):
        raise UserError(f"model.tensors: {line[:80]!a}", "a name that is of nothing else", "remove model.tensors")
