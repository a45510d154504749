"""The nearest shots of many draws and numbers of shots, in one pass over the cosines of all candidates; votes."""

import numpy as np
from numpy.typing import NDArray

from coupled.compiling import kernel


@kernel("void(float64[:,::1], uint32[:,::1], int64[::1], float64, int64[:,:,:,::1], uint8[:,:,::1])")
def walk(
    cosines: NDArray[np.float64],
    orders: NDArray[np.uint32],
    ends: NDArray[np.int64],
    equal: float,
    nearest: NDArray[np.int64],
    doubtful: NDArray[np.uint8],
) -> None:
    """Walks the orders (D, M) of shots over cosines (q, n) and writes at each of `ends` (E,) which shots were nearest
    so far: nearest (D, E, q, k), positions, from the largest cosine on; of fewer shots as many as there are.

    doubtful (D, E, q) is 1 where two neighbours in a row, the one after the last among them, are `equal` or closer:
    there the order is not settled.
    """
    draws, count_of_ends, queries, k = nearest.shape
    top, place = np.empty(k + 1, np.float64), np.empty(k + 1, np.int64)
    for query in range(queries):
        row = cosines[query]
        for draw in range(draws):
            order = orders[draw]
            count, end = 0, 0
            for step in range(ends[count_of_ends - 1]):
                value = row[order[step]]
                if count <= k or value > top[k]:
                    at = min(count, k)
                    count = min(count + 1, k + 1)
                    while at > 0 and top[at - 1] < value:
                        top[at], place[at] = top[at - 1], place[at - 1]
                        at -= 1
                    top[at], place[at] = value, order[step]
                if step + 1 == ends[end]:
                    for i in range(min(count, k)):
                        nearest[draw, end, query, i] = place[i]
                        if i + 1 < count and top[i] - top[i + 1] <= equal:
                            doubtful[draw, end, query] = 1
                    end += 1


@kernel("void(int64[:,::1], int64[::1], int64[::1], int64, int64[:,::1])")
def elect(
    nearest: NDArray[np.int64],
    index: NDArray[np.int64],
    ks: NDArray[np.int64],
    classes: int,
    elected: NDArray[np.int64],
) -> None:
    """Writes which class, of C `classes`, most of the first ks[i] of nearest (q, k) have: elected (len(ks), q). index
    (n,): the class of each position. Of equally many the first; negative positions do not vote.
    """
    counts = np.empty(classes, np.int64)
    for query in range(len(nearest)):
        counts[:] = 0
        voted = 0
        for which in range(len(ks)):
            for i in range(voted, ks[which]):
                if nearest[query, i] >= 0:
                    counts[index[nearest[query, i]]] += 1
            voted = ks[which]
            most = 0
            for own in range(1, classes):
                if counts[own] > counts[most]:
                    most = own
            elected[which, query] = most
