"""Colours, blur and normalisation compiled: those of `operators` and `blur`, on blocks that stay in a core's cache.

Shapes: n = views, S = side of a view, P = S·S pixels, C = operators of a view, K = taps of its blur.
"""

import numpy as np

from coupled.compiling import Floats, Integers, kernel, part
from coupled.views.parameters import BRIGHTNESS, CONTRAST, HUE, SATURATION

GREY, NORMALISE, IDLE = 4, 5, 6  # further operators, beside the four of the jitter
_BLOCK = 1024  # pixels: their three channels take 12 of the 32 KiB that are nearest to a core
_ZERO, _ONE, _TWO, _THREE, _FOUR, _SIX = (np.float32(value) for value in (0, 1, 2, 3, 4, 6))
_SIXTH, _FAINT = np.float32(1 / 6), np.float32(1e-30)
_RED, _GREEN, _BLUE = np.float32(0.2989), np.float32(0.587), np.float32(0.114)


@part
def _clamped(value: np.float32) -> np.float32:
    return min(max(value, _ZERO), _ONE)


@part
def _luma(red: np.float32, green: np.float32, blue: np.float32) -> np.float32:
    return red * _RED + green * _GREEN + blue * _BLUE


@part
def _hue(r: Floats, g: Floats, b: Floats, turn: np.float32) -> None:
    """`turn` is in sixths of a turn."""
    for i in range(len(r)):
        red, green, blue = r[i], g[i], b[i]
        low = min(red, green, blue)
        high = max(red, green, blue)
        chroma = high - low
        turned = (green - blue) if high == red else ((blue - red) if high == green else (red - green))
        turned = turned / max(chroma, _FAINT)
        turned = turned + (_ZERO if high == red else (_TWO if high == green else _FOUR))
        turned = turned + turn
        turned = turned - np.floor(turned * _SIXTH) * _SIX
        r[i] = _clamped(abs(turned - _THREE) - _ONE) * chroma + low
        g[i] = _clamped(_TWO - abs(turned - _TWO)) * chroma + low
        b[i] = _clamped(_TWO - abs(turned - _FOUR)) * chroma + low


@part
def _brightness(channel: Floats, factor: np.float32) -> None:
    for i in range(len(channel)):
        channel[i] = _clamped(channel[i] * factor)


@part
def _contrast(channel: Floats, factor: np.float32, share: np.float32) -> None:
    for i in range(len(channel)):
        channel[i] = _clamped(channel[i] * factor + share)


@part
def _saturation(r: Floats, g: Floats, b: Floats, factor: np.float32) -> None:
    rest = _ONE - factor
    for i in range(len(r)):
        share = _luma(r[i], g[i], b[i]) * rest
        r[i] = _clamped(r[i] * factor + share)
        g[i] = _clamped(g[i] * factor + share)
        b[i] = _clamped(b[i] * factor + share)


@part
def _grey(r: Floats, g: Floats, b: Floats) -> None:
    for i in range(len(r)):
        luma = _luma(r[i], g[i], b[i])
        r[i] = luma
        g[i] = luma
        b[i] = luma


@part
def _mean(channel: Floats, sums: Floats, spare: Floats) -> np.float32:
    """Halving by halving, as `operators` sums; `sums` and `spare` hold half of the channel's pixels each."""
    count, total = len(channel), channel
    while count > 1:
        half = count // 2
        left, right, pairs = total[:half], total[half : 2 * half], sums[:half]
        for i in range(half):
            pairs[i] = left[i] + right[i]
        if count % 2:
            pairs[0] += total[count - 1]
        count, total = half, pairs
        sums, spare = spare, sums
    return total[0] * np.float32(1 / len(channel))


@part
def _normalise(channel: Floats, mean: np.float32, std: np.float32) -> None:
    for i in range(len(channel)):
        channel[i] = (channel[i] - mean) / std


@part
def _apply(
    operator: int, factor: np.float32, share: np.float32, constants: Floats, r: Floats, g: Floats, b: Floats
) -> None:
    if operator == BRIGHTNESS:
        for channel in (r, g, b):
            _brightness(channel, factor)
    elif operator == CONTRAST:
        for channel in (r, g, b):
            _contrast(channel, factor, share)
    elif operator == SATURATION:
        _saturation(r, g, b, factor)
    elif operator == HUE:
        _hue(r, g, b, factor * _SIX)
    elif operator == GREY:
        _grey(r, g, b)
    elif operator == NORMALISE:
        _normalise(r, constants[0, 0], constants[1, 0])
        _normalise(g, constants[0, 1], constants[1, 1])
        _normalise(b, constants[0, 2], constants[1, 2])


@part
def _recolour(
    crop: Floats, chain: Integers, factors: Floats, constants: Floats, sums: Floats, spare: Floats, view: Floats
) -> None:
    """Fill `view` (3, P) with `crop` (3, P) after the operators of `chain`, block by block.

    A contrast needs the mean of the whole view, so all blocks wait for it.
    """
    pixels, begin, waited, share, means = crop.shape[1], 0, 0, _ZERO, np.empty(3, np.float32)
    while True:
        end = begin + waited
        while end < len(chain) and chain[end] != CONTRAST:
            end += 1
        for low in range(0, pixels, _BLOCK):
            high = min(low + _BLOCK, pixels)
            r, g, b = view[0, low:high], view[1, low:high], view[2, low:high]
            if not waited:
                r[:] = crop[0, low:high]
                g[:] = crop[1, low:high]
                b[:] = crop[2, low:high]
            for place in range(begin, end):
                _apply(chain[place], factors[place], share, constants, r, g, b)
        if end == len(chain):
            return
        for channel in range(3):
            means[channel] = _mean(view[channel], sums, spare)
        share = _luma(means[0], means[1], means[2]) * (_ONE - factors[end])
        begin, waited = end, 1


@part
def _add_pair(row: Floats, before: Floats, after: Floats, weight: np.float32) -> None:
    for i in range(len(row)):
        row[i] += (before[i] + after[i]) * weight


@part
def _blur(channel: Floats, weights: Floats, padded: Floats, blurred: Floats) -> None:
    """Fill `blurred` with `blur.gaussian_blur` of `channel` (S, S), row by row: along the height, then the width."""
    size, radius = len(channel), len(weights) - 1
    last, middle = size - 1, padded[radius : radius + size]
    for y in range(size):
        row = channel[y]
        for i in range(size):
            middle[i] = row[i] * weights[0]
        for tap in range(1, radius + 1):
            _add_pair(middle, channel[abs(y - tap)], channel[last - abs(last - y - tap)], weights[tap])
        for tap in range(1, radius + 1):
            padded[radius - tap] = middle[tap]
            padded[radius + last + tap] = middle[last - tap]
        row = blurred[y]
        for i in range(size):
            row[i] = middle[i] * weights[0]
        for tap in range(1, radius + 1):
            _add_pair(row, padded[radius - tap :], padded[radius + tap :], weights[tap])


@kernel(
    "void(float32[:,:,:,::1], int64[:,::1], float32[:,::1], int64[::1], float32[:,::1], float32[:,::1], int64, int64, "
    "float32[:,:,:,::1])"
)
def finish(
    crops: Floats,
    chains: Integers,
    factors: Floats,
    taps: Integers,
    weights: Floats,
    constants: Floats,
    start: int,
    stop: int,
    views: Floats,
) -> None:
    """Fill views `start` to `stop` of `views` (n, 3, S, S) with `crops` after colours, blur and normalisation.

    `chains` (n, C) are the operators of each view and `factors` (n, C) their factors; `taps` (n,), where 0 means no
    blur, and `weights` (n, K) are of the blur; `constants` (2, 3) are the channels' means and deviations. The chain of
    a view that is blurred does not normalise: that comes after the blur.
    """
    size = crops.shape[3]
    pixels = size * size
    sums, spare = np.empty(pixels // 2 + 1, np.float32), np.empty(pixels // 2 + 1, np.float32)
    held = np.empty((3, size, size), np.float32)
    padded = np.empty(size + 2 * weights.shape[1], np.float32)
    for row in range(start, stop):
        crop, view = crops[row], views[row]
        target = held if taps[row] else view
        _recolour(crop.reshape(3, pixels), chains[row], factors[row], constants, sums, spare, target.reshape(3, pixels))
        if taps[row]:
            for channel in range(3):
                _blur(held[channel], weights[row, : taps[row]], padded, view[channel])
                _normalise(view[channel].reshape(pixels), constants[0, channel], constants[1, channel])
