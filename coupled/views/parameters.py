"""The parameter table of views: what a recipe's words mean, as integers and float64 factors on the CPU.

n = views, H × W = image height and width in pixels. A view owns 32 words at fixed offsets, so that a recipe that leaves
an operator out shifts nothing:

    word 0       flip: u < probability
    word 1       jitter: u < probability
    word 2       grey: u < probability
    word 3       order of the four jitter operators: ⌊24u⌋, the lexicographic rank of a permutation of 0 … 3
    word 4 … 7   jitter factors: brightness, contrast, saturation, hue
    word 8, 9    top and left of the crop: ⌊u·(places)⌋
    word 10      blur: u < probability
    word 11      sigma of the blur
    word 12 + 2k, 13 + 2k   area and log-ratio of crop attempt k = 0 … 9

u = (word + ½)·2⁻³². Everything here is IEEE addition, multiplication, division and comparison of float64, never a
library's `exp` or `sqrt`, which differ between CPUs in the last bit: the integers are the same on every machine.
"""

import itertools
import math
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from coupled.address import Purpose, uniform, words

WORDS_PER_VIEW = 32
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)

_FLIP, _JITTER, _GREY, _ORDER, _FACTORS, _TOP, _LEFT, _BLUR, _SIGMA, _ATTEMPTS = 0, 1, 2, 3, 4, 8, 9, 10, 11, 12
_TRIES = 10
_ORDERS = tuple(itertools.permutations(range(4)))
_EXP_TERMS = 24  # |x| ≤ log 8 leaves a remainder below 1e-16


@dataclass(frozen=True)
class Blur:
    """Gaussian blur: a `kernel` of odd side in pixels, `sigma` uniform in [low, high] pixels, for a share of views."""

    kernel: int
    sigma: tuple[float, float]
    probability: float

    def __post_init__(self) -> None:
        low, high = self.sigma
        assert self.kernel > 0 and self.kernel % 2 == 1, f"kernel {self.kernel} is not an odd number of pixels"
        assert 0 < low <= high < math.inf, f"sigma {self.sigma} is not an increasing range of positive numbers"
        assert 0 <= self.probability <= 1, f"{self.probability} is not a probability"


@dataclass(frozen=True)
class Recipe:
    """How views are made. Probabilities are in [0, 1]; the operators' order is crop, flip, jitter, grey, blur.

    `crop_scale` is the range of the crop's share of the image area (None: the whole image), `ratio` that of its
    width / height, at most a factor of 8 from 1. `jitter` holds the strengths of brightness, contrast, saturation
    (factors uniform in [max(0, 1 − s), 1 + s]) and hue (shift uniform in [−s, s] turns, s ≤ ½).
    """

    crop_scale: tuple[float, float] | None = None
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.0
    jitter: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    jitter_probability: float = 0.0
    grey_probability: float = 0.0
    blur: Blur | None = None

    def __post_init__(self) -> None:
        low, high = self.crop_scale or (1.0, 1.0)
        assert 0 < low <= high <= 1, f"crop_scale {self.crop_scale} is not an increasing range inside (0, 1]"
        assert 1 / 8 <= self.ratio[0] <= self.ratio[1] <= 8, f"ratio {self.ratio} is not an increasing range in 1/8 … 8"
        assert min(self.jitter) >= 0 and self.jitter[HUE] <= 0.5, f"jitter {self.jitter} is negative or turns over ½"
        for probability in (self.flip, self.jitter_probability, self.grey_probability):
            assert 0 <= probability <= 1, f"{probability} is not a probability"


class _Table:
    """CPU tensors with one row for each of n views; int64 (n,) unless said otherwise."""

    def __len__(self) -> int:
        return len(next(iter(vars(self).values())))

    def __getitem__(self, rows: slice | Tensor) -> Self:
        """The parameters of some views, so that these can be replayed alone."""
        return type(self)(**{name: column[rows] for name, column in vars(self).items()})


@dataclass(frozen=True, eq=False)
class Boxes(_Table):
    """Which part of its image a view shows, in pixels, and whether it is mirrored."""

    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor
    flip: Tensor  # bool (n,)


@dataclass(frozen=True, eq=False)
class Colours(_Table):
    """What is done to the pixels of a view; it does not depend on the size of its image.

    `order` (n, 4) lists the jitter operators as they are applied; `factors` (n, 4), float64, are indexed by operator.
    `kernel` and `sigma` are those of the blur, in pixels. All are there, and unused, where `jittered` or `blurred` is
    false.
    """

    jittered: Tensor  # bool (n,)
    order: Tensor
    factors: Tensor
    grey: Tensor  # bool (n,)
    blurred: Tensor  # bool (n,)
    sigma: Tensor  # float64 (n,)
    kernel: Tensor


@dataclass(frozen=True, eq=False)
class ViewParameters(Colours, Boxes):
    """What is done to the image of each of n views."""


def view_words(seed: int, purpose: Purpose, ids: Tensor, visits: Tensor | int, view: Tensor | int = 0) -> Tensor:
    """The words of one view of each sample, int64 (n, WORDS_PER_VIEW).

    `ids` (n,) are sample ids, `visits` (n,) how often each was seen before. A `view` of shape (2, 1), [[0], [1]],
    gives both views at once: (2, n, WORDS_PER_VIEW).
    """
    return words(seed, purpose, WORDS_PER_VIEW, a=ids, b=visits, c=view)


def draw(recipe: Recipe, words: Tensor, height: int, width: int) -> ViewParameters:
    """The parameters of n views of images of `height` × `width` pixels, from `words` (n, WORDS_PER_VIEW) on any device.

    The crop is torchvision's RandomResizedCrop: the first of ten (area, log-ratio) attempts that fits inside the
    image, else the largest centred box of the nearest allowed ratio.
    """
    return ViewParameters(**vars(draw_boxes(recipe, words, height, width)), **vars(draw_colours(recipe, words)))


def draw_boxes(recipe: Recipe, words: Tensor, height: int, width: int) -> Boxes:
    """The part of `draw` that depends on the size of the images."""
    u = _uniform(words)
    return Boxes(*_crop(recipe, u, height, width), flip=u[:, _FLIP] < recipe.flip)


def draw_colours(recipe: Recipe, words: Tensor) -> Colours:
    """The part of `draw` that does not."""
    u = _uniform(words)
    rank = (u[:, _ORDER] * len(_ORDERS)).to(torch.int64)
    blur = recipe.blur or Blur(kernel=1, sigma=(1.0, 1.0), probability=0.0)
    low, high = blur.sigma
    return Colours(
        jittered=u[:, _JITTER] < recipe.jitter_probability,
        order=torch.tensor(_ORDERS)[rank],
        factors=_factors(recipe, u[:, _FACTORS : _FACTORS + 4]),
        grey=u[:, _GREY] < recipe.grey_probability,
        blurred=u[:, _BLUR] < blur.probability,
        sigma=low + u[:, _SIGMA] * (high - low),
        kernel=torch.full((len(u),), blur.kernel),
    )


def _uniform(words: Tensor) -> Tensor:
    assert words.ndim == 2 and words.shape[1] == WORDS_PER_VIEW, f"words {tuple(words.shape)}, not (n, 32)"
    return uniform(words.cpu())


def _factors(recipe: Recipe, u: Tensor) -> Tensor:
    """Jitter factors (n, 4) in the ranges of `Recipe.jitter`."""
    low = [max(0.0, 1 - strength) for strength in recipe.jitter[:HUE]] + [-recipe.jitter[HUE]]
    high = [1 + strength for strength in recipe.jitter[:HUE]] + [recipe.jitter[HUE]]
    lows, highs = torch.tensor([low, high], dtype=torch.float64)
    return lows + u * (highs - lows)


def _crop(recipe: Recipe, u: Tensor, height: int, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Crop boxes: top, left, height, width, each int64 (n,)."""
    n = len(u)
    if recipe.crop_scale is None:
        zero = torch.zeros(n, dtype=torch.int64)
        return zero, zero, torch.full((n,), height), torch.full((n,), width)
    attempts = u[:, _ATTEMPTS : _ATTEMPTS + 2 * _TRIES].view(n, _TRIES, 2)
    low, high = recipe.crop_scale
    area = (low + attempts[..., 0] * (high - low)) * (height * width)
    log_low, log_high = (math.log(end) for end in recipe.ratio)
    ratio = exp_series(log_low + attempts[..., 1] * (log_high - log_low))
    heights, widths = _rounded_root(area / ratio, height), _rounded_root(area * ratio, width)
    valid = (heights > 0) & (heights <= height) & (widths > 0) & (widths <= width)
    # One column more, always valid: the fallback is what is left when no attempt fits.
    centre_height, centre_width = _fallback(recipe, height, width)
    heights = torch.cat([heights, torch.full((n, 1), centre_height)], dim=1)
    widths = torch.cat([widths, torch.full((n, 1), centre_width)], dim=1)
    first = torch.cat([valid, torch.ones(n, 1, dtype=torch.bool)], dim=1).to(torch.int64).argmax(dim=1, keepdim=True)
    box_height, box_width = heights.gather(1, first)[:, 0], widths.gather(1, first)[:, 0]
    centred = first[:, 0] == _TRIES
    rows, columns = height - box_height, width - box_width
    top = torch.where(centred, rows // 2, (u[:, _TOP] * (rows + 1)).to(torch.int64))
    left = torch.where(centred, columns // 2, (u[:, _LEFT] * (columns + 1)).to(torch.int64))
    return top, left, box_height, box_width


def _fallback(recipe: Recipe, height: int, width: int) -> tuple[int, int]:
    """Height and width of the centred box that stands in when no attempt fits (torchvision's rule)."""
    if width / height < recipe.ratio[0]:
        return round(width / recipe.ratio[0]), width
    if width / height > recipe.ratio[1]:
        return height, round(height * recipe.ratio[1])
    return height, width


def _rounded_root(area: Tensor, limit: int) -> Tensor:
    """√area rounded to the nearest integer, at most limit + 1, by counting the squares (k + ½)² below `area`."""
    halves = torch.arange(limit + 1, dtype=torch.float64) + 0.5
    return torch.bucketize(area, halves * halves)


def exp_series(x: Tensor) -> Tensor:
    """exp by its Taylor series in Horner form, for |x| ≤ log 8: the same bits on every machine. Float64 on the CPU."""
    # In numpy, whose calls cost a tenth of torch's: these are 72 on a handful of numbers.
    given = x.numpy()
    total = np.ones_like(given)
    for k in range(_EXP_TERMS, 0, -1):
        total *= given
        total /= k
        total += 1
    return torch.from_numpy(total)
