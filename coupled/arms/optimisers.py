"""Optimisers on flat vectors: one step moves all weights of a network at once.

Flat vectors have one shape (N,), aligned segments per layer, and padding that stays 0; per-layer values are (layers,).
Nothing here waits for a GPU or draws, and equal bytes in give equal bytes out.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from coupled.arms.squares import Squares
from coupled.config.resolved import AdamW, Lars, Sgd
from coupled.config.resolved import Optimiser as Spec
from coupled.models.flat import FlatState
from coupled.models.segments import Segments

# clip_grad_norm_ of torch adds it to the norm.
_CLIP_EPSILON = 1e-6


def state_names(name: str, momentum: float | None) -> tuple[str, ...]:
    """The flat tensors that an optimiser keeps once it has stepped, by torch's names for them."""
    if name == "adamw":
        return ("exp_avg", "exp_avg_sq")
    return ("momentum_buffer",) if momentum else ()


def state_tensors(name: str, momentum: float | None) -> int:
    """How many flat copies of the weights an optimiser keeps."""
    return len(state_names(name, momentum))


class Optimiser:
    """SGD, LARS or AdamW of one flat state.

    - sgd: coupled decay of all parameters, heavy-ball momentum (torch.optim.SGD).
    - lars (You, Gitman & Ginsburg 2017, arXiv 1708.03888): parameters with two axes or more are decayed and scaled
      layer by layer, the others (biases, scales and shifts of norms) neither; then heavy-ball momentum.
    - adamw (Loshchilov & Hutter 2019; torch.optim.AdamW): decoupled decay of parameters with two axes or more. By that
      rule a class token (1, 1, D) and a position embedding (1, n, D) are decayed; biases and norms are not.

    With `clip_norm` the whole gradient is scaled to at most that norm first. The gradient itself is left as it was.
    """

    def __init__(self, spec: Spec, state: FlatState) -> None:
        self._spec, self._state = spec, state
        self.names = state_names(spec.name, spec.momentum)
        self._parameter = torch.nn.Parameter(state.weights)
        self._inner = _inner(spec, self._parameter)
        self.layers = Segments(state.weight_segments, state.weights.device)
        self._lars = _Lars(spec, state, self.layers) if isinstance(spec, Lars) else None
        decays = spec.name == "adamw" and spec.weight_decay
        # By segments of their own: these would keep an index of every element for it.
        exempt = Segments(state.weight_segments, state.weights.device).spread(_exempt(state)) if decays else None
        self._undecayed = exempt

    def step(self, learning_rate: float, squares: Squares | None = None) -> None:
        """One update of the weights by the state's gradient; `squares` of both, if they are known."""
        self.move(learning_rate, self.scaled(squares or Squares(self._state, self.layers)))

    def scaled(self, squares: Squares) -> Tensor:
        """The gradient (weights,), clipped and scaled layer by layer where the optimiser does that: all of a step that
        does not depend on its rate. `squares`: of weights and gradient.
        """
        gradient, clip = self._state.gradient, self._spec.clip_norm
        if clip is not None:
            gradient = clipped(gradient, squares.gradient.sum().sqrt(), clip)
        if self._lars is not None:
            # Of what it scales: a clipped gradient is rounded.
            length = squares.gradient if clip is None else self.layers.squares(gradient)
            gradient = self._lars.scaled(gradient, squares.weights.sqrt(), length.sqrt())
        return gradient

    def move(self, learning_rate: float, gradient: Tensor) -> None:
        """The rest of a step, by what `scaled` gave."""
        if self._undecayed is not None:
            keep = torch.full_like(gradient, 1 - learning_rate * self._spec.weight_decay)
            self._state.weights.mul_(keep.masked_fill_(self._undecayed, 1.0))
        self._parameter.grad = gradient
        self._inner.param_groups[0]["lr"] = learning_rate
        self._inner.step()
        # A clipped or scaled gradient is a vector of its own: free it before the next forward pass.
        self._parameter.grad = None

    def tensors(self) -> dict[str, Tensor]:
        """The state by name, each laid out like the flat weights; empty before the first step."""
        kept = self._inner.state[self._parameter]
        return {name: kept[name] for name in self.names if name in kept}

    def load(self, tensors: Mapping[str, Tensor], step: int) -> None:
        """Take copies of what `tensors` gave after `step` updates (≥ 0); the next step continues bit for bit."""
        assert set(tensors) == (set(self.names) if step else set()), (sorted(tensors), self.names, step)
        weights = self._state.weights
        assert all(t.shape == weights.shape and t.dtype == weights.dtype for t in tensors.values())
        kept = {name: tensor.to(weights, copy=True) for name, tensor in tensors.items()}
        if self._spec.name == "adamw" and step:
            # AdamW counts its own steps, on the host; float32 counts exactly to 2^24.
            kept["step"] = torch.tensor(float(step), dtype=torch.float32)
        self._inner.state[self._parameter] = kept


class _Lars:
    """The layer-wise part of LARS."""

    def __init__(self, spec: Lars, state: FlatState, layers: Segments) -> None:
        self._trust, self._state, self._layers = spec.trust, state, layers
        self._exempt = _exempt(state)
        self._decay = spec.weight_decay * (~self._exempt).double()

    def scaled(self, gradient: Tensor, norm: Tensor, gradient_norm: Tensor) -> Tensor:
        """(g + λw) · trust·‖w‖ / (‖g‖ + λ‖w‖) per layer; the ratio is 1 where exempt, or where ‖w‖ or ‖g‖ is 0.

        docs/theory.md (70). The norms are float64 (layers,).
        """
        weights, dtype = self._state.weights, gradient.dtype
        ratio = self._trust * norm / (gradient_norm + self._decay * norm)
        # Not torch.where with a number: it would copy the number to a GPU, and wait.
        ratio.masked_fill_(self._exempt | (norm == 0) | (gradient_norm == 0), 1.0)
        # A gradient of float32's smallest numbers would make it infinite, and 0 · ∞ in the padding NaN.
        ratio.clamp_(max=torch.finfo(dtype).max)
        decayed = torch.addcmul(gradient, self._layers.spread(self._decay.to(dtype)), weights)
        return decayed.mul_(self._layers.spread(ratio.to(dtype)))


def _exempt(state: FlatState) -> Tensor:
    """Which parameters have fewer than two axes, bool (layers,)."""
    return torch.tensor([len(segment.shape) < 2 for segment in state.weight_segments], device=state.weights.device)


def _inner(spec: Spec, parameter: torch.nn.Parameter) -> torch.optim.Optimizer:
    """The torch optimiser whose step comes last; its rate is set at every step. Neither of them waits for a GPU."""
    if isinstance(spec, AdamW):
        # Decay is ours. Not capturable: the count of steps, and with it the bias correction, stays on the host.
        return torch.optim.AdamW(
            [parameter],
            lr=0.0,
            betas=(spec.beta1, spec.beta2),
            eps=spec.epsilon,
            weight_decay=0.0,
            foreach=False,
            fused=False,
            capturable=False,
        )
    assert isinstance(spec, Sgd | Lars)
    decay = spec.weight_decay if isinstance(spec, Sgd) else 0.0
    return torch.optim.SGD([parameter], lr=0.0, momentum=spec.momentum, weight_decay=decay, foreach=False)


def clipped(gradient: Tensor, norm: Tensor, most: float) -> Tensor:
    """The gradient times min(1, most/(‖g‖ + 1e-6)), `norm` being ‖g‖ of the whole vector, float64 0-d (torch's
    clip_grad_norm_).

    docs/theory.md (69). Below the threshold the factor is exactly 1, which changes no bit.
    """
    factor = (most / (norm + _CLIP_EPSILON)).clamp(max=1.0)
    return gradient * factor.to(gradient.dtype)
