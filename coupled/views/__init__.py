"""Views: which augmentation an address means (`parameters`), and the pixels it makes (`operators`)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from coupled.views.operators import apply
from coupled.views.parameters import WORDS_PER_VIEW, Recipe, ViewParameters, draw, view_words

__all__ = ["RECIPES", "WORDS_PER_VIEW", "Recipe", "ViewParameters", "apply", "draw", "two_views", "view_words"]

RECIPES: dict[str, Recipe] = {
    # SimCLR's for CIFAR (Chen et al. 2020, appendix B.9, colour strength .5): no blur at 32 px.
    "simclr-cifar": Recipe(
        crop_scale=(0.08, 1.0),
        ratio=(3 / 4, 4 / 3),
        flip=0.5,
        jitter=(0.4, 0.4, 0.4, 0.1),
        jitter_probability=0.8,
        grey_probability=0.2,
    ),
    # Both views are the image itself, resized when its size differs, normalised.
    "none": Recipe(),
}


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

    `words` (2, n, WORDS_PER_VIEW) are those of view 0 and view 1 (`view_words`). Who needs the parameter table too
    calls `draw` on `words.flatten(0, 1)` and `apply`, which is all this does.
    """
    assert words.shape[:2] == (2, len(images)), f"words {tuple(words.shape)} for {len(images)} images"
    parameters = draw(recipe, words.flatten(0, 1), images.shape[2], images.shape[3])
    return apply(images, parameters, size=size, mean=mean, std=std, out_dtype=out_dtype)
