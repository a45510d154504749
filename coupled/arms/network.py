"""The network that all arms share."""

from functools import lru_cache

import torch

from coupled.config import Config
from coupled.config.resolved import Model
from coupled.models import Network
from coupled.models.embedding import chunk_of


def build_network(config: Config, classes: int | None = None) -> Network:
    """The network of `config`, with a head of `classes` outputs if given, on whatever device is current."""
    return Network(config.model, config.views.size, classes)


def meta_network(config: Config) -> Network:
    """The network that arms share, without storage: names, shapes, feature dimension."""
    with torch.device("meta"):
        return build_network(config)


def evaluation_chunk(config: Config) -> int:
    """How many images one evaluation forward takes, in a run and in all that evaluates it later."""
    return _chunk(config.model, config.views.size, config.train.dtype, config.train.device)


@lru_cache
def _chunk(model: Model, image_size: int, dtype: str, device: str) -> int:
    with torch.device("meta"):
        network = Network(model, image_size)
    return chunk_of(network.to(getattr(torch, dtype)), image_size, getattr(torch, dtype), device)
