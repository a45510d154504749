"""The network that all arms share."""

import torch

from coupled.config import Config
from coupled.models import Network


def build_network(config: Config, classes: int | None = None) -> Network:
    """The network of `config`, with a head of `classes` outputs if given, on whatever device is current."""
    return Network(config.model, config.views.size, classes)


def meta_network(config: Config) -> Network:
    """The network that arms share, without storage: names, shapes, feature dimension."""
    with torch.device("meta"):
        return build_network(config)
