"""Gaussian blur of some of the views, each by its own sigma, equal to torchvision's `gaussian_blur`.

Shapes: n = views, b = those that are blurred, S = side, R = radius: taps −R … R of a view's kernel.

A Gaussian is separable: one pass along the height, one along the width. The passes are tap by tap, as all of
`operators`, so that the bytes of a view depend on nothing but its pixels, its sigma and its kernel.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from coupled.staging import moved
from coupled.views.parameters import Colours, exp_series

_FAINTEST = -18.0  # six sigmas: less than 3e-8 of the whole lies beyond, half a rounding of float32; exactly 0
_SQUARINGS = 4
_CACHED = 1 << 18  # values


class Blurs(NamedTuple):
    """Which rows are blurred, int64 (b,), the widest kernel first, and by which half kernels, float32 (b, R + 1).

    `counts` (R + 1): how many kernels reach each tap, the first so many. b = 0 where none is.
    """

    rows: Tensor
    weights: Tensor
    counts: list[int]


def blurs_of(colours: Colours) -> Blurs:
    """The table of `gaussian_blur`, on the CPU."""
    rows = colours.blurred.nonzero()[:, 0]
    if not len(rows):
        return Blurs(rows, torch.empty(0, 1), [0])
    weights = kernel_weights(colours.sigma[rows], colours.kernel[rows])
    # The widest first: a tap is then one call on the first so many views, and none is multiplied by zeros.
    order = torch.argsort((weights > 0).sum(1), descending=True, stable=True)
    return Blurs(rows[order], weights[order], (weights > 0).sum(0).tolist())


def gaussian_blur(views: Tensor, blurs: Blurs) -> Tensor:
    """Blur those of `views` (n, 3, S, S), float32, that `blurs` say. Overwrites `views`."""
    many = len(blurs.rows)
    if not many:
        return views
    rows, weights = moved([blurs.rows, blurs.weights], views.device)
    # Few enough at once that they stay in a processor's cache; a device would rather have one large call.
    at_once = max(1, _CACHED // views[0].numel()) if views.device.type == "cpu" else many
    for start in range(0, many, at_once):
        chosen = rows[start : start + at_once]
        counts = [min(count - start, len(chosen)) for count in blurs.counts if count > start]
        taps = weights[start : start + at_once, : len(counts)]
        blurred = views.index_select(0, chosen)
        for axis in (2, 3):
            blurred = _smooth(blurred, taps, counts, axis)
        views.index_copy_(0, chosen, blurred)
    return views


def kernel_weights(sigma: Tensor, kernel: Tensor) -> Tensor:
    """Half kernels, float32 (b, R + 1), R that of the widest: weight k is that of both pixels k away.

    exp(−k²/2σ²) for k ≤ kernel // 2, scaled so that w₀ + 2 Σ w_k = 1. The same bits on every machine: IEEE operations
    of float64 alone. `exp_series` reaches to log 8, so it is given a sixteenth of the exponent and squared four times,
    which costs 16 of its roundings (1e-14). The exponent itself can be −6050 (σ = .1, k = 11) or −∞: it is cut where
    the weight no longer counts, and the weight there is an exact zero, never an underflow, a denormal or a NaN.
    """
    distance = torch.arange(int(kernel.max()) // 2 + 1, dtype=torch.float64)
    share = distance / sigma[:, None]
    exponent = share * share * -0.5
    kept = (exponent >= _FAINTEST) & (distance <= kernel[:, None] // 2)
    weights = exp_series(exponent.clamp_min(_FAINTEST) / 2**_SQUARINGS)
    for _ in range(_SQUARINGS):
        weights = weights * weights
    weights = weights * kept
    total = weights[:, :1]
    for tap in range(1, weights.shape[1]):
        total = total + 2.0 * weights[:, tap : tap + 1]
    return (weights / total).to(torch.float32)


def _smooth(views: Tensor, weights: Tensor, counts: list[int], axis: int) -> Tensor:
    """One pass along `axis` of `views` (b, 3, S, S), mirrored at their edges without repeating the edge."""
    side, radius = views.shape[axis], weights.shape[1] - 1
    assert radius < side, f"a kernel of {2 * radius + 1} px cannot be mirrored into {side} px"
    margin = [radius, radius, 0, 0] if axis == 3 else [0, 0, radius, radius]
    padded = torch.nn.functional.pad(views, margin, mode="reflect")
    total = views * weights[:, :1, None, None]
    for tap in range(1, radius + 1):
        some = padded[: counts[tap]]
        pair = some.narrow(axis, radius - tap, side) + some.narrow(axis, radius + tap, side)
        total[: counts[tap]].add_(pair.mul_(weights[: counts[tap], tap, None, None, None]))
    return total
