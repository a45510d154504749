"""Pixel operators on batches of views, each equal to torchvision's on float images.

Shapes: m = images, n = views, H × W = image, S = side of a view, T = taps (pixels under one triangle).

The bytes of a view depend on its image and parameters only: not on which views are made together, in which order, or
by how many threads. It is elementwise IEEE arithmetic in float32 with one rounding per operation that makes it so: no
matrix product and no library reduction (their order of summation is not ours), no `add(alpha=)` or `lerp` (fused in
vectors, not in their tails).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from coupled.views.parameters import BRIGHTNESS, CONTRAST, HUE, SATURATION, ViewParameters

_GREY, _IDLE = 4, 5  # two operators more, beside the four of the jitter
_LUMA = (0.2989, 0.587, 0.114)  # ITU-R BT.601, as torchvision rounds it


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
    assert images.dtype == torch.uint8 and images.ndim == 4 and images.shape[1] == 3, "images are uint8 (m, 3, H, W)"
    assert len(parameters) % max(1, len(images)) == 0, f"{len(parameters)} views of {len(images)} images"
    views = recolour(crop_resize(images, parameters, size), parameters)
    constants = torch.tensor([mean, std], dtype=torch.float32).view(2, 3, 1, 1)
    means, stds = constants.to(images.device, non_blocking=True)
    return views.sub_(means).div_(stds).to(out_dtype)


def crop_resize(images: Tensor, parameters: ViewParameters, size: int) -> Tensor:
    """Antialiased bilinear resize of each crop box, mirrored where `flip`: float32 (n, 3, size, size) in [0, 1].

    W_y · image · W_xᵀ with both matrices in band storage: first along the width, then along the height.
    """
    (m, _, height, width), n, device = images.shape, len(parameters), images.device
    upright = torch.zeros_like(parameters.flip)
    columns = band(parameters.left, parameters.width, parameters.flip, width, size)
    rows = band(parameters.top, parameters.height, upright, height, size)
    # The resampled axis leads in memory, so that a tap copies whole runs of the others.
    pixels = torch.empty(m, width, 3, height, dtype=torch.float32, device=device).copy_(images.permute(0, 3, 1, 2))
    narrow = _resample(pixels.flatten(2), *columns).view(n, size, 3, height)
    narrow = narrow.permute(0, 3, 2, 1).contiguous()
    views = _resample(narrow.flatten(2), *rows).view(n, size, 3, size).permute(0, 2, 1, 3).contiguous()
    # A tensor, not a number: devices divide by a number through its rounded reciprocal, and 255 must become 1.
    return views.div_(torch.full((1,), 255.0, device=device, dtype=torch.float32))


def band(start: Tensor, length: Tensor, mirrored: Tensor, pixels: int, size: int) -> tuple[Tensor, Tensor]:
    """One axis of `crop_resize`: which pixels make each of `size` outputs, and their weights.

    For boxes `start`, `length` (n,) on an axis of `pixels` pixels: the first pixel, int64 (n, size), and the weights
    of it and its followers, float32 (n, size, T), rounded from float64. The triangle filter is widened by the scale
    when shrinking (the antialiasing of Pillow and torchvision); weights outside the box are zero, the rest sum to 1.
    """
    place = torch.arange(size, dtype=torch.float64)
    place = torch.where(mirrored[:, None], size - 1 - place, place)
    scale = (length.to(torch.float64) / size)[:, None]
    centre = start[:, None] + (place + 0.5) * scale
    reach = scale.clamp_min(1.0)
    # An open interval of length 2·reach holds at most ⌈2·reach⌉ pixel centres; T is that of the whole image.
    taps = min(pixels, math.ceil(2 * max(1.0, pixels / size)))
    first = (centre - reach + 0.5).floor().to(torch.int64).clamp(0, pixels - taps)
    pixel = first[..., None] + torch.arange(taps)
    inside = (pixel >= start[:, None, None]) & (pixel < (start + length)[:, None, None])
    weights = (1 - ((pixel + 0.5 - centre[..., None]) / reach[..., None]).abs()).clamp_min(0.0) * inside
    return first, (weights / _ordered_sum(weights)).to(torch.float32)


def _resample(pixels: Tensor, first: Tensor, weights: Tensor) -> Tensor:
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


def _ordered_sum(values: Tensor) -> Tensor:
    """Sum over the last axis from first to last, (…, 1): zeros at either end never change it."""
    total = torch.zeros_like(values[..., :1])
    for tap in range(values.shape[-1]):
        total = total + values[..., tap : tap + 1]
    return total


def recolour(views: Tensor, parameters: ViewParameters) -> Tensor:
    """Jitter, each view in its own order of operators, then grey: float32 (n, 3, S, S) in [0, 1]. Overwrites `views`.

    In each round the views are sorted by operator, so that an operator is one call on consecutive rows.
    """
    spare = torch.empty_like(views)
    for rows, counts, factors in _rounds(parameters, views.device):
        views, spare = torch.index_select(views, 0, rows, out=spare), views
        start = 0
        for operator, count in enumerate(counts[:_IDLE]):
            if count:
                part = slice(start, start + count)
                _OPERATORS[operator](views[part], factors[part, None, None, None])
            start += count
    return views


def _rounds(parameters: ViewParameters, device: torch.device) -> list[tuple[Tensor, list[int], Tensor]]:
    """For each round: the rows to take, how many of them each operator gets, and the rows' factors, float32 (n,).

    Made on the CPU and moved once. The last round brings the views back into their order.
    """
    n = len(parameters)
    idle = torch.full((n,), _IDLE)
    rounds = [torch.where(parameters.jittered, operator, idle) for operator in parameters.order.unbind(1)]
    rounds.append(torch.where(parameters.grey, _GREY, idle))
    rounds = [operators for operators in rounds if bool((operators != _IDLE).any())]
    if not rounds:
        return []
    every_factor = torch.nn.functional.pad(parameters.factors.to(torch.float32), (0, 2))
    place = torch.arange(n)  # the row where each view lies now
    rows, factors = [], []
    for operators in [*rounds, idle]:
        order = torch.arange(n) if operators is idle else torch.argsort(operators, stable=True)
        rows.append(place[order])
        factors.append(every_factor[order, operators[order]])
        place = torch.empty_like(place).scatter_(0, order, torch.arange(n))
    counts = [torch.bincount(operators, minlength=_IDLE + 1).tolist() for operators in [*rounds, idle]]
    moved = (torch.stack(table).to(device, non_blocking=True) for table in (rows, factors))
    return [(row, count, factor) for row, factor, count in zip(*moved, counts, strict=True)]


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
    safe = chroma.clamp_min(1e-30)  # grey has numerator 0 and any hue
    turned = torch.where(
        r == high, (g - b) / safe, torch.where(g == high, ((b - r) / safe).add_(2.0), ((r - g) / safe).add_(4.0))
    )
    turned.add_(factor[:, 0] * 6.0)
    turned.sub_((turned * (1 / 6)).floor_().mul_(6.0))
    for channel, share in (
        (r, (turned - 3.0).abs_().sub_(1.0)),
        (g, 2.0 - (turned - 2.0).abs_()),
        (b, 2.0 - (turned - 4.0).abs_()),
    ):
        channel.copy_(share.clamp_(0.0, 1.0).mul_(chroma).add_(low))


def _grey(views: Tensor, factor: Tensor) -> None:
    views.copy_(_luma(views))


def _luma(colours: Tensor) -> Tensor:
    """Grey level (n, 1, …) of (n, 3, …)."""
    r, g, b = (colours[:, channel : channel + 1] for channel in range(3))
    return (r * _LUMA[0]).add_(g * _LUMA[1]).add_(b * _LUMA[2])


def _channel_means(views: Tensor) -> Tensor:
    """Means (n, 3, 1, 1), halving by halving: a library's reduction may split by batch size or thread count."""
    total = views.flatten(2)
    while total.shape[2] > 1:
        half = total.shape[2] // 2
        odd = total[..., 2 * half :]
        total = total[..., :half] + total[..., half : 2 * half]
        total[..., : odd.shape[2]] += odd
    return total[..., None] * (1 / (views.shape[2] * views.shape[3]))


_OPERATORS = {BRIGHTNESS: _brightness, CONTRAST: _contrast, SATURATION: _saturation, HUE: _hue, _GREY: _grey}
