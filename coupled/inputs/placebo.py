"""Permuted labels: as many of every class as before, on other samples."""

from functools import lru_cache

from torch import Tensor

from coupled.address import Purpose, permutation
from coupled.config.traits import Permuted


def permuted(key: Permuted, labels: Tensor, *, seed: int, step: int, ids: Tensor) -> Tensor:
    """The labels (B,) that a placebo sees in the batch of `step`, whose samples are `ids` (B,).

    `labels` (N,) are the true ones of the whole split. Within a batch: those of its samples, in an order keyed by
    (seed, step, draw), so that the batch's class counts stay. Across the run: those of the split in an order keyed by
    (seed, draw), so that a sample has one label for good. docs/theory.md (99).
    """
    if key.across == "batch":
        return labels[ids][permutation(seed, Purpose.PLACEBO, len(ids), a=step, b=key.draw)]
    return labels[_order(seed, key.draw, len(labels))[ids]]


@lru_cache(maxsize=32)
def _order(seed: int, draw: int, n: int) -> Tensor:
    return permutation(seed, Purpose.PLACEBO_RUN, n, a=draw)


def overlap_by_chance(counts: Tensor) -> float:
    """The expected share of the pairs of one permuted class that are of one true class too; NaN where there is no pair.

    `counts` (C,): samples of each class in the batch, or across the run in the data set. docs/theory.md (100).
    """
    n = counts.sum().item()
    pairs = (counts * (counts - 1)).sum().item()
    return pairs / (n * (n - 1)) if pairs else float("nan")
