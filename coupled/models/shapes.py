"""What a forward of a network keeps and computes, counted on shapes: no storage, no arithmetic."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final

import torch
from torch import Tensor, nn

from coupled.models import Network

_VIEWS: Final = 1021  # no number of channels, pixels or tokens has this factor but by design
_COMPILER: Final = "torch._dynamo"
_MARK: Final = "__dynamo_disable"  # what torch (2.9 to 2.14) leaves at a function that it has asked the compiler about


@dataclass(frozen=True)
class Forward:
    """What a forward comes to: elements that it keeps for the backward whatever the number of views, those that it
    keeps for each view, elements of the largest tensor kept of a view, and multiply-adds of convolutions and linear
    maps for a view.
    """

    kept_anyway: int
    kept_of_view: int
    largest_of_view: int
    multiply_adds: int

    def kept(self, views: int) -> int:
        """Elements kept of so many views."""
        return self.kept_anyway + views * self.kept_of_view


def forward_of(network: Network, size: int) -> Forward:
    """Of views of `size` px, from one forward of `_VIEWS`: what has that prime as a factor grows with views."""
    kept: dict[int, Tensor] = {}
    own = {parameter.untyped_storage()._cdata for parameter in network.parameters()}
    multiply_adds = 0

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = tensor  # held, so that no other storage gets its number
        return tensor

    def count(module: nn.Module, inputs: Any, output: Tensor) -> None:
        nonlocal multiply_adds
        channels = output.shape[1] if isinstance(module, nn.Conv2d) else output.shape[-1]
        weights = sum(parameter.numel() for parameter in module.parameters() if parameter.ndim > 1)
        multiply_adds += output.numel() // channels * weights // _VIEWS

    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    try:
        with (
            _without_compiler(),
            torch.enable_grad(),
            torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        ):
            network(torch.empty(_VIEWS, 3, size, size, device="meta"))
    finally:
        for hook in hooks:
            hook.remove()
    elements = [tensor.untyped_storage().nbytes() // tensor.itemsize for tensor in kept.values()]
    of_view = [n // _VIEWS for n in elements if n % _VIEWS == 0]
    return Forward(sum(n for n in elements if n % _VIEWS), sum(of_view), max(of_view), multiply_adds)


@contextmanager
def _without_compiler() -> Iterator[None]:
    """Inside, shapes are computed without loading torch's compiler, which takes as long as loading torch itself.

    For every operation on shapes torch asks its compiler to let the operation alone. Where the compiler is not loaded,
    it is nobody's business: the answer here is the operation itself. Nothing of this is left afterwards, and a torch
    that asks in another way loads its compiler as before.
    """
    if _COMPILER in sys.modules:
        yield
        return
    asked: list[Callable[..., Any]] = []

    def disable(function: Callable[..., Any], recursive: bool = True, **options: Any) -> Callable[..., Any]:
        asked.append(function)
        return function

    stand_in = ModuleType(_COMPILER)
    stand_in.disable = disable  # type: ignore[reportAttributeAccessIssue]
    sys.modules[_COMPILER] = stand_in
    try:
        yield
    finally:
        del sys.modules[_COMPILER]
        for function in asked:
            if hasattr(function, _MARK):
                delattr(function, _MARK)
