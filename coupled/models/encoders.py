"""Encoders by name: what each is, which options it takes, its sizes without building it, and how it is built.

Every encoder takes images (N, 3, S, S) and gives h (N, D) and, when asked, its pooled stage features [(N, C_k)].
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from coupled.errors import UserError
from coupled.models import foreign
from coupled.models.options import Options
from coupled.models.registry import BUILT_IN, known
from coupled.models.resnet import SmallResNet
from coupled.models.resnets import ResNet
from coupled.models.vit import ViT

# Larger images get the ImageNet stem, which shrinks them by four before the first stage.
_LARGEST_CIFAR_STEM = 64
RELU = "relu"
_DEFAULTS = {"patch": 4, "depth": 12, "heads": 12}


@dataclass(frozen=True)
class EncoderInfo:
    """One encoder: its meaning, default width, the options of [model] that it takes, and its sizes.

    `stages` holds the channels of each stage as multiples of the width; empty for `vit`, whose `depth` layers all have
    the width. `build` makes the module from the side of the images, the width, the activation, and the encoder's own
    options by name. `activation`: its own, where the config names none; a projector's is then ReLU.
    """

    meaning: str
    width: int
    options: tuple[str, ...]
    stages: tuple[int, ...]
    build: Callable[..., nn.Module]
    activation: str = RELU

    def feature_dim(self, width: int) -> int:
        """The dimension of h."""
        return self.stages[-1] * width if self.stages else width

    def stage_dims(self, width: int, depth: int | None = None) -> tuple[int, ...]:
        """The dimensions of the pooled stage features; `depth` counts for `vit` alone."""
        return tuple(multiple * width for multiple in self.stages) or (width,) * (depth or 0)


def _small_resnet(image_size: int, width: int, activation: str) -> nn.Module:
    return SmallResNet(width, activation)


def _resnet(name: str, image_size: int, width: int, activation: str, *, stem: str) -> nn.Module:
    return ResNet(name, width, stem, activation)


def _vit(image_size: int, width: int, activation: str, *, patch: int, depth: int, heads: int) -> nn.Module:
    return ViT(image_size, patch, depth, heads, width, activation)


_BASIC, _BOTTLENECK = (1, 2, 4, 8), (4, 8, 16, 32)
ENCODERS: dict[str, EncoderInfo] = {
    "resnet-small": EncoderInfo("four stages of one basic block each, for CPUs", 8, (), _BASIC, _small_resnet),
    "resnet18": EncoderInfo("torchvision's ResNet-18", 64, ("stem",), _BASIC, partial(_resnet, "resnet18")),
    "resnet34": EncoderInfo("torchvision's ResNet-34", 64, ("stem",), _BASIC, partial(_resnet, "resnet34")),
    "resnet50": EncoderInfo("torchvision's ResNet-50", 64, ("stem",), _BOTTLENECK, partial(_resnet, "resnet50")),
    "vit": EncoderInfo("torchvision's vision transformer", 384, ("patch", "depth", "heads"), (), _vit, "gelu"),
}

assert tuple(ENCODERS) == BUILT_IN


def defaults(model: Options, image_size: int) -> dict[str, Any]:
    """The options that have defaults, filled in for images of that side; those that the encoder does not take are None.

    The defaults are by name, as fields of `FilledOptions`.
    """
    if model.encoder not in ENCODERS:
        return foreign.defaults(model, image_size)
    info = ENCODERS[model.encoder]
    width = model.width or info.width
    stem = model.stem or ("cifar" if image_size <= _LARGEST_CIFAR_STEM else "imagenet")
    own = {"stem": stem, **{key: getattr(model, key) or value for key, value in _DEFAULTS.items()}}
    return {
        "width": width,
        "projection_hidden": model.projection_hidden or info.feature_dim(width),
        # What an encoder has by itself is not named: it is the same training.
        "activation": None if model.activation == info.activation == RELU else model.activation,
        **{key: value if key in info.options else None for key, value in own.items()},
    }


def activation_of(model: Options) -> str | None:
    """The nonlinearity of an encoder; None where only its own code knows it."""
    info = ENCODERS.get(model.encoder)
    return model.activation or (None if info is None else info.activation)


def names() -> list[str]:
    """What model.encoder may be here; beside these, models of timm."""
    return [*ENCODERS, *known()]


def check_model(model: Options, image_size: int) -> None:
    """Raise UserError for an option the encoder does not take, or sizes that do not divide; of a built-in one."""
    if model.encoder not in ENCODERS:
        return
    info = ENCODERS[model.encoder]
    for key in ("feature_size", "stage_sizes", "tensors"):
        if getattr(model, key):
            raise UserError(f"model.{key}", f"{model.encoder} is built in, and needs none", "remove it")
    for key in ("stem", *_DEFAULTS):
        if getattr(model, key) is not None and key not in info.options:
            takers = [name for name, other in ENCODERS.items() if key in other.options]
            raise UserError(
                f"model.{key} = {getattr(model, key)}",
                f"{model.encoder} does not take it ({', '.join(takers)} do{'' if len(takers) > 1 else 'es'})",
                "remove it",
            )
    filled = defaults(model, image_size)
    patch, heads, width = filled["patch"], filled["heads"], filled["width"]
    if patch is not None and image_size % patch:
        raise UserError(
            f"model.patch = {patch}", f"a divisor of the side of the images, {image_size}", "set model.patch"
        )
    if heads is not None and width % heads:
        raise UserError(f"model.heads = {heads}", f"a divisor of model.width = {width}", "set model.heads")
