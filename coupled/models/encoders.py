"""Encoders by name: what each is, which options it takes, its sizes without building it, and how it is built.

Every encoder takes images (N, 3, S, S) and gives h (N, D) and, when asked, its pooled stage features [(N, C_k)].
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch import nn

from coupled.errors import UserError
from coupled.models.resnet import SmallResNet

if TYPE_CHECKING:
    from coupled.config.schema import Model

# Larger images get the ImageNet stem, which shrinks them by four before the first stage.
_LARGEST_CIFAR_STEM = 64
_DEFAULTS = {"patch": 4, "depth": 12, "heads": 12}


@dataclass(frozen=True)
class EncoderInfo:
    """One encoder: its meaning, default width, the options of [model] that it takes, and its sizes.

    `stages` holds the channels of each stage as multiples of the width; empty for `vit`, whose `depth` layers all have
    the width. `build` makes the module from a model config with every default filled in and the side of the images.
    """

    meaning: str
    width: int
    options: tuple[str, ...]
    stages: tuple[int, ...]
    build: Callable[["Model", int], nn.Module]

    def feature_dim(self, width: int) -> int:
        """The dimension of h."""
        return self.stages[-1] * width if self.stages else width

    def stage_dims(self, width: int, depth: int | None = None) -> tuple[int, ...]:
        """The dimensions of the pooled stage features; `depth` counts for `vit` alone."""
        return tuple(multiple * width for multiple in self.stages) or (width,) * (depth or 0)


def _small_resnet(model: "Model", image_size: int) -> nn.Module:
    assert model.width is not None
    return SmallResNet(model.width)


# torchvision's models take seconds to import: only a run that trains one pays for it.
def _resnet(model: "Model", image_size: int) -> nn.Module:
    from coupled.models.resnets import ResNet

    assert model.width is not None and model.stem is not None
    return ResNet(model.encoder, model.width, model.stem)


def _vit(model: "Model", image_size: int) -> nn.Module:
    from coupled.models.vit import ViT

    assert None not in (model.patch, model.depth, model.heads, model.width)
    return ViT(image_size, model.patch or 0, model.depth or 0, model.heads or 0, model.width or 0)


_BASIC, _BOTTLENECK = (1, 2, 4, 8), (4, 8, 16, 32)
ENCODERS: dict[str, EncoderInfo] = {
    "resnet-small": EncoderInfo("four stages of one basic block each, for CPUs", 8, (), _BASIC, _small_resnet),
    "resnet18": EncoderInfo("torchvision's ResNet-18", 64, ("stem",), _BASIC, _resnet),
    "resnet34": EncoderInfo("torchvision's ResNet-34", 64, ("stem",), _BASIC, _resnet),
    "resnet50": EncoderInfo("torchvision's ResNet-50", 64, ("stem",), _BOTTLENECK, _resnet),
    "vit": EncoderInfo("torchvision's vision transformer", 384, ("patch", "depth", "heads"), (), _vit),
}


def defaults(model: "Model", image_size: int) -> "Model":
    """The model config for images of that side with every default filled in; options not taken stay None."""
    info = ENCODERS[model.encoder]
    width = model.width or info.width
    stem = model.stem or ("cifar" if image_size <= _LARGEST_CIFAR_STEM else "imagenet")
    return replace(
        model,
        width=width,
        stem=stem if "stem" in info.options else None,
        projection_hidden=model.projection_hidden or info.feature_dim(width),
        **{key: getattr(model, key) or value for key, value in _DEFAULTS.items() if key in info.options},
    )


def check_model(model: "Model", image_size: int) -> None:
    """Raise UserError for an option the encoder does not take, or sizes that do not divide."""
    info = ENCODERS[model.encoder]
    for key in ("stem", *_DEFAULTS):
        if getattr(model, key) is not None and key not in info.options:
            takers = [name for name, other in ENCODERS.items() if key in other.options]
            raise UserError(
                f"model.{key} = {getattr(model, key)}",
                f"{model.encoder} does not take it ({', '.join(takers)} do{'' if len(takers) > 1 else 'es'})",
                "remove it",
            )
    filled = defaults(model, image_size)
    if filled.patch is not None and image_size % filled.patch:
        raise UserError(
            f"model.patch = {filled.patch}", f"a divisor of the side of the images, {image_size}", "set model.patch"
        )
    if filled.heads is not None and filled.width is not None and filled.width % filled.heads:
        raise UserError(
            f"model.heads = {filled.heads}", f"a divisor of model.width = {filled.width}", "set model.heads"
        )
