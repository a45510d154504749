"""Which network a checkpoint is of, read off the shapes of its tensors: all that the shapes tell, and no more."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from analysis.foreign.names import CLASSIFIER, ENCODER, PROJECTOR, WRAPPED
from coupled.errors import UserError

HEADS: Final = 12  # of a ViT, whose shapes do not tell them
Shapes = Mapping[str, tuple[int, ...]]
# Blocks of the four stages, and whether they are bottlenecks.
_RESNETS: Final[Mapping[tuple[tuple[int, ...], bool], str]] = {
    ((2, 2, 2, 2), False): "resnet18", ((3, 4, 6, 3), False): "resnet34", ((3, 4, 6, 3), True): "resnet50"
}  # fmt: skip
_STEMS: Final = {3: "cifar", 7: "imagenet"}  # by the side of the first convolution


@dataclass(frozen=True)
class Architecture:
    """[model] of a config as TOML would say it, and the side of the images in pixels; None where shapes fit any."""

    model: Mapping[str, Any]
    image_size: int | None


def read(shapes: Shapes, heads: int | None = None) -> Architecture:
    """The network whose state dict has these shapes. Their other tensors are not looked at.

    ValueError says in words what fits no network of ours; UserError where `heads` do not fit.
    """
    if any(name.startswith(CLASSIFIER) for name in shapes):
        shapes = {name.removeprefix(WRAPPED): shape for name, shape in shapes.items()}
    projector = {
        "projection_hidden": _axis(shapes, f"{PROJECTOR}0.weight", 2, 0),
        "projection_dim": _axis(shapes, f"{PROJECTOR}3.weight", 2, 0),
    }
    if f"{ENCODER}class_token" in shapes:
        model, image_size = _vit(shapes, HEADS if heads is None else heads)
        return Architecture({**model, **projector}, image_size)
    if heads is not None:
        raise UserError(f"--heads {heads}", "only a ViT has them, and this is a ResNet", "leave it out")
    return Architecture({**_resnet(shapes), **projector}, None)


def _resnet(shapes: Shapes) -> dict[str, Any]:
    first = f"{ENCODER}conv1.weight"
    width, side = _axis(shapes, first, 4, 0), _axis(shapes, first, 4, 2)
    blocks = tuple(_count(shapes, rf"{re.escape(ENCODER)}layer{stage}\.(\d+)\..*") for stage in range(1, 5))
    name = _RESNETS.get((blocks, f"{ENCODER}layer1.0.conv3.weight" in shapes))
    if name is None or side not in _STEMS:
        raise ValueError(f"is of no ResNet-18, 34 or 50: blocks {blocks}, first convolution {shapes[first]}")
    return {"encoder": name, "width": width, "stem": _STEMS[side]}


def _vit(shapes: Shapes, heads: int) -> tuple[dict[str, Any], int]:
    width, patch = _axis(shapes, f"{ENCODER}class_token", 3, 2), _axis(shapes, f"{ENCODER}conv_proj.weight", 4, 2)
    tokens = _axis(shapes, f"{ENCODER}encoder.pos_embedding", 3, 1) - 1
    side = math.isqrt(max(tokens, 0))
    if side < 1 or side * side != tokens:
        raise ValueError(f"has positions of {tokens} patches, which make no square")
    if heads < 1 or width % heads:
        raise UserError(f"a ViT {width} wide with {heads} heads", "their number divides the width", "give --heads")
    depth = _count(shapes, rf"{re.escape(ENCODER)}encoder\.layers\.encoder_layer_(\d+)\..*")
    return {"encoder": "vit", "width": width, "patch": patch, "depth": depth, "heads": heads}, side * patch


def _axis(shapes: Shapes, name: str, axes: int, axis: int) -> int:
    """One length of a tensor that must have so many axes."""
    if name not in shapes:
        raise ValueError(f"lacks {name}")
    if len(shapes[name]) != axes:
        raise ValueError(f"has {name} of shape {shapes[name]}, not of {axes} axes")
    return shapes[name][axis]


def _count(shapes: Shapes, pattern: str) -> int:
    """How many numbers the names of this pattern have."""
    return len({match[1] for name in shapes if (match := re.fullmatch(pattern, name))})
