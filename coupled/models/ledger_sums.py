"""The pass of a ledger over an arm's flat vectors and its reference's, compiled: what they sum up to, layer by layer,
and how the accumulators of the exact split move on. docs/theory.md (103) to (107).

As in `layer_sums` the bits of a sum depend neither on the number of threads nor on which other sums are taken. All
arithmetic is in float64; what is stored is rounded to the vectors' own precision once.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from coupled.compiling import Integers, kernel, part
from coupled.models.layer_sums import added
from coupled.threads import share

Doubles = NDArray[np.float64]
# As many as `ledger_passes` has of `Product`, in its order, of fields of `Vectors`, and of `Passing`.
COLUMNS: Final = 17
VECTORS: Final = 14
FLAGS: Final = 5
_LANES: Final = 128
# Elements that are worth a thread of their own.
_WORTH: Final = 1 << 18


def ledger_sums(
    vectors: Sequence[NDArray[Any] | None],
    about: Sequence[bool],
    rates: Sequence[float],
    blocks: Integers,
    firsts: Integers,
    threads: int,
) -> Doubles:
    """All columns by layer (COLUMNS, layers), 0 where the pass is not about them; then, if it has gradients and the
    split, the accumulators take in the step.

    `vectors`, `about`, `rates`: as in `ledger_passes`. `blocks`, `firsts`: where blocks begin, and the last ends; each
    layer's first.
    """
    assert len(vectors) == VECTORS and vectors[0] is not None
    by_block = np.zeros((len(blocks) - 1, COLUMNS))
    walk = _walk(vectors[0].dtype.name)
    arrays = [vectors[0] if flat is None else flat for flat in vectors]

    def walk_over(start: int, stop: int) -> None:
        walk(*arrays, blocks[start : stop + 1], by_block[start:stop], *about, *rates)

    share(walk_over, len(by_block), min(threads, int(blocks[-1] - blocks[0]) // _WORTH))
    with np.errstate(invalid="ignore"):  # ∞ − ∞, of weights that ran away
        return np.add.reduceat(by_block, firsts, axis=0).T.copy()


@part
def _less(out: Doubles, x: NDArray[Any], y: NDArray[Any], n: int) -> None:
    """x − y in float64, and 0 behind their n elements."""
    for i in range(n):
        out[i] = np.float64(x[i]) - np.float64(y[i])
    for i in range(n, _LANES):
        out[i] = 0.0


@part
def _wide(out: Doubles, x: NDArray[Any], n: int) -> None:
    for i in range(n):
        out[i] = np.float64(x[i])
    for i in range(n, _LANES):
        out[i] = 0.0


@part
def _multiply(lanes: Doubles, x: Doubles, y: Doubles) -> None:
    for i in range(_LANES):
        lanes[i] += x[i] * y[i]


@part
def _take(
    sums: NDArray[Any], moved: NDArray[Any], step: Doubles, rate: float, keep: float, momentum: bool, n: int
) -> None:
    """I ← μI + step, D_a ← D_a − ηI, each rounded once; without momentum no sum is kept."""
    if not momentum:
        for i in range(n):
            moved[i] = np.float64(moved[i]) - rate * step[i]
        return
    for i in range(n):
        sums[i] = keep * np.float64(sums[i]) + step[i]
    for i in range(n):
        moved[i] = np.float64(moved[i]) - rate * np.float64(sums[i])


@part
def _sum(lanes: Doubles, d: Doubles, v: Doubles, a: Doubles, b: Doubles, parts: Doubles, rest: Doubles) -> None:
    """Every column's products of one stretch. `parts`: D_a, D_b, D_0, D_k."""
    d_a, d_b, d_0, d_k = parts[0], parts[1], parts[2], parts[3]
    for i in range(_LANES):
        rest[i] = d[i] - d_a[i] - d_b[i] - d_0[i] - d_k[i]
    _multiply(lanes[0], d, d)
    _multiply(lanes[1], v, v)
    _multiply(lanes[2], d, v)
    _multiply(lanes[3], a, a)
    _multiply(lanes[4], b, b)
    _multiply(lanes[5], a, d)
    _multiply(lanes[6], b, d)
    _multiply(lanes[7], a, b)
    _multiply(lanes[8], a, v)
    _multiply(lanes[9], b, v)
    _multiply(lanes[10], d_a, d_a)
    _multiply(lanes[11], d_b, d_b)
    _multiply(lanes[12], d_a, d_b)
    _multiply(lanes[13], d_b, d)
    _multiply(lanes[14], d_0, d_0)
    _multiply(lanes[15], d_k, d_k)
    _multiply(lanes[16], rest, rest)


@cache
def _walk(dtype: str) -> Callable[..., Any]:
    """The pass over vectors of one precision."""
    vector = f"{dtype}[::1]"
    flags = ", ".join(["boolean"] * FLAGS)

    @kernel(f"void({', '.join([vector] * VECTORS)}, int64[::1], float64[:,::1], {flags}, float64, float64, float64)")
    def walk(
        w: Any, v: Any, g: Any, g_at: Any, w_ref: Any, v_ref: Any, g_ref: Any, w_0: Any, w_0_ref: Any,
        by_instability: Any, by_objective: Any, from_instability: Any, from_objective: Any, from_moves: Any,
        blocks: Integers, out: Doubles, momentum: bool, gradients: bool, split: bool, apart: bool, moves: bool,
        rate: float, keep: float, decay: float,
    ) -> None:  # fmt: skip
        lanes, parts, rest = np.empty((COLUMNS, _LANES)), np.zeros((4, _LANES)), np.zeros(_LANES)
        # What the pass is not about stays 0.
        d, q, a, b = np.zeros(_LANES), np.zeros(_LANES), np.zeros(_LANES), np.zeros(_LANES)
        for block in range(out.shape[0]):
            lanes[:] = 0.0
            for at in range(blocks[block], blocks[block + 1], _LANES):
                end = min(at + _LANES, blocks[block + 1])
                n = end - at
                _less(d, w_ref[at:end], w[at:end], n)
                if momentum:
                    _less(q, v_ref[at:end], v[at:end], n)
                if gradients:
                    _less(a, g_ref[at:end], g_at[at:end], n)
                    _less(b, g_at[at:end], g[at:end], n)
                if split:
                    _wide(parts[0], from_instability[at:end], n)
                    _wide(parts[1], from_objective[at:end], n)
                if apart:
                    _less(parts[2], w_0_ref[at:end], w_0[at:end], n)
                if moves:
                    _wide(parts[3], from_moves[at:end], n)
                _sum(lanes, d, q, a, b, parts, rest)
                if split and gradients:
                    for i in range(_LANES):
                        a[i] += decay * d[i]
                    _take(by_instability[at:end], from_instability[at:end], a, rate, keep, momentum, n)
                    _take(by_objective[at:end], from_objective[at:end], b, rate, keep, momentum, n)
            for column in range(COLUMNS):
                out[block, column] = added(lanes[column])

    return walk
