"""Recipes by name and size of the views."""

from coupled.errors import unknown
from coupled.views.parameters import Blur, Recipe

RECIPES: dict[str, str] = {
    "paper-v2": "arXiv 2510.08852: jitter .4 and no blur below 128 px, jitter .8 always and a faint blur from there on",
    "simclr-cifar": "SimCLR's for CIFAR: jitter .4, no blur at any size",
    "simclr-imagenet": "SimCLR's for ImageNet: jitter .8, half of the views blurred by a tenth of their side",
    "none": "both views are the image itself, resized when its size differs",
}

_LARGE = 128  # px: the paper's recipes are for 32, 64 and 224 px; the 224 px one begins at twice 64
_CROP, _RATIO = (0.08, 1.0), (3 / 4, 4 / 3)


def recipe(name: str, size: int) -> Recipe:
    """The recipe `name` for views of `size` px; a UserError for an unknown name.

    `simclr-*` is Chen et al. 2020, appendices A and B.9; `paper-v2` is that of arXiv 2510.08852.
    """
    assert size > 0, f"views of {size} px"
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    if name == "none":
        return Recipe()
    if name == "simclr-imagenet":
        # The odd number nearest to a tenth of the side: 23 at 224 px.
        return _simclr(0.8, 0.8, Blur(kernel=2 * (size // 20) + 1, sigma=(0.1, 2.0), probability=0.5))
    if name == "paper-v2" and size >= _LARGE:
        return _simclr(0.8, 1.0, Blur(kernel=3, sigma=(1.5, 1.5), probability=0.1))
    return _simclr(0.4, 0.8, None)


def _simclr(jitter: float, jitter_probability: float, blur: Blur | None) -> Recipe:
    """SimCLR's family: the hue turns by a quarter of the other strengths."""
    return Recipe(
        crop_scale=_CROP,
        ratio=_RATIO,
        flip=0.5,
        jitter=(jitter, jitter, jitter, jitter / 4),
        jitter_probability=jitter_probability,
        grey_probability=0.2,
        blur=blur,
    )
