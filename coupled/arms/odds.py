"""The words behind a direction as numbers in (−1, 1), compiled: Philox4x32-10, as `coupled.address` has it."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from coupled.compiling import Integers, kernel
from coupled.threads import share

Doubles = NDArray[np.float64]
_TILE: Final = 256
# Blocks that are worth a thread of their own.
_WORTH: Final = 1 << 15


def odds(places: Integers, names: Integers, key: tuple[int, int], fields: tuple[int, int], threads: int) -> Doubles:
    """(w + ½)·2⁻³¹ − 1 of the four words w of every block, exact, (4n,).

    A block is at a place (n,) of the address whose field a is its name (n,); the other counter words are `fields`.
    """
    out = np.empty(4 * len(places))

    def walk_over(start: int, stop: int) -> None:
        _walk(places[start:stop], names[start:stop], *key, *fields, out[4 * start : 4 * stop])

    share(walk_over, len(places), min(threads, len(places) // _WORTH))
    return out


@kernel("void(int64[::1], int64[::1], int64, int64, int64, int64, float64[::1])")
def _walk(places: Integers, names: Integers, k0: int, k1: int, c2: int, c3: int, out: Doubles) -> None:
    mask = 0xFFFFFFFF
    a, b = np.empty(_TILE, np.int64), np.empty(_TILE, np.int64)
    c, d = np.empty(_TILE, np.int64), np.empty(_TILE, np.int64)
    for at in range(0, len(places), _TILE):
        place, name = places[at : at + _TILE], names[at : at + _TILE]
        for i in range(len(place)):
            x, y, z, w = place[i], name[i], c2, c3
            key, other = k0, k1
            for _ in range(10):
                # Of numbers below 2³², whose product wraps: the 64 bits that remain are those of the unsigned product.
                p, q = (x & mask) * 0xD2511F53, (z & mask) * 0xCD9E8D57
                x, y, z, w = ((q >> 32) & mask) ^ y ^ key, q & mask, ((p >> 32) & mask) ^ w ^ other, p & mask
                key, other = (key + 0x9E3779B9) & mask, (other + 0xBB67AE85) & mask
            a[i], b[i], c[i], d[i] = x, y, z, w
        rows = out[4 * at : 4 * (at + _TILE)]
        for i in range(len(place)):
            rows[4 * i] = (a[i] + 0.5) * 2.0**-31 - 1.0
            rows[4 * i + 1] = (b[i] + 0.5) * 2.0**-31 - 1.0
            rows[4 * i + 2] = (c[i] + 0.5) * 2.0**-31 - 1.0
            rows[4 * i + 3] = (d[i] + 0.5) * 2.0**-31 - 1.0
