"""Alignment of the features of pairs of arms at one checkpoint on one split: what is read, and what is compared.

Shapes: n evaluated samples, widths of h, z and of pooled stage features.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Final, NamedTuple

import torch
from torch import Tensor

from analysis.evaluation.alignment.pairs import Pair
from analysis.evaluation.features import Evaluation, Place
from analysis.runs.parallel import side_by_side
from analysis.statistics.estimates import Estimate
from analysis.statistics.streamed import Rows, memory, streamed, whole
from coupled.arms.network import meta_network
from coupled.data.splits import SplitName

_HELD_BYTES: Final = 512 << 20  # of features of all arms at one step on one split; more are read anew in every pass
_BYTES: Final = 7 << 28  # 1.75 GiB: of these features and of the pairs that are worked on side by side, one at least


class Columns(NamedTuple):
    """Two columns of features that are compared, of the first arm and of the second: "h" with "h", or two stages."""

    own: str
    other: str

    def __str__(self) -> str:
        return self.own if self.own == self.other else f"{self.own} × {self.other}"


Key = tuple[Pair, Columns]


def columns_of(pair: Pair, split: SplitName) -> list[Columns]:
    """h and z, and with stage features every stage with itself and, on test, with every other."""
    own, other = ([name for name in widths(side) if name.startswith("stage.")] for side in (pair.own, pair.other))
    same = [Columns(stage, stage) for stage in own if stage in other]
    crossed = [Columns(*stages) for stages in product(own, other) if stages[0] != stages[1]]
    return [Columns("h", "h"), Columns("z", "z"), *same, *(crossed if split == "test" else [])]


def widths(evaluation: Evaluation) -> dict[str, int]:
    """How many numbers a sample has in every column, by the column's name."""
    config = evaluation.run.config

    def of_network() -> dict[str, int]:
        network = meta_network(config)
        stages = zip(evaluation.stage_names(), network.stage_dims, strict=True) if evaluation.stages else ()
        return {"h": network.feature_dim, "z": config.model.projection_dim, **dict(stages)}

    return evaluation.run.remembered(("widths", evaluation.stages), of_network)


def aligned(
    pairs: Sequence[Pair], step: int, split: SplitName, progress: Callable[[], None]
) -> dict[Key, dict[str, Estimate]]:
    """Every measure of every pair's columns: CKA debiased and biased, and RSA; of two different stages debiased CKA.

    Pairs side by side, each on one thread; `progress` is called after each.
    """
    keys = [(pair, columns) for pair in pairs for columns in columns_of(pair, split)]
    of_pair = max(_memory(pair, columns, split) for pair, columns in keys)
    sources = _Sources(pairs, step, split, min(_HELD_BYTES, _BYTES - of_pair))

    def work(key: Key) -> Iterator[tuple[Key, dict[str, Estimate]]]:
        pair, columns = key
        x = sources.rows(pair.own, pair.arm, columns.own)
        y = sources.rows(pair.other, pair.reference, columns.other)
        yield key, _measured(columns, x, y)
        progress()

    return dict(side_by_side(keys, work, most=side_by_side_at_most(sources.held_bytes, of_pair)))


def side_by_side_at_most(held: int, of_pair: int) -> int:
    """How many pairs of `of_pair` bytes fit in memory beside features of `held` bytes; one at least."""
    return max(1, (_BYTES - held) // of_pair)


def _memory(pair: Pair, columns: Columns, split: SplitName) -> int:
    n, d, e = len(pair.own.sample(split)), widths(pair.own)[columns.own], widths(pair.other)[columns.other]
    return memory(n, d, e)


def _measured(columns: Columns, x: Rows, y: Rows) -> dict[str, Estimate]:
    if columns.own != columns.other:
        return streamed(("cka",), x, y)
    if columns.own == "z":  # rows of norm 1: all measures share their sums
        return streamed(("cka", "cka_biased", "rsa"), x, y, unit=True)
    return {**streamed(("cka", "cka_biased"), x, y), **streamed(("rsa",), x, y, unit=True)}


def _bytes(evaluation: Evaluation, split: SplitName) -> int:
    """Of all columns of an arm at one step on a split."""
    number = getattr(torch, evaluation.run.config.train.dtype).itemsize
    return number * len(evaluation.sample(split)) * sum(widths(evaluation).values())


class _Sources:
    """Where the rows of every arm's columns come from: from memory where all take no more than `most` bytes, else from
    the disk in every pass. `held_bytes` of them are in memory.
    """

    def __init__(self, pairs: Sequence[Pair], step: int, split: SplitName, most: int) -> None:
        self._step = step
        self._split: SplitName = split
        sides = [side for pair in pairs for side in ((pair.own, pair.arm), (pair.other, pair.reference))]
        sides = list(dict.fromkeys(sides))
        wanted = sum(_bytes(evaluation, split) for evaluation, _ in sides)
        self.held_bytes = wanted if wanted <= most else 0
        self._held: dict[tuple[Evaluation, str], dict[str, Tensor]] = {}
        if self.held_bytes:
            self._held = {side: self._read(*side) for side in sides}

    def rows(self, evaluation: Evaluation, arm: str, column: str) -> Rows:
        if (evaluation, arm) in self._held:
            return whole(self._held[evaluation, arm][column])
        place = Place(arm, self._step, self._split)
        return lambda: (block for (block,) in evaluation.blocks(place, column))

    def _read(self, evaluation: Evaluation, arm: str) -> dict[str, Tensor]:
        columns = list(widths(evaluation))
        blocks = list(evaluation.blocks(Place(arm, self._step, self._split), *columns))
        return {column: torch.cat(parts) for column, parts in zip(columns, zip(*blocks, strict=True), strict=True)}
