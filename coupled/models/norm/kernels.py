"""Batch-norm's passes compiled: x is read twice and y written once; x and the gradient are read twice and dx written.

Shapes: rows (N, W) as in `layout`, C channels; `run` = elements of a channel that lie side by side in a row: H·W
(contiguous) or 1 (channels_last). A row is cut into tiles of columns that stay in a core's cache; where all tiles begin
with channel 0 they are `alike`. `moments` (2, C) are mean and (population) variance.
A job is N·j/J ≤ row < N·(j+1)/J of J jobs. J depends on nothing but the shape, and sums of jobs are put together in
their order, so that threads change no bit. Up to 32 elements are added in the rows' precision; all else is float64.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from coupled.compiling import kernel, part

Rows = NDArray[Any]  # float32 or float64
Sums = NDArray[np.float64]

# Columns of a tile: memory is read fastest in long pieces, but what is spread over a tile, up to four values a column,
# has to stay in a core's second cache. Where channels change with every column, sums of a tile take longer to collect
# the more there are, for their depth is limited.
_TILE, _LONG_TILE = 1 << 12, 1 << 14
_SHIFT_EVERY = 8  # one row in so many makes the shift of a job; that bounds the shift's distance from the mean
_BLOCK = 16  # rows that share what is spread over a tile
_DEPTH = 32  # elements added in the rows' precision


@part
def _tiles(width: int, run: int, channels: int) -> tuple[int, bool]:
    """The width of a tile, and whether all are alike."""
    if run == 1 and channels <= _TILE:
        return min(_TILE // channels * channels, width), True
    tile = min(_TILE if run == 1 else _LONG_TILE, width)
    return tile, tile == width


@part
def _piece(start: int, width: int, run: int, low: int, channels: int) -> tuple[int, int]:
    """Of the columns of a tile from `low` on, those from `start` that one look at the channels serves: the first one's
    channel, and where they stop. With `run` = 1 they are of that channel and those after it, else all of that one.
    """
    if run == 1:
        channel = (low + start) % channels
        return channel, min(start + channels - channel, width)
    channel = (low + start) // run
    return channel, min((channel + 1) * run - low, width)


@part
def _spread(values: Rows, run: int, low: int, wide: Rows) -> None:
    """Fill `wide`, the columns of a tile from `low` on, with the value (C,) of their channels."""
    start, width = 0, len(wide)
    while start < width:
        channel, stop = _piece(start, width, run, low, len(values))
        some = wide[start:stop]
        if run == 1:
            own = values[channel : channel + stop - start]
            for i in range(len(some)):
                some[i] = own[i]
        else:
            value = values[channel]
            for i in range(len(some)):
                some[i] = value
        start = stop


@part
def _sum(values: Rows) -> float:
    """In eight float64 numbers, which are then added up."""
    a = b = c = d = e = f = g = h = 0.0
    whole = len(values) // 8 * 8
    for i in range(0, whole, 8):
        eight = values[i : i + 8]
        a += eight[0]
        b += eight[1]
        c += eight[2]
        d += eight[3]
        e += eight[4]
        f += eight[5]
        g += eight[6]
        h += eight[7]
    for i in range(whole, len(values)):
        a += values[i]
    return ((a + e) + (b + f)) + ((c + g) + (d + h))


@part
def _collect(wide: Rows, run: int, low: int, sums: Sums) -> None:
    """Add `wide`, sums of the columns of a tile from `low` on, to the sums (C,) of their channels."""
    start, width = 0, len(wide)
    while start < width:
        channel, stop = _piece(start, width, run, low, len(sums))
        if run == 1:
            some, own = wide[start:stop], sums[channel : channel + stop - start]
            for i in range(len(some)):
                own[i] += some[i]
        else:
            sums[channel] += _sum(wide[start:stop])
        start = stop


@part
def _add(row: Rows, total: Rows) -> None:
    for i in range(len(total)):
        total[i] += row[i]


@part
def _add_moments(row: Rows, shift: Rows, total: Rows, squares: Rows) -> None:
    for i in range(len(total)):
        value = row[i] - shift[i]
        total[i] += value
        squares[i] += value * value


@part
def _add_moments_of_two(row: Rows, other: Rows, shift: Rows, total: Rows, squares: Rows) -> None:
    for i in range(len(total)):
        value, second = row[i] - shift[i], other[i] - shift[i]
        total[i] += value + second
        squares[i] += value * value + second * second


@part
def _shift(rows: Rows, run: int, first: int, stop: int, alike: bool, total: Rows, sums: Sums, shift: Rows) -> None:
    """Fill `shift` (C,) with the mean of every eighth row from `first` to `stop`."""
    width, tile, C = rows.shape[1], len(total), len(shift)
    sums[:] = 0
    for low in range(0, width, tile):
        high = min(low + tile, width)
        if low == 0 or not alike:
            total[:] = 0
        for row in range(first, stop, _SHIFT_EVERY):
            _add(rows[row, low:high], total[: high - low])
        if not alike:
            _collect(total[: high - low], run, low, sums)
    if alike:
        _collect(total, run, 0, sums)
    n = (stop - first + _SHIFT_EVERY - 1) // _SHIFT_EVERY * (width // C)
    for channel in range(C):
        shift[channel] = sums[channel] / n


@kernel()
def find_moments(rows: Rows, run: int, begin: int, end: int, sums: Sums) -> None:
    """Fill sums (J, 2, C) from job `begin` to `end` with the job's mean and Σ(x − mean)² of each channel.

    The job's shift is within √7·σ of its mean: no digit is lost however far the mean is from 0.
    """
    (N, width), (J, _, C) = rows.shape, sums.shape
    tile, alike = _tiles(width, run, C)
    spread, totals, squares = np.empty(tile, rows.dtype), np.empty(tile, rows.dtype), np.empty(tile, rows.dtype)
    shift = np.empty(C, rows.dtype)
    for job in range(begin, end):
        first, stop = N * job // J, N * (job + 1) // J
        mean, square = sums[job, 0], sums[job, 1]
        _shift(rows, run, first, stop, alike, totals, mean, shift)
        mean[:] = 0
        square[:] = 0
        depth = 0
        for low in range(0, width, tile):
            high = min(low + tile, width)
            here = high - low
            if low == 0 or not alike:
                _spread(shift, run, low, spread[:here])
            if depth == 0:
                totals[:] = 0
                squares[:] = 0
            for row in range(first, stop - 1, 2):
                _add_moments_of_two(
                    rows[row, low:high], rows[row + 1, low:high], spread[:here], totals[:here], squares[:here]
                )
            if (stop - first) % 2:
                _add_moments(rows[stop - 1, low:high], spread[:here], totals[:here], squares[:here])
            depth += stop - first
            if not alike or depth + stop - first > _DEPTH or high == width:
                collected = tile if alike else here
                _collect(totals[:collected], run, low, mean)
                _collect(squares[:collected], run, low, square)
                depth = 0
        n = (stop - first) * (width // C)
        for channel in range(C):
            residue = mean[channel] / n
            rest = square[channel] - mean[channel] * residue
            square[channel] = 0 if rest < 0 else rest  # NaN stays
            mean[channel] = residue + shift[channel]


@kernel("void(float64[:,:,::1], int64, int64, float64[:,::1])")
def combine_moments(sums: Sums, N: int, elements: int, whole: Sums) -> None:
    """Fill whole (2, C) with the moments of N rows of `elements` a channel, from those of jobs."""
    J, _, C = sums.shape
    n = N * elements
    whole[:] = 0
    for job in range(J):
        share = (N * (job + 1) // J - N * job // J) * elements / n
        for channel in range(C):
            whole[0, channel] += share * sums[job, 0, channel]
    for job in range(J):
        share = (N * (job + 1) // J - N * job // J) * elements / n
        for channel in range(C):
            apart = sums[job, 0, channel] - whole[0, channel]
            whole[1, channel] += sums[job, 1, channel] / n + share * (apart * apart)


@part
def _normalise(row: Rows, shift: Rows, scale: Rows, offset: Rows, y: Rows) -> None:
    for i in range(len(y)):
        y[i] = (row[i] - shift[i]) * scale[i] + offset[i]


@kernel()
def normalise(
    rows: Rows, run: int, first: int, stop: int, moments: Sums, weight: Rows, bias: Rows, eps: float, y: Rows
) -> None:
    """Fill y (N, W) from row `first` to `stop` with weight·(x − mean)/√(variance + eps) + bias, all (C,); an empty
    `bias` is none.
    """
    width, C = rows.shape[1], len(weight)
    shift, scale, offset = np.empty(C, rows.dtype), np.empty(C, rows.dtype), np.empty(C, rows.dtype)
    for channel in range(C):
        shift[channel] = moments[0, channel]
        factor = 1 / np.sqrt(moments[1, channel] + eps) * weight[channel]
        scale[channel] = factor
        offset[channel] = (bias[channel] if len(bias) else 0) - (moments[0, channel] - shift[channel]) * factor
    tile, alike = _tiles(width, run, C)
    spread = np.empty((3, tile), rows.dtype)
    for begin in range(first, stop, _BLOCK):
        end = min(begin + _BLOCK, stop)
        for low in range(0, width, tile):
            high = min(low + tile, width)
            shifts, scales, offsets = spread[0, : high - low], spread[1, : high - low], spread[2, : high - low]
            if not alike or (begin == first and low == 0):
                _spread(shift, run, low, shifts)
                _spread(scale, run, low, scales)
                _spread(offset, run, low, offsets)
            for row in range(begin, end):
                _normalise(rows[row, low:high], shifts, scales, offsets, y[row, low:high])


@part
def _add_products(gradient: Rows, row: Rows, shift: Rows, total: Rows, dots: Rows) -> None:
    for i in range(len(total)):
        total[i] += gradient[i]
        dots[i] += gradient[i] * (row[i] - shift[i])


@kernel()
def find_products(
    gradients: Rows, rows: Rows, run: int, begin: int, end: int, moments: Sums, eps: float, sums: Sums
) -> None:
    """Fill sums (J, 2, C) from job `begin` to `end` with Σg and Σg·x̂ of each channel."""
    (N, width), (J, _, C) = rows.shape, sums.shape
    tile, alike = _tiles(width, run, C)
    spread, totals, dots = np.empty(tile, rows.dtype), np.empty(tile, rows.dtype), np.empty(tile, rows.dtype)
    shift = moments[0].astype(rows.dtype)
    for job in range(begin, end):
        first, stop = N * job // J, N * (job + 1) // J
        sums[job] = 0
        depth = 0
        for low in range(0, width, tile):
            high = min(low + tile, width)
            here = high - low
            if not alike or (job == begin and low == 0):
                _spread(shift, run, low, spread[:here])
            if depth == 0:
                totals[:] = 0
                dots[:] = 0
            for row in range(first, stop):
                _add_products(gradients[row, low:high], rows[row, low:high], spread[:here], totals[:here], dots[:here])
            depth += stop - first
            if not alike or depth + stop - first > _DEPTH or high == width:
                collected = tile if alike else here
                _collect(totals[:collected], run, low, sums[job, 0])
                _collect(dots[:collected], run, low, sums[job, 1])
                depth = 0
        for channel in range(C):
            dot = sums[job, 1, channel] - (moments[0, channel] - shift[channel]) * sums[job, 0, channel]
            sums[job, 1, channel] = dot / np.sqrt(moments[1, channel] + eps)


@kernel("void(float64[:,:,::1], float64[:,::1])")
def add_up(sums: Sums, whole: Sums) -> None:
    """Fill whole (2, C) with the sum over jobs of sums (J, 2, C)."""
    J, _, C = sums.shape
    whole[:] = 0
    for job in range(J):
        for which in range(2):
            for channel in range(C):
                whole[which, channel] += sums[job, which, channel]


@part
def _differentiate(gradient: Rows, row: Rows, shift: Rows, scale: Rows, slope: Rows, offset: Rows, dx: Rows) -> None:
    for i in range(len(dx)):
        dx[i] = gradient[i] * scale[i] + ((row[i] - shift[i]) * slope[i] + offset[i])


@kernel()
def differentiate(
    gradients: Rows,
    rows: Rows,
    run: int,
    first: int,
    stop: int,
    moments: Sums,
    weight: Rows,
    eps: float,
    products: Sums,
    n: int,
    dx: Rows,
) -> None:
    """Fill dx (N, W) from row `first` to `stop` with scale·(g − mean g − x̂·mean(g·x̂)), the means being `products`
    (2, C) over n, scale = weight/√(variance + eps) and x̂ = (x − mean)/√(variance + eps).

    It is computed as scale·g + (slope·(x − shift) + offset), with the mean in the rows' precision for shift.
    """
    width, C = rows.shape[1], len(weight)
    shift, scale = np.empty(C, rows.dtype), np.empty(C, rows.dtype)
    slope, offset = np.empty(C, rows.dtype), np.empty(C, rows.dtype)
    for channel in range(C):
        shift[channel] = moments[0, channel]
        inverse_std = 1 / np.sqrt(moments[1, channel] + eps)
        factor = weight[channel] * inverse_std
        scale[channel] = factor
        tilt = -factor * inverse_std * (products[1, channel] / n)
        slope[channel] = tilt
        offset[channel] = -factor * (products[0, channel] / n) - tilt * (moments[0, channel] - shift[channel])
    tile, alike = _tiles(width, run, C)
    spread = np.empty((4, tile), rows.dtype)
    for begin in range(first, stop, _BLOCK):
        end = min(begin + _BLOCK, stop)
        for low in range(0, width, tile):
            high = min(low + tile, width)
            shifts, scales = spread[0, : high - low], spread[1, : high - low]
            slopes, offsets = spread[2, : high - low], spread[3, : high - low]
            if not alike or (begin == first and low == 0):
                _spread(shift, run, low, shifts)
                _spread(scale, run, low, scales)
                _spread(slope, run, low, slopes)
                _spread(offset, run, low, offsets)
            for row in range(begin, end):
                _differentiate(
                    gradients[row, low:high], rows[row, low:high], shifts, scales, slopes, offsets, dx[row, low:high]
                )
