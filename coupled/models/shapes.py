"""What a forward of a network keeps and computes, counted in forwards of one image and of two, whose values are all 0.

On real tensors, not on the meta device: there torch's shape checks load its compiler, which takes as long as loading
torch, while a forward of three images takes a fraction of a second.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from coupled.models import Network
from coupled.models.activation import signs_of
from coupled.models.flat import FlatState
from coupled.models.norm.passes import by_operations


@dataclass(frozen=True)
class Forward:
    """What a forward comes to: elements that it keeps for the backward whatever the number of views, those that it
    keeps for each view, elements of the largest tensor that it keeps of one view, and multiply-adds of convolutions and
    linear maps for a view.
    """

    kept_anyway: int
    kept_of_view: int
    largest_of_view: int
    multiply_adds: int

    def kept(self, views: int) -> int:
        """Elements kept of so many views."""
        return self.kept_anyway + views * self.kept_of_view


def forward_of(network: Network, size: int) -> Forward:
    """Of views of `size` px. `network`, on the meta device, is given storage on the CPU, all 0."""
    FlatState(network.train(), torch.float32, torch.device("cpu"))
    multiply_adds = 0

    def count(module: nn.Module, inputs: Any, output: Tensor) -> None:
        nonlocal multiply_adds
        channels = output.shape[1] if isinstance(module, nn.Conv2d) else output.shape[-1]
        weights = sum(parameter.numel() for parameter in module.parameters() if parameter.ndim > 1)
        multiply_adds += output.numel() // channels * weights

    two = _kept(network, 2, size)
    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    try:
        one = _kept(network, 1, size)
    finally:
        for hook in hooks:
            hook.remove()
    of_view = sum(two) - sum(one)
    return Forward(sum(one) - of_view, of_view, max(one), multiply_adds)


def units_of(network: Network, size: int) -> dict[str, int]:
    """How many units an image of `size` px has in each place with an activation. `network` as in `forward_of`."""
    FlatState(network.eval(), torch.float32, torch.device("cpu"))
    with torch.no_grad(), signs_of(network) as signs:
        network(torch.zeros(1, 3, size, size))
    counts = {name: sum(inputs.numel() for inputs in seen) for name, seen in signs.items()}
    return {place: sum(counts[name] for name in names) for place, names in network.activations().items()}


def _kept(network: Network, views: int, size: int) -> list[int]:
    """The size of every tensor that a forward keeps, weights apart, in elements of float32."""
    kept: dict[int, Tensor] = {}
    own = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}

    def pack(tensor: Tensor) -> Tensor:
        place = tensor.untyped_storage().data_ptr()
        if place not in own:
            kept[place] = tensor  # held, so that no other storage gets its place
        return tensor

    saving = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    with by_operations(), _plain_convolutions(), torch.enable_grad(), saving:
        network(torch.zeros(views, 3, size, size))
    return [tensor.untyped_storage().nbytes() // 4 for tensor in kept.values()]


@contextmanager
def _plain_convolutions() -> Iterator[None]:
    """Inside, convolutions of the CPU are not those of oneDNN, which compiles a kernel for every new shape: for one
    forward that takes longer than the forward does. They keep the same tensors. The switch is one for all threads.
    """
    enabled = torch.backends.mkldnn.set_flags(False)[0]
    try:
        yield
    finally:
        torch.backends.mkldnn.set_flags(enabled)
