"""The network that all arms share."""

from functools import lru_cache

import torch

from coupled.config import Config
from coupled.config.resolved import Model
from coupled.models import Network
from coupled.models.embedding import chunk_of
from coupled.models.shapes import Forward, forward_of, units_of


def build_network(config: Config, classes: int | None = None) -> Network:
    """The network of `config`, with a head of `classes` outputs if given, on whatever device is current."""
    return Network(config.model, config.views.size, classes)


def meta_network(config: Config) -> Network:
    """The network that arms share, without storage: names, shapes, feature dimension."""
    with torch.device("meta"):
        return build_network(config)


def forward_on_shapes(config: Config) -> Forward:
    """What a forward of the network that arms share comes to, counted once in a process."""
    return _forward(config.model, config.views.size)


def units_on_shapes(config: Config) -> dict[str, int]:
    """How many units an image has in each place of the network, by `Network.activations`."""
    return _units(config.model, config.views.size)


@lru_cache
def _units(model: Model, image_size: int) -> dict[str, int]:
    with torch.device("meta"):
        network = Network(model, image_size)
    return units_of(network, image_size)


@lru_cache
def _forward(model: Model, image_size: int) -> Forward:
    with torch.device("meta"):
        network = Network(model, image_size)
    return forward_of(network, image_size)


def evaluation_chunk(config: Config) -> int:
    """How many images one evaluation forward takes, in a run and in all that evaluates it later."""
    dtype = getattr(torch, config.train.dtype)
    return chunk_of(forward_on_shapes(config).largest_of_view, dtype, config.train.device)
