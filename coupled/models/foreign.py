"""Encoders that are not built in: registered ones and timm's, as a network runs them."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from coupled.errors import RunStopped, UserError, raised
from coupled.models import timm_models
from coupled.models.adapted import adapted
from coupled.models.options import Options
from coupled.models.outline import Outline, outline_of
from coupled.models.registry import BUILT_IN, IMAGE_SIZE, OPTIONS, registered

_LARGEST: Final = 65536  # elements of h, as of the projector's hidden layer


@dataclass(frozen=True)
class Foreign:
    """One such encoder, built: its module, D of h, and the sizes of its stage features, () where it gives none."""

    module: nn.Module
    feature_size: int
    stage_sizes: tuple[int, ...]


def is_built_in(encoder: str) -> bool:
    """Is it one of ours?"""
    return encoder in BUILT_IN


def is_here(encoder: str) -> bool:
    """Is it one that can be asked for here: built in, registered, or of timm?"""
    return is_built_in(encoder) or registered(encoder) is not None or timm_models.is_timm(encoder)


def source_of(encoder: str) -> Hashable:
    """What tells an encoder from another of the same name: the function that builds it; None where nothing does."""
    own = registered(encoder)
    return None if own is None else own.build


def outlined(model: Options) -> Foreign:
    """Names and shapes alone, from the config; neither code nor library is needed."""
    assert model.feature_size is not None
    return Foreign(Outline(model.tensors), model.feature_size, model.stage_sizes)


def build(model: Options, image_size: int) -> Foreign:
    """The encoder itself, on the current device (the meta device: no constructor draws anything, or takes storage).

    Raises UserError where its code or library is not here, or gives what a run cannot hold or what the config's
    `tensors` do not say.
    """
    name = model.encoder
    if timm_models.is_timm(name):
        module = timm_models.build(name, image_size)
        sizes: tuple[Any, Any] = timm_models.feature_size(module), timm_models.stage_sizes(module)
    else:
        module = _own(model, image_size)
        sizes = getattr(module, "feature_size", None), getattr(module, "stage_sizes", ())
    feature_size, stage_sizes = _sizes(name, *sizes)
    encoder = Foreign(adapted(module, name), feature_size, stage_sizes)
    if model.tensors and described(encoder) != {key: getattr(model, key) for key in described(encoder)}:
        raise UserError(
            f"model.encoder = {name} is another here",
            "its weights and sizes have to be those that model.tensors says",
            f"use the version of {'timm' if timm_models.is_timm(name) else 'its code'} that it was made with",
        )
    return encoder


def described(encoder: Foreign) -> dict[str, Any]:
    """What a config says of an encoder that is not built in."""
    return {
        "feature_size": encoder.feature_size,
        "stage_sizes": encoder.stage_sizes,
        "tensors": outline_of(encoder.module),
    }


def defaults(model: Options, image_size: int) -> dict[str, Any]:
    """The options of [model] filled in: those that a registered encoder takes, and what it is seen to be."""
    with torch.device("meta"):
        encoder = build(model, image_size)
    return {
        **_options(model),
        "projection_hidden": model.projection_hidden or encoder.feature_size,
        **described(encoder),
    }


def run(encoder: nn.Module, images: Tensor, name: str, stages: bool) -> tuple[Tensor, list[Tensor]]:
    """h (N, D) and, when asked, the stage features [(N, C_k)]."""
    if timm_models.is_timm(name):
        return timm_models.run(encoder, images, stages)
    if not stages:
        return encoder(images), []
    h, features = encoder(images, stages=True)
    return h, list(features)


def try_out(encoder: Foreign, name: str, image_size: int) -> None:
    """One forward of two images in training and in evaluation mode. `encoder` has storage.

    Raises UserError where that fails, has another shape than the encoder says, or draws from torch's generator.
    """
    shapes = [(2, encoder.feature_size), *((2, size) for size in encoder.stage_sizes)]
    images = torch.linspace(-1, 1, 2 * 3 * image_size**2).view(2, 3, image_size, image_size)
    before = torch.random.get_rng_state()
    try:
        with torch.no_grad():
            outputs = [_tried(encoder, images, name, training) for training in (True, False)]
    except (UserError, RunStopped):
        raise
    except (Exception, SystemExit) as error:
        reason = raised(error)
        raise UserError(f"encoder {name} fails on images of {image_size} px", reason) from None
    if not torch.equal(before, torch.random.get_rng_state()):
        torch.random.set_rng_state(before)
        raise UserError(
            f"encoder {name} draws random numbers", "none: arms would not share them", "leave out dropout and the like"
        )
    for given in outputs:
        wrong = [x for x in given if not isinstance(x, Tensor)]
        if other := [x.dtype for x in given if isinstance(x, Tensor) and x.dtype != images.dtype]:
            shown = f"encoder {name} gives {other[0]} of {images.dtype} images"
            raise UserError(shown, "features are of the images' dtype", "mend its forward")
        seen = [tuple(x.shape) for x in given if isinstance(x, Tensor)]
        if wrong or seen != shapes:
            shown = f"a {type(wrong[0]).__name__}" if wrong else ", ".join(map(str, seen))
            raise UserError(
                f"encoder {name} gives {shown} for two images",
                f"h and stage features have to be {', '.join(map(str, shapes))}",
                "mend its forward, feature_size or stage_sizes",
            )


def _tried(encoder: Foreign, images: Tensor, name: str, training: bool) -> list[Any]:
    encoder.module.train(training)
    plain, _ = run(encoder.module, images, name, stages=False)
    if not encoder.stage_sizes:
        return [plain]
    h, features = run(encoder.module, images, name, stages=True)
    if not training and isinstance(h, Tensor) and h.shape == plain.shape and not torch.allclose(h, plain, atol=1e-5):
        raise UserError(f"encoder {name} gives another h with stages=True", "the same h is needed", "mend its forward")
    return [h, *features]


def _options(model: Options) -> dict[str, Any]:
    """The options that an encoder takes, with its defaults; the others are None. UserError for one that it does not
    take, or that has no default and is not given.
    """
    own, name = registered(model.encoder), model.encoder
    taken = {} if own is None else own.options
    filled: dict[str, Any] = dict.fromkeys(OPTIONS)
    for key in OPTIONS:
        given = getattr(model, key)
        if given is not None and key not in taken:
            raise UserError(
                f"model.{key} = {given}",
                f"{name} does not take it ({', '.join(taken) or 'it has no options'})",
                "remove it",
            )
        if key in taken:
            filled[key] = taken[key] if given is None else given
            if filled[key] is None:
                raise UserError(f"model.{key} is missing", f"{name} has no default for it", f"set model.{key}")
    return filled


def _own(model: Options, image_size: int) -> nn.Module:
    name, own = model.encoder, registered(model.encoder)
    if own is None:
        raise UserError(
            f"model.encoder = {name} is the run's own code",
            "it has to be run here to build the network",
            "give the files of its code.files, in their order",
        )
    options = {key: value for key, value in _options(model).items() if key in own.options}
    size = {IMAGE_SIZE: image_size} if own.takes_size else {}
    try:
        module = own.build(**options, **size)
    except (UserError, RunStopped):
        raise
    except (Exception, SystemExit) as error:
        reason = raised(error)
        raise UserError(f"encoder {name} cannot be built", reason, "correct it") from None
    if not isinstance(module, nn.Module):
        raise UserError(f"encoder {name} is a {type(module).__name__}", "the function has to return a torch module")
    return module


def _sizes(name: str, features: Any, stages: Any) -> tuple[int, tuple[int, ...]]:
    if not _is_size(features):
        given = "no feature_size" if features is None else f"feature_size = {features!a}"
        raise UserError(f"encoder {name} has {given}", "its module has to say D of h as an integer", "set it")
    if not isinstance(stages, list | tuple) or not all(map(_is_size, stages)):
        raise UserError(f"encoder {name} has stage_sizes = {stages!a}", "a list of integers, one for each stage")
    return features, tuple(stages)


def _is_size(value: Any) -> bool:
    return type(value) is int and 1 <= value <= _LARGEST
