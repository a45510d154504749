"""Sums over the layers of flat float32 vectors, any of them together in one pass, compiled.

A block is a part of one layer. Element i of it is added to lane i modulo 256, the lanes are added in halves, and the
blocks of a layer in their order: the bits of a sum depend neither on the number of threads, nor on which other sums are
taken, nor on the width of the machine's vectors. Elements are widened to float64, so that constants are float64 here.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from coupled.compiling import Floats, Integers, kernel, part
from coupled.threads import share

Doubles = NDArray[np.float64]
# What `sums` can take: w², (w−a)², (w−a)(w+a), (w+a)², (w−w_0)², (w−w_0)(a−a_0), by their columns.
COLUMNS: Final = 6
_LANES: Final = 256
# Elements that are worth a thread of their own: waking one takes as long as a few 10⁴.
_WORTH: Final = 1 << 20
_VECTOR: Final = "float32[::1]"
_SIGNATURE: Final = f"void({', '.join([_VECTOR] * 5)}, int64[::1], float64[:,::1])"


def sums(
    vectors: Sequence[Floats],
    wanted: Sequence[int],
    blocks: Integers,
    firsts: Integers,
    copy: Floats | None,
    threads: int,
) -> Doubles:
    """The `wanted` columns by layer, (columns, layers), of w, a, w_0 and a_0; w goes to `copy` in the same pass.

    `blocks`: where they begin, and the last ends; `firsts`: each layer's first.
    """
    by_block = np.zeros((len(blocks) - 1, COLUMNS))
    walk = _walk(*(column in wanted for column in range(COLUMNS)), copy is not None)
    own = vectors[0]
    arguments = (*vectors, own if copy is None else copy)

    def walk_over(start: int, stop: int) -> None:
        walk(*arguments, blocks[start : stop + 1], by_block[start:stop])

    share(walk_over, len(by_block), min(threads, int(blocks[-1] - blocks[0]) // _WORTH))
    with np.errstate(invalid="ignore"):  # ∞ − ∞, of weights that ran away
        return np.add.reduceat(by_block, firsts, axis=0)[:, list(wanted)].T.copy()


@part
def added(lanes: Doubles) -> float:
    """Their sum, by halves: always in this order. There are a power of two of them, which are overwritten."""
    half = len(lanes) // 2
    while half:
        for i in range(half):
            lanes[i] += lanes[i + half]
        half //= 2
    return lanes[0]


@cache
def _walk(
    squares: bool, distances: bool, radial: bool, opposite: bool, moved: bool, along: bool, copies: bool
) -> Callable[..., Any]:
    """The pass that takes these sums: what it does not take is compiled away."""

    @kernel(_SIGNATURE)
    def walk(
        own: Floats, other: Floats, start: Floats, other_start: Floats, copy: Floats, blocks: Integers, out: Doubles
    ) -> None:
        # Arrays of their own: of rows of one array LLVM would not know that they lie apart.
        a, b, c = np.empty(_LANES), np.empty(_LANES), np.empty(_LANES)
        d, e, f = np.empty(_LANES), np.empty(_LANES), np.empty(_LANES)
        for block in range(out.shape[0]):
            for i in range(_LANES):
                a[i] = b[i] = c[i] = d[i] = e[i] = f[i] = 0.0
            for at in range(blocks[block], blocks[block + 1], _LANES):
                end = min(at + _LANES, blocks[block + 1])
                w, v, w_0, v_0, kept = own[at:end], other[at:end], start[at:end], other_start[at:end], copy[at:end]
                for i in range(end - at):
                    x, y = np.float64(w[i]), np.float64(v[i])
                    difference, total = x - y, x + y
                    motion, motion_of_other = x - np.float64(w_0[i]), y - np.float64(v_0[i])
                    if squares:
                        a[i] += x * x
                    if distances:
                        b[i] += difference * difference
                    if radial:
                        c[i] += difference * total
                    if opposite:
                        d[i] += total * total
                    if moved:
                        e[i] += motion * motion
                    if along:
                        f[i] += motion * motion_of_other
                if copies:
                    for i in range(end - at):
                        kept[i] = w[i]
            out[block, 0], out[block, 1], out[block, 2] = added(a), added(b), added(c)
            out[block, 3], out[block, 4], out[block, 5] = added(d), added(e), added(f)

    return walk
