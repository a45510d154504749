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

_COMPILER: Final = "torch._dynamo"
_MARK: Final = "__dynamo_disable"  # what torch (2.9 to 2.13) leaves at a function that it has asked the compiler about


@dataclass(frozen=True)
class Forward:
    """Of a forward: elements kept for the backward, and multiply-adds of convolutions and linear maps."""

    kept: int
    multiply_adds: int


def forward_of(network: Network, views: int, size: int) -> Forward:
    """Counted for 2 and 4 views of `size` px, and extended along the straight line between them to `views`."""
    with _without_compiler():
        few, more = (_counted(network, torch.empty(n, 3, size, size, device="meta")) for n in (2, 4))

    def at(low: int, high: int) -> int:
        return low + (high - low) // 2 * (views - 2)

    return Forward(at(few.kept, more.kept), at(few.multiply_adds, more.multiply_adds))


def _counted(network: Network, images: Tensor) -> Forward:
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
        multiply_adds += output.numel() // channels * sum(p.numel() for p in module.parameters() if p.ndim > 1)

    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    try:
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            network(images)
    finally:
        for hook in hooks:
            hook.remove()
    return Forward(sum(t.untyped_storage().nbytes() // t.itemsize for t in kept.values()), multiply_adds)


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
