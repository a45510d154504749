"""Views: which augmentation an address means (`recipes`, `parameters`), and the pixels it makes.

`operators` and `blur` make pixels on any device; `fused` makes the same bytes on a CPU, several times as fast.
`two_views` does everything at once. Where images are decoded one by one, `crop` is the part that needs the image and
`finish` is the rest; the bytes are the same.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from coupled.staging import moved
from coupled.views import fused, operators
from coupled.views.fused import load_kernels
from coupled.views.parameters import (
    WORDS_PER_VIEW,
    Blur,
    Boxes,
    Colours,
    Recipe,
    ViewParameters,
    draw,
    draw_boxes,
    draw_colours,
    view_words,
)
from coupled.views.recipes import RECIPES, recipe

__all__ = [
    "RECIPES",
    "WORDS_PER_VIEW",
    "Blur",
    "Boxes",
    "Colours",
    "Recipe",
    "ViewParameters",
    "apply",
    "crop",
    "draw",
    "draw_boxes",
    "draw_colours",
    "finish",
    "load_kernels",
    "normalise",
    "plain",
    "recipe",
    "two_views",
    "view_words",
]


def two_views(
    images: Tensor,
    words: Tensor,
    recipe: Recipe,
    *,
    size: int,
    mean: Sequence[float],
    std: Sequence[float],
    out_dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Both views of `images` (n, 3, H, W), uint8: (2n, 3, size, size), view 1 of every image first.

    `words` (2, n, WORDS_PER_VIEW) are those of view 0 and view 1 (`view_words`). A caller who needs the parameter table
    too calls `draw` on `words.flatten(0, 1)` and then `apply`: this function does the same.
    """
    assert words.shape[:2] == (2, len(images)), f"words {tuple(words.shape)} for {len(images)} images"
    parameters = draw(recipe, words.flatten(0, 1), images.shape[2], images.shape[3])
    return apply(images, parameters, size=size, mean=mean, std=std, out_dtype=out_dtype)


def apply(
    images: Tensor,
    parameters: ViewParameters,
    *,
    size: int,
    mean: Sequence[float],
    std: Sequence[float],
    out_dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Views (n, 3, size, size), normalised by the channels' `mean` and `std`, on the device of `images`.

    `images` is uint8 (m, 3, H, W) and n a multiple of m: row v·m + i of `parameters` is view v of image i. The
    arithmetic is float32 whatever `out_dtype` is, so runs of different precision see identical pixels.
    """
    return _finished(_cropped(images, parameters, size), parameters, mean, std).to(out_dtype)


def crop(images: Tensor, words: Tensor, recipe: Recipe, size: int) -> Tensor:
    """Both views of `images` (n, 3, H, W), uint8, cropped, resized and mirrored: float32 (2n, 3, size, size) in [0, 1].

    `words` (2, n, WORDS_PER_VIEW) as in `two_views`; view 1 of every image first. A row depends on its own image only.
    """
    assert words.shape[:2] == (2, len(images)), f"words {tuple(words.shape)} for {len(images)} images"
    return _cropped(images, draw_boxes(recipe, words.flatten(0, 1), images.shape[2], images.shape[3]), size)


def finish(
    crops: Tensor,
    words: Tensor,
    recipe: Recipe,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    out_dtype: torch.dtype = torch.float32,
) -> Tensor:
    """What `two_views` returns, from the (2n, 3, S, S) that `crop` made of the same `words` (2, n, …) and `recipe`.

    `crops` may come from images of differing sizes, cropped one at a time, and is left as it is.
    """
    assert words.shape[:2].numel() == len(crops), f"words {tuple(words.shape)} for {len(crops)} crops"
    return _finished(crops, draw_colours(recipe, words.flatten(0, 1)), mean, std).to(out_dtype)


def plain(images: Tensor, size: int) -> Tensor:
    """Whole `images` (n, 3, H, W), uint8, resized to a square: float32 (n, 3, size, size) in [0, 1]."""
    words = torch.zeros(len(images), WORDS_PER_VIEW, dtype=torch.int64)
    return _cropped(images, draw_boxes(Recipe(), words, images.shape[2], images.shape[3]), size)


def normalise(
    crops: Tensor, mean: Sequence[float], std: Sequence[float], out_dtype: torch.dtype = torch.float32
) -> Tensor:
    """(crops − mean) / std by channel, in float32, then cast: (n, 3, S, S), a new tensor."""
    return operators.normalise(crops, *moved([_constants(mean, std)], crops.device)).to(out_dtype)


def _constants(mean: Sequence[float], std: Sequence[float]) -> Tensor:
    return torch.tensor([mean, std], dtype=torch.float32)


def _cropped(images: Tensor, boxes: Boxes, size: int) -> Tensor:
    return (fused if images.device.type == "cpu" else operators).crop_resize(images, boxes, size)


def _finished(crops: Tensor, colours: Colours, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    return (fused if crops.device.type == "cpu" else operators).finish(crops, colours, _constants(mean, std))
