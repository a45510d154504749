"""The network that all arms share."""

from collections.abc import Hashable
from functools import lru_cache

import torch

from coupled.config import Config
from coupled.config.resolved import Model
from coupled.config.user_code import execute, executed
from coupled.errors import UserError
from coupled.models import Network
from coupled.models.embedding import chunk_of
from coupled.models.flat import FlatState
from coupled.models.foreign import is_built_in, source_of
from coupled.models.shapes import Forward, forward_of, units_of
from coupled.models.timm_models import is_timm
from coupled.terminal.sizes import shown_bytes


def build_network(config: Config, classes: int | None = None) -> Network:
    """The network of `config`, with a head of `classes` outputs if given, on whatever device is current.

    UserError where the encoder's code or library is not here.
    """
    _with_code(config)
    return Network(config.model, config.views.size, classes)


def meta_network(config: Config) -> Network:
    """The network that arms share, without storage: names, shapes, feature dimension. No code is run for it: an encoder
    that is not built in is an outline, which has no forward.
    """
    with torch.device("meta"):
        return Network(config.model, config.views.size, outline=True)


def unfilled_network(config: Config) -> Network:
    """The network that arms share, without storage, to be given some. UserError as in `build_network`."""
    with torch.device("meta"):
        return build_network(config)


def forward_on_shapes(config: Config) -> Forward:
    """What a forward of the network that arms share comes to, counted once in a process."""
    _with_code(config)
    return _forward(config.model, config.views.size, (source_of(config.model.encoder), config.code.sha256))


def units_on_shapes(config: Config) -> dict[str, int]:
    """How many units an image has in each place of the network, by `Network.activations`."""
    return _units(config.model, config.views.size)


@lru_cache
def _units(model: Model, image_size: int) -> dict[str, int]:
    with torch.device("meta"):
        network = Network(model, image_size)
    return units_of(network, image_size)


@lru_cache
def _forward(model: Model, image_size: int, source: Hashable) -> Forward:
    """`source`: what tells an encoder from another of the same name."""
    with torch.device("meta"):
        network, tried = Network(model, image_size), Network(model, image_size)
    try:
        FlatState(tried, torch.float32, torch.device("cpu"))
    except RuntimeError as error:
        if "allocate" not in str(error):
            raise
        taken = shown_bytes(4 * sum(parameter.numel() for parameter in network.parameters()))
        raise UserError(
            f"a network whose weights take {taken}", "it is tried out once in this machine's memory", "make it smaller"
        ) from None
    tried.try_out(image_size)
    return forward_of(network, image_size)


def _with_code(config: Config) -> None:
    """A config's own encoder is that of its own files: they are run again if others were run since.

    Raises UserError where they are not known, or are other ones now.
    """
    name, files = config.model.encoder, config.code.files
    if is_built_in(name) or is_timm(name) or executed() == config.code.sha256:
        return
    if (execute(files) if files else executed()) != config.code.sha256:
        raise UserError(
            f"model.encoder = {name} is the run's own code",
            "the very files of its code.files have to be run here to build the network",
            "give them, in their order, as they were",
        )


def evaluation_chunk(config: Config) -> int:
    """How many images one evaluation forward takes, in a run and in all that evaluates it later."""
    dtype = getattr(torch, config.train.dtype)
    return chunk_of(forward_on_shapes(config).largest_of_view, dtype, config.train.device)
