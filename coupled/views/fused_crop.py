"""`operators.crop_resize` compiled: the same operations on every pixel, chained while it is in a processor's cache.

Shapes: m = images, n = views, H × W = image, S = side of a view, T = taps of one axis of a view.
"""

import math

import numpy as np

from coupled.compiling import Bytes, Floats, Integers, kernel, part

_WHITE = np.float32(255)


@part
def _band(
    start: int, length: int, mirrored: bool, origin: int, pixels: int, size: int, first: Integers
) -> tuple[int, Floats]:
    """`operators.band` of one box: fills `first` (S,), pixels counted from the first that is read, and returns that
    one and the weights (T, S). T is `operators.band`'s, or less where the last weights are all zero.
    """
    taps = min(pixels, math.ceil(2.0 * max(1.0, pixels / size)))
    scale = length / size
    reach = max(scale, 1.0)
    weights, exact = np.empty((taps, size), np.float32), np.empty(taps, np.float64)
    used = 1
    for j in range(size):
        place = j + 0.5
        centre = start + ((size - place) if mirrored else place) * scale
        first[j] = min(max(math.floor(centre - reach + 0.5), origin), origin + pixels - taps)
        total = 0.0
        for tap in range(taps):
            middle = first[j] + (tap + 0.5)
            inside = middle > start and middle < start + length
            exact[tap] = max(1.0 - abs((middle - centre) / reach), 0.0) if inside else 0.0
            total += exact[tap]
        for tap in range(taps):
            weights[tap, j] = np.float32(exact[tap] / total)
            if weights[tap, j] > 0:
                used = max(used, tap + 1)
    low = min(first[0], first[size - 1])
    first -= low
    return low, weights[:used]


@part
def _gather(pixels: Floats, first: Integers, weights: Floats, narrow: Floats) -> None:
    """One row along the width: `narrow` (S,) of `pixels` (W,)."""
    share = weights[0]
    if len(weights) == 1:
        for j in range(len(narrow)):
            narrow[j] = pixels[first[j]] * share[j]
        return
    other = weights[1]
    for j in range(len(narrow)):
        narrow[j] = pixels[first[j]] * share[j] + pixels[first[j] + 1] * other[j]
    for tap in range(2, len(weights)):
        share = weights[tap]
        for j in range(len(narrow)):
            narrow[j] += pixels[first[j] + tap] * share[j]


@part
def _blend(narrow: Floats, first: int, weights: Floats, row: Floats) -> None:
    """One row of a view, `row` (S,), of the rows of `narrow` (H, S) from `first` on; 255 becomes 1."""
    taps, one, share = len(weights), narrow[first], weights[0]
    if taps == 1:
        for j in range(len(row)):
            row[j] = one[j] * share / _WHITE
        return
    two, other = narrow[first + 1], weights[1]
    if taps == 2:
        for j in range(len(row)):
            row[j] = (one[j] * share + two[j] * other) / _WHITE
        return
    for j in range(len(row)):
        row[j] = one[j] * share + two[j] * other
    for tap in range(2, taps - 1):
        one, share = narrow[first + tap], weights[tap]
        for j in range(len(row)):
            row[j] += one[j] * share
    one, share = narrow[first + taps - 1], weights[taps - 1]
    for j in range(len(row)):
        row[j] = (row[j] + one[j] * share) / _WHITE


@kernel("void(uint8[:,:,:,:], int64[:,::1], boolean, int64, int64, float32[:,:,:,::1])")
def crop(images: Bytes, boxes: Integers, cut: bool, start: int, stop: int, views: Floats) -> None:
    """Views `start` to `stop` of `views` (n, 3, S, S), from `images` (m, 3, H, W): view v·m + i is of image i.

    `boxes` (n, 5): top, left, height, width, mirrored. `cut`: bands are those of a box cut out of its image.
    """
    size = views.shape[3]
    rows, columns = np.empty(size, np.int64), np.empty(size, np.int64)
    for view in range(start, stop):
        image = images[view % images.shape[0]]
        top, left, height, width, mirrored = boxes[view]
        origin, pixels = (top, height) if cut else (0, image.shape[1])
        upper, down = _band(top, height, False, origin, pixels, size, rows)
        origin, pixels = (left, width) if cut else (0, image.shape[2])
        outer, across = _band(left, width, mirrored != 0, origin, pixels, size, columns)
        line = np.empty(max(columns[0], columns[size - 1]) + len(across), np.float32)
        narrow = np.empty((rows[size - 1] + len(down), size), np.float32)
        for channel in range(3):
            for y in range(len(narrow)):
                given = image[channel, upper + y, outer : outer + len(line)]
                for x in range(len(line)):
                    line[x] = np.float32(given[x])
                _gather(line, columns, across, narrow[y])
            for y in range(size):
                _blend(narrow, rows[y], down[:, y], views[view, channel, y])
