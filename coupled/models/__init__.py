"""Encoders by name, and the network an arm trains: encoder, projector, L2 normalisation."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coupled.models.resnet import Projector, SmallResNet

# An encoder takes images (N, 3, S, S) and returns h (N, feature_dim) and its stage features.
ENCODERS: dict[str, Callable[[int], nn.Module]] = {"resnet-small": SmallResNet}


class Network(nn.Module):
    """Encoder and projector. Images (N, 3, S, S) → h (N, D) and z (N, d), the L2-normalised projector output."""

    def __init__(self, encoder: str, width: int, projection_hidden: int, projection_dim: int) -> None:
        super().__init__()
        self.encoder = ENCODERS[encoder](width)
        self.feature_dim = int(self.encoder.feature_dim)  # type: ignore[reportArgumentType]
        self.projector = Projector(self.feature_dim, projection_hidden, projection_dim)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        h, _ = self.encoder(images)
        return h, F.normalize(self.projector(h), dim=1)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode and no gradients inside; the mode before is restored whatever happens."""
    training = network.training
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        network.train(training)
