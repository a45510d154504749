"""An arm: one network with its objective, its own flat state and optimiser."""

import torch
from torch import Tensor

from coupled.config import Arm as ArmConfig
from coupled.config import Config
from coupled.errors import UserError
from coupled.models import Network, evaluating
from coupled.models.batchnorm import BatchNorm
from coupled.models.flat import FlatState
from coupled.models.init import initialise, nudge
from coupled.objectives import batch_loss, similarity
from coupled.source import Batch


class Arm:
    """One model in lockstep with the others.

    After `forward_backward`: `loss` 0-d, `z` (2B, d) and `sigma` (2B, 2B), detached; the gradient in `state.gradient`.
    """

    def __init__(self, name: str, spec: ArmConfig, config: Config, device: torch.device) -> None:
        assert spec.objective is not None and spec.temperature is not None and spec.labelling is not None
        self.name, self.spec, self.anchor = name, spec, spec.anchor
        self.objective, self.temperature, self.labelling = spec.objective, spec.temperature, spec.labelling
        # On the meta device a constructor can draw nothing: all values come from addresses.
        with torch.device("meta"):
            self.network = build_network(config)
        dtype = getattr(torch, config.train.precision)
        self.state = FlatState(self.network, dtype, device)
        self.optimiser = torch.optim.SGD(
            [torch.nn.Parameter(self.state.weights)],
            lr=config.optimiser.learning_rate,
            momentum=config.optimiser.momentum,
            weight_decay=config.optimiser.weight_decay,
            foreach=False,
        )
        self._norms = [module for module in self.network.modules() if isinstance(module, BatchNorm)]
        self._parameter: Tensor = self.optimiser.param_groups[0]["params"][0]
        self._parameter.grad = self.state.gradient
        self.loss = self.z = self.sigma = torch.empty(0)

    def forward_backward(self, batch: Batch) -> None:
        """One forward of both views together, one backward; nothing is updated."""
        self.state.gradient.zero_()
        _, z = self.network(batch.pixels)
        sigma = similarity(z)
        loss = batch_loss(self.objective, sigma, batch.pairs[self.labelling], self.temperature)
        loss.backward()
        self.loss, self.z, self.sigma = loss.detach(), z.detach(), sigma.detach()

    def update(self, learning_rate: float) -> None:
        """One optimiser step on the whole flat vector; running statistics take in the step's batch."""
        self.optimiser.param_groups[0]["lr"] = learning_rate
        self.optimiser.step()
        for norm in self._norms:
            norm.absorb()

    def embed(self, images: Tensor, chunk: int = 256) -> tuple[Tensor, Tensor]:
        """h (n, D) and z (n, d) in evaluation mode; weights, statistics and the mode are left as they were."""
        with evaluating(self.network):
            parts = [self.network(part) for part in images.split(chunk)]
        return torch.cat([h for h, _ in parts]), torch.cat([z for _, z in parts])

    def optimiser_state(self) -> dict[str, Tensor]:
        """The optimiser's tensors by name, laid out like the flat weights."""
        return {k: v for k, v in self.optimiser.state[self._parameter].items() if isinstance(v, Tensor)}


def build_network(config: Config) -> Network:
    """The network of `config`, on whatever device is current."""
    model = config.model
    return Network(model.encoder, model.width, model.projection_hidden, model.projection_dim)


def build_arms(config: Config, device: torch.device) -> dict[str, Arm]:
    """All arms in the config's order, from one shared initialisation; controls as their kind says."""
    arms = {name: Arm(name, spec, config, device) for name, spec in config.arms.items()}
    first = next(iter(arms.values()))
    initialise(first.network, first.state, config.seed, draw=0)
    for arm in arms.values():
        if arm.spec.kind == "independent":
            assert arm.spec.draw is not None
            initialise(arm.network, arm.state, config.seed, arm.spec.draw)
        elif arm is not first:
            arm.state.copy_from(first.state)
        if arm.spec.kind == "nudged":
            assert arm.spec.scale is not None and arm.spec.draw is not None
            nudge(arm.state, config.seed, arm.spec.scale, arm.spec.draw)
            stuck = (arm.state.weights == first.state.weights) & (first.state.weights != 0)
            if bool(stuck.any()):
                raise UserError(
                    f"arms.{arm.name}.scale = {arm.spec.scale}",
                    f"a nudge that {config.train.precision} can hold",
                    'raise it, or use scale = "ulp"',
                )
    return arms
