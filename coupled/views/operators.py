"""Pixel operators on batches of views, each equal to torchvision's on float images.

Shapes: m = images, n = views, H × W = image, S = side of a view, T = taps (pixels under one triangle).

The bytes of a view depend on its image and parameters only: not on which views are made together, in which order, or
by how many threads. The reason is elementwise IEEE arithmetic in float32 with one rounding per operation. There is no
matrix product and no library reduction: their order of summation is not ours. There is no `add(alpha=)` or `lerp`,
which are fused in vectors but not in their tails, except with factors that make every product exact.
"""

import itertools
import math

import numpy as np
import torch
from torch import Tensor

from coupled.views.parameters import BRIGHTNESS, CONTRAST, HUE, SATURATION, Boxes, Colours

_GREY, _IDLE = 4, 5  # two further operators, beside the four of the jitter
_LARGE = 1 << 15  # pixels: each view of an image this large is cut out and made alone, which spares the rest of it
_LUMA = (0.2989, 0.587, 0.114)  # ITU-R BT.601, as torchvision rounds it


def crop_resize(images: Tensor, boxes: Boxes, size: int) -> Tensor:
    """Antialiased bilinear resize of each crop box, mirrored where `flip`: float32 (n, 3, size, size) in [0, 1].

    `images` is uint8 (m, 3, H, W) and n a multiple of m: row v·m + i of `boxes` is view v of image i.
    """
    check_images(images, boxes)
    if not cut_out(images):
        return _cut_resize(images, boxes, size)
    views = torch.empty(len(boxes), 3, size, size, dtype=torch.float32, device=images.device)
    sides = torch.stack([boxes.top, boxes.left, boxes.height, boxes.width], dim=1).tolist()
    for row, (top, left, height, width) in enumerate(sides):
        cut = images[row % len(images), None, :, top : top + height, left : left + width]
        views[row] = _cut_resize(cut, boxes[row : row + 1], size, top, left)[0]
    return views


def check_images(images: Tensor, boxes: Boxes) -> None:
    """Assert that images and boxes are as `crop_resize` needs them."""
    assert images.dtype == torch.uint8 and images.ndim == 4 and images.shape[1] == 3, "images are uint8 (m, 3, H, W)"
    assert len(boxes) % max(1, len(images)) == 0, f"{len(boxes)} views of {len(images)} images"


def cut_out(images: Tensor) -> bool:
    """Does `crop_resize` cut boxes out first? `band` then counts taps by the box instead of the image."""
    return images.shape[2] * images.shape[3] >= _LARGE


def _cut_resize(images: Tensor, boxes: Boxes, size: int, top: int = 0, left: int = 0) -> Tensor:
    """`crop_resize` of what was cut out of images at `top`, `left`: it holds every box."""
    upright = torch.zeros_like(boxes.flip)
    rows = band(boxes.top, boxes.height, upright, images.shape[2], size, top)
    return resample(images, rows, band(boxes.left, boxes.width, boxes.flip, images.shape[3], size, left))


def resample(images: Tensor, rows: tuple[Tensor, Tensor], columns: tuple[Tensor, Tensor]) -> Tensor:
    """W_y · image · W_xᵀ / 255 with both matrices as `band` stores them: float32 (n, 3, rows, columns) in [0, 1].

    First along the width, then along the height. `images` is uint8 (m, 3, H, W); row v·m + i of the bands is for
    image i.
    """
    (m, _, height, width), device = images.shape, images.device
    # The resampled axis comes before the others in memory, so that a tap copies whole runs of them.
    pixels = torch.empty(m, width, 3, height, dtype=torch.float32, device=device).copy_(images.permute(0, 3, 1, 2))
    narrow = _product(pixels.flatten(2), *columns).unflatten(2, (3, height))
    # Each channel is an image of its own from here on: a run is shorter, but comes out where the view has it.
    planes = narrow.permute(0, 2, 3, 1).contiguous().flatten(0, 1)
    views = _product(planes, *(column.repeat_interleave(3, dim=0) for column in rows)).unflatten(0, (len(rows[0]), 3))
    # A tensor, not a number: devices divide by a number through its rounded reciprocal, and 255 must become 1.
    return views.div_(torch.full((1,), 255.0, device=device, dtype=torch.float32))


def band(
    start: Tensor, length: Tensor, mirrored: Tensor, pixels: int, size: int, origin: int = 0
) -> tuple[Tensor, Tensor]:
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
    """Banded product along axis 1 of `pixels` (m, L, C): (n, S, C). Row v·m + i of the band reads image i."""
    (m, length, _), n = pixels.shape, len(first)
    image = torch.arange(n) % m
    # Tap by tap, first to last: the order of summation is ours, whatever the batch.
    rows = (first + (image * length)[:, None]).flatten().to(pixels.device, non_blocking=True)
    shares = weights.flatten(0, 1).to(pixels.device, non_blocking=True)
    source = pixels.flatten(0, 1)
    total = source.index_select(0, rows).mul_(shares[:, :1])
    for tap in range(1, shares.shape[1]):
        total.add_(source.index_select(0, rows + tap).mul_(shares[:, tap : tap + 1]))
    return total.view(n, -1, pixels.shape[2])


def recolour(views: Tensor, colours: Colours) -> Tensor:
    """Jitter, each view in its own order of operators, then grey: a new float32 (n, 3, S, S) in [0, 1].

    In each round the views are sorted by operator, so that an operator is one call on consecutive rows.
    """
    rounds = _rounds(colours, views.device)
    if not rounds:
        return views.clone()
    spares = itertools.cycle([torch.empty_like(views), torch.empty_like(views)])
    for (rows, factors, counts), spare in zip(rounds, spares, strict=False):
        views = torch.index_select(views, 0, rows, out=spare)
        parts = zip(views.split(counts), factors.view(-1, 1, 1, 1).split(counts), strict=True)
        for operator, (part, factor) in enumerate(parts):
            if len(part) and operator != _IDLE:
                _OPERATORS[operator](part, factor)
    return views


def _rounds(colours: Colours, device: torch.device) -> list[tuple[Tensor, Tensor, list[int]]]:
    """For each round: the rows to take, their factors, float32 (n,), and how many of them each operator gets.

    Made on the CPU and moved once. The last round brings the views back into their order; no round where nothing is
    done.
    """
    n = len(colours)
    jitter = colours.order.T.where(colours.jittered, _IDLE)
    operators = torch.cat([jitter, torch.where(colours.grey, _GREY, _IDLE)[None]])
    operators = operators[(operators != _IDLE).any(1)]
    if not len(operators):
        return []
    operators = torch.nn.functional.pad(operators, (0, 0, 0, 1), value=_IDLE)
    order = torch.argsort(operators, dim=1, stable=True)
    place = torch.empty_like(order).scatter_(1, order, torch.arange(n).expand_as(order))  # where each view then lies
    rows = torch.cat([order[:1], place[:-1].gather(1, order[1:])])
    every_factor = torch.nn.functional.pad(colours.factors.to(torch.float32), (0, 2))
    factors = every_factor[order, operators.gather(1, order)]
    counts = torch.nn.functional.one_hot(operators, _IDLE + 1).sum(1).tolist()
    moved = (table.to(device, non_blocking=True) for table in (rows, factors))
    return [(row, factor, count) for row, factor, count in zip(*moved, counts, strict=True)]


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
