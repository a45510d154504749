"""The embedded data set `shapes`: procedural 32×32 RGB images with fifteen labellings of the same images.

An image is a pure function of (data seed, sample id). Its address has purpose SHAPES and field a = the sample's number:

    train id i   a = i
    test id i    a = 2³¹ + i        (so no test image has a train address)

    words 0–3    the factors shape, colour, texture, size: class = ⌊word · classes / 2³²⌋
    words 4–63   the nuisances, in the order of `drawing.NUISANCES`
    words 64–    one word per pixel, row by row: its three low bytes are the noise of R, G and B
"""

import math
from itertools import combinations
from typing import Literal

import torch
from torch import Tensor

from coupled.address import Purpose, words
from coupled.data import drawing
from coupled.data.splits import DataInfo, ImageSplit, Split
from coupled.errors import UserError

FACTORS: dict[str, tuple[str, ...]] = {
    "shape": tuple(drawing.SHAPES),
    "colour": tuple(drawing.HUES),
    "texture": tuple(drawing.TEXTURES),
    "size": tuple(drawing.RADII),
}

info = DataInfo(
    name="shapes",
    train_size=20_000,
    test_size=4_000,
    size=drawing.SIZE,
    # Measured on the training images of data seed 0; another seed's differ in the third decimal.
    mean=(0.4915, 0.4795, 0.4781),
    std=(0.2001, 0.1954, 0.2014),
    classes={
        "*".join(names): math.prod(len(FACTORS[name]) for name in names)
        for count in range(1, len(FACTORS) + 1)
        for names in combinations(FACTORS, count)
    },
    default_labelling="shape*colour",
    procedural=True,
)

_TEST_OFFSET = 1 << 31
_NUISANCE_WORD, _PIXEL_WORD = 4, 64  # where the words of the nuisances and of the pixels begin
_CHUNK = 128  # images drawn at a time: one field of 128 · 32² float32 (512 KiB) stays in cache


def canonical(labelling: str) -> str:
    """A labelling with its factors in the order of `FACTORS`, its one spelling; UserError if there is none such."""
    given = labelling.split("*")
    name = "*".join(factor for factor in FACTORS if factor in given)
    if name not in info.classes or sorted(given) != sorted(name.split("*")):
        allowed = f"allowed are {', '.join(FACTORS)} and their products, each factor once"
        raise UserError(f"shapes has no labelling {labelling!r}", allowed, "write for example shape*colour")
    return name


def factors(seed: int, numbers: Tensor) -> dict[str, Tensor]:
    """Each factor's class, int64 (n,), of the sample numbers (n,): the field a of their addresses."""
    drawn = words(seed, Purpose.SHAPES, len(FACTORS), a=numbers)
    return {name: drawn[:, i] * len(kinds) >> 32 for i, (name, kinds) in enumerate(FACTORS.items())}


def render(seed: int, numbers: Tensor) -> Tensor:
    """Images uint8 RGB (n, 3, 32, 32) of the sample numbers (n,): the field a of their addresses."""
    images = torch.empty(len(numbers), 3, drawing.SIZE, drawing.SIZE, dtype=torch.uint8)
    for start in range(0, len(numbers), _CHUNK):
        chunk = numbers[start : start + _CHUNK]
        drawn = words(seed, Purpose.SHAPES, _PIXEL_WORD + drawing.SIZE**2, a=chunk)
        image = drawing.draw(factors(seed, chunk), drawn[:, _NUISANCE_WORD:_PIXEL_WORD], drawn[:, _PIXEL_WORD:])
        images[start : start + _CHUNK] = image
    return images


class Shapes(ImageSplit):
    """Samples offset … offset + count − 1; an image is drawn when first asked for, then kept (3 KiB)."""

    def __init__(self, seed: int, offset: int, count: int) -> None:
        self._seed, self._numbers = seed, torch.arange(offset, offset + count)
        self._images = torch.empty(count, 3, drawing.SIZE, drawing.SIZE, dtype=torch.uint8)
        self._drawn = torch.zeros(count, dtype=torch.bool)

    def __len__(self) -> int:
        return len(self._numbers)

    def images(self, ids: Tensor) -> Tensor:
        missing = ids[~self._drawn[ids]].unique()
        self._images[missing] = render(self._seed, self._numbers[missing])
        self._drawn[missing] = True  # after the pixels: another thread may ask in between
        return self._images[ids]

    def labels(self, labelling: str) -> Tensor:
        """Mixed-radix numbers of the factors' classes, `FACTORS`' first the highest digit.

        The factors may be named in any order; UserError if there is no such labelling.
        """
        classes = factors(self._seed, self._numbers)
        label = torch.zeros_like(self._numbers)
        for name in canonical(labelling).split("*"):
            label = label * len(FACTORS[name]) + classes[name]
        return label


def load(split: Literal["train", "test"], seed: int) -> Split:
    """A split under the data seed `seed`, in [0, 2⁶⁴). Nothing is drawn yet."""
    offset, count = {"train": (0, info.train_size), "test": (_TEST_OFFSET, info.test_size)}[split]
    return Shapes(seed, offset, count)
