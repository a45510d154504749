"""The squared norms of an arm's weights and gradient, layer by layer: whoever needs one at a step reads the same."""

from functools import cached_property

import torch
from torch import Tensor

from coupled.models.flat import FlatState
from coupled.models.segments import Segments


class Squares:
    """Of a state between two changes of it: each is summed when it is first read, once, float64 (layers,).

    The layers are all that the network has, a head included; what all arms have comes first. `gradient`: what is known
    already.
    """

    def __init__(self, state: FlatState, layers: Segments, gradient: Tensor | None = None) -> None:
        self._state, self._layers = state, layers
        if gradient is not None:
            self.gradient = gradient

    def anew(self) -> "Squares":
        """Those of the same state, in which the weights' have not been summed."""
        return Squares(self._state, self._layers, self.__dict__.get("gradient"))

    @cached_property
    def weights(self) -> Tensor:
        """‖w‖² per layer."""
        return self._layers.squares(self._state.weights)

    @cached_property
    def gradient(self) -> Tensor:
        """‖g‖² per layer."""
        return self._layers.squares(self._state.gradient)

    def finite_gradient(self) -> Tensor:
        """Is every element of the gradient finite? A 0-d bool."""
        # The square of a finite float64 may not be finite; but no sum of squares of float32 numbers leaves float64.
        gradient = self._state.gradient
        return torch.isfinite(self.gradient if gradient.dtype == torch.float32 else gradient).all()
