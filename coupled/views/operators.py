"""Pixel operators on batches of views, each equal to torchvision's on float images.

Shapes: m = images, n = views, H × W = image, S = side of a view, T = taps (pixels under one triangle).

The bytes of a view depend on its image and parameters only: not on which views are made together, in which order, or
by how many threads. The reason is elementwise IEEE arithmetic in float32 with one rounding per operation. There is no
matrix product and no library reduction: their order of summation is not ours. There is no `add(alpha=)` or `lerp`,
which are fused in vectors but not in their tails, except with factors that make every product exact.

Tables are made on the CPU. All that `crop_resize` needs goes to the device of the pixels in one copy, and all that
`finish` needs in another.
"""

import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from coupled.staging import moved
from coupled.views.blur import blurs_of, gaussian_blur
from coupled.views.parameters import BRIGHTNESS, CONTRAST, HUE, SATURATION, Boxes, Colours

_GREY, _IDLE = 4, 5  # two further operators, beside the four of the jitter
_LARGE = 1 << 15  # pixels: each view of an image this large is cut out and made alone, which spares the rest of it
_LUMA = (0.2989, 0.587, 0.114)  # ITU-R BT.601, as torchvision rounds it

Band = tuple[Tensor, Tensor]  # see `band`


def crop_resize(images: Tensor, boxes: Boxes, size: int) -> Tensor:
    """Antialiased bilinear resize of each crop box, mirrored where `flip`: float32 (n, 3, size, size) in [0, 1].

    `images` is uint8 (m, 3, H, W) and n a multiple of m: row v·m + i of `boxes` is view v of image i.
    """
    check_images(images, boxes)
    if not cut_out(images):
        return resample(images, *_bands(images, boxes, size))
    sides = torch.stack([boxes.top, boxes.left, boxes.height, boxes.width], dim=1).tolist()
    cuts = [
        images[row % len(images), None, :, top : top + height, left : left + width]
        for row, (top, left, height, width) in enumerate(sides)
    ]
    bands = (
        _bands(cut, boxes[row : row + 1], size, top, left)
        for row, (cut, (top, left, _, _)) in enumerate(zip(cuts, sides, strict=True))
    )
    tables = [_tables(cut, *both) for cut, both in zip(cuts, bands, strict=True)]
    there = iter(moved(list(itertools.chain(*tables)), images.device))
    views = torch.empty(len(boxes), 3, size, size, dtype=torch.float32, device=images.device)
    for row, cut in enumerate(cuts):
        views[row] = _resampled(cut, there)[0]
    return views


def check_images(images: Tensor, boxes: Boxes) -> None:
    """Assert that images and boxes are as `crop_resize` needs them."""
    assert images.dtype == torch.uint8 and images.ndim == 4 and images.shape[1] == 3, "images are uint8 (m, 3, H, W)"
    assert len(boxes) % max(1, len(images)) == 0, f"{len(boxes)} views of {len(images)} images"


def cut_out(images: Tensor) -> bool:
    """Does `crop_resize` cut boxes out first? `band` then counts taps by the box instead of the image."""
    return images.shape[2] * images.shape[3] >= _LARGE


def _bands(images: Tensor, boxes: Boxes, size: int, top: int = 0, left: int = 0) -> tuple[Band, Band]:
    """Rows and columns of `crop_resize` of what was cut out of images at `top`, `left`: it holds every box."""
    upright = torch.zeros_like(boxes.flip)
    rows = band(boxes.top, boxes.height, upright, images.shape[2], size, top)
    return rows, band(boxes.left, boxes.width, boxes.flip, images.shape[3], size, left)


def resample(images: Tensor, rows: Band, columns: Band) -> Tensor:
    """W_y · image · W_xᵀ / 255 with both matrices as `band` stores them: float32 (n, 3, rows, columns) in [0, 1].

    First along the width, then along the height. `images` is uint8 (m, 3, H, W); row v·m + i of the bands is for
    image i.
    """
    return _resampled(images, iter(moved(_tables(images, rows, columns), images.device)))


def _tables(images: Tensor, rows: Band, columns: Band) -> list[Tensor]:
    """What `_resampled` takes: of either pass which pixels its outputs begin with, and their weights."""
    m, _, height, width = images.shape
    first, weights = (column.repeat_interleave(3, dim=0) for column in rows)
    return [_of_all(columns[0], m, width), columns[1], _of_all(first, len(first), height), weights]


def _of_all(first: Tensor, images: int, length: int) -> Tensor:
    """First pixels (n, S), counted within an image of `length`, counted through all of them; row v·m + i is image i."""
    return first + (torch.arange(len(first)) % images * length)[:, None]


def _resampled(images: Tensor, tables: Iterator[Tensor]) -> Tensor:
    """`resample`, of the next tables, on the device of `images`."""
    (m, _, height, width), device = images.shape, images.device
    # The resampled axis comes before the others in memory, so that a tap copies whole runs of them.
    pixels = torch.empty(m, width, 3, height, dtype=torch.float32, device=device).copy_(images.permute(0, 3, 1, 2))
    narrow = _product(pixels.flatten(2), next(tables), next(tables)).unflatten(2, (3, height))
    # Each channel is an image of its own from here on: a run is shorter, but comes out where the view has it.
    planes = narrow.permute(0, 2, 3, 1).contiguous().flatten(0, 1)
    views = _product(planes, next(tables), next(tables)).unflatten(0, (-1, 3))
    # A tensor, not a number: devices divide by a number through its rounded reciprocal, and 255 must become 1.
    return views.div_(torch.full((1,), 255.0, device=device, dtype=torch.float32))


def band(start: Tensor, length: Tensor, mirrored: Tensor, pixels: int, size: int, origin: int = 0) -> Band:
    """One axis of `crop_resize`: which pixels make each of `size` outputs, and their weights.

    For boxes `start`, `length` (n,) on an axis of which the `pixels` pixels from `origin` on are given: the first
    pixel, counted from `origin`, int64 (n, size), and the weights of it and its followers, float32 (n, size, T),
    rounded from float64. The triangle filter is widened by the scale when shrinking (the antialiasing of Pillow and
    torchvision); weights outside the box are zero, the rest sum to 1.
    """
    # In numpy, whose calls are cheaper than torch's: the numbers are few when one image is cropped at a time.
    begin, extent = (ends.numpy()[:, None].astype(np.float64) for ends in (start, length))
    place = np.arange(size) + 0.5
    scale = extent / size
    centre = begin + np.where(mirrored.numpy()[:, None], size - place, place) * scale
    reach = np.maximum(scale, 1.0)
    # An open interval of length 2·reach holds at most ⌈2·reach⌉ pixel centres; T is that of the longest box.
    taps = min(pixels, math.ceil(2 * max(1.0, pixels / size)))
    first = np.clip(np.floor(centre - reach + 0.5), origin, origin + pixels - taps)
    weights, total = np.empty((*first.shape, taps)), np.zeros_like(first)
    for tap in range(taps):
        middle = first + (tap + 0.5)
        inside = (middle > begin) & (middle < begin + extent)
        weights[..., tap] = np.maximum(1.0 - np.abs((middle - centre) / reach), 0.0) * inside
        total += weights[..., tap]  # from first to last: zeros at either end never change it
    weights /= total[..., None]
    return torch.from_numpy((first - origin).astype(np.int64)), torch.from_numpy(weights.astype(np.float32))


def _product(pixels: Tensor, first: Tensor, weights: Tensor) -> Tensor:
    """Banded product along axis 1 of `pixels` (m, L, C): (n, S, C). `first` (n, S) counts through all m·L pixels."""
    # Tap by tap, first to last: the order of summation is ours, whatever the batch.
    rows, shares, source = first.flatten(), weights.flatten(0, 1), pixels.flatten(0, 1)
    total = source.index_select(0, rows).mul_(shares[:, :1])
    for tap in range(1, shares.shape[1]):
        total.add_(source.index_select(0, rows + tap).mul_(shares[:, tap : tap + 1]))
    return total.view(len(first), -1, pixels.shape[2])


def finish(crops: Tensor, colours: Colours, mean_and_std: Tensor) -> Tensor:
    """`recolour`, `gaussian_blur` and `normalise` of `crops` float32 (n, 3, S, S) on any device: a new tensor.

    `mean_and_std` is float32 (2, 3) on the CPU.
    """
    jitter, blur = rounds_of(colours), blurs_of(colours)
    tables = [jitter.rows, jitter.factors, blur.rows, blur.weights, mean_and_std]
    rows, factors, blurred, weights, constants = moved(tables, crops.device)
    jitter, blur = jitter._replace(rows=rows, factors=factors), blur._replace(rows=blurred, weights=weights)
    return normalise(gaussian_blur(recolour(crops, jitter), blur), constants)


def normalise(views: Tensor, mean_and_std: Tensor) -> Tensor:
    """(views − mean) / std by channel, float32 (n, 3, S, S): a new tensor."""
    means, stds = mean_and_std.view(2, 3, 1, 1)
    return (views - means).div_(stds)


class Rounds(NamedTuple):
    """For each of r rounds: the rows to take, int64 (r, n), their factors, float32 (r, n), and how many of them each
    operator gets. The last round brings the views back into their order; r = 0 where nothing is done.
    """

    rows: Tensor
    factors: Tensor
    counts: list[list[int]]


def recolour(views: Tensor, rounds: Rounds) -> Tensor:
    """Jitter, each view in its own order of operators, then grey: a new float32 (n, 3, S, S) in [0, 1].

    In each round the views are sorted by operator, so that an operator is one call on consecutive rows.
    """
    if not rounds.counts:
        return views.clone()
    each = zip(*moved([rounds.rows, rounds.factors], views.device), rounds.counts, strict=True)
    spares = itertools.cycle([torch.empty_like(views), torch.empty_like(views)])
    for (rows, factors, counts), spare in zip(each, spares, strict=False):
        views = torch.index_select(views, 0, rows, out=spare)
        parts = zip(views.split(counts), factors.view(-1, 1, 1, 1).split(counts), strict=True)
        for operator, (part, factor) in enumerate(parts):
            if len(part) and operator != _IDLE:
                _OPERATORS[operator](part, factor)
    return views


def rounds_of(colours: Colours) -> Rounds:
    """The rounds of `recolour`, on the CPU."""
    n = len(colours)
    jitter = colours.order.T.where(colours.jittered, _IDLE)
    operators = torch.cat([jitter, torch.where(colours.grey, _GREY, _IDLE)[None]])
    operators = operators[(operators != _IDLE).any(1)]
    if not len(operators):
        return Rounds(torch.empty(0, n, dtype=torch.int64), torch.empty(0, n), [])
    operators = torch.nn.functional.pad(operators, (0, 0, 0, 1), value=_IDLE)
    order = torch.argsort(operators, dim=1, stable=True)
    place = torch.empty_like(order).scatter_(1, order, torch.arange(n).expand_as(order))  # where each view then lies
    rows = torch.cat([order[:1], place[:-1].gather(1, order[1:])])
    every_factor = torch.nn.functional.pad(colours.factors.to(torch.float32), (0, 2))
    factors = every_factor[order, operators.gather(1, order)]
    counts = torch.nn.functional.one_hot(operators, _IDLE + 1).sum(1).tolist()
    return Rounds(rows, factors, counts)


# The operators change `views` (n, 3, S, S) in place; `factor` is (n, 1, 1, 1), the hue's in turns.


def _brightness(views: Tensor, factor: Tensor) -> None:
    views.mul_(factor).clamp_(0.0, 1.0)


def _contrast(views: Tensor, factor: Tensor) -> None:
    """Blend with the mean grey level of each view."""
    mean = _luma(_channel_means(views))
    views.mul_(factor).add_(mean.mul_(1 - factor)).clamp_(0.0, 1.0)


def _saturation(views: Tensor, factor: Tensor) -> None:
    """Blend with each view's grey image."""
    grey = _luma(views)
    views.mul_(factor).add_(grey.mul_(1 - factor)).clamp_(0.0, 1.0)


def _hue(views: Tensor, factor: Tensor) -> None:
    """Turn the hue by `factor` turns at constant value and saturation of the HSV cone (its hexagon, no conversion)."""
    r, g, b = views.unbind(1)
    low, high = torch.minimum(torch.minimum(r, g), b), torch.maximum(torch.maximum(r, g), b)
    chroma = high - low
    # 0 or 1, and lerp is exact at both: several times as fast as `where`, whose branches no processor can foresee.
    not_r, not_g = (high - r).sign_(), (high - g).sign_()
    turned = torch.lerp(g - b, torch.lerp(b - r, r - g, not_g), not_r)
    turned.div_(chroma.clamp_min(1e-30))  # grey has numerator 0 and any hue
    # Products that are exact, 0, 2 or 4 and multiples of 6: fused or not, there is one rounding.
    turned.addcmul_(not_g.add_(1.0), not_r, value=2.0)
    turned.add_(factor[:, 0] * 6.0)
    turned.sub_((turned * (1 / 6)).floor_(), alpha=6.0)
    for channel, share in (
        (r, (turned - 3.0).abs_().sub_(1.0)),
        (g, 2.0 - (turned - 2.0).abs_()),
        (b, 2.0 - (turned - 4.0).abs_()),
    ):
        torch.add(share.clamp_(0.0, 1.0).mul_(chroma), low, out=channel)


def _grey(views: Tensor, factor: Tensor) -> None:
    views.copy_(_luma(views))


def _luma(colours: Tensor) -> Tensor:
    """Grey level (n, 1, …) of (n, 3, …)."""
    r, g, b = (colours[:, channel : channel + 1] for channel in range(3))
    return (r * _LUMA[0]).add_(g * _LUMA[1]).add_(b * _LUMA[2])


def _channel_means(views: Tensor) -> Tensor:
    """Means (n, 3, 1, 1), halving by halving: a library's reduction may split by batch size or thread count."""
    total = views.flatten(2)
    while (count := total.shape[2]) > 1:
        odd = total[..., -1:] if count % 2 else None
        left, right = (total if odd is None else total[..., :-1]).chunk(2, dim=2)
        total = left + right
        if odd is not None:
            total[..., :1].add_(odd)
    return total[..., None] * (1 / (views.shape[2] * views.shape[3]))


_OPERATORS = {BRIGHTNESS: _brightness, CONTRAST: _contrast, SATURATION: _saturation, HUE: _hue, _GREY: _grey}
