"""What all arms share at a step: ids, labels, the integer draws of both views, pixels."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from coupled import views
from coupled.address import Purpose
from coupled.config import Config
from coupled.config.traits import LabelKey, Permuted, traits_of
from coupled.data.splits import FileSplit, Split
from coupled.data.workers import Ahead, AheadThread
from coupled.inputs.dataset import data_info
from coupled.inputs.order import Balanced, Uniform
from coupled.inputs.pixels import Pixels
from coupled.inputs.placebo import permuted
from coupled.inputs.side_stream import SideStream
from coupled.objectives.masks import PairMasks, pair_masks
from coupled.ranks.mesh import ALONE, Axis


@dataclass(frozen=True)
class Batch:
    """One step's shared input: B samples, two views each.

    ids and visits int64 (B,); words int64 (2, B, words per view), the draws behind the views; pixels (2B, 3, S, S) in
    the run's precision, view 1 first; labels (B,) on the CPU, by labelling; pair masks (2B, 2B) on the arms' device, by
    labelling, by the permuted labels of each placebo, and under None where an arm of unlabelled data needs them. Where
    ranks share a batch, pixels are those of this rank's samples alone, (2b, 3, S, S); all else is of the whole batch,
    on every rank.
    """

    step: int
    ids: Tensor
    visits: Tensor
    words: Tensor
    pixels: Tensor
    labels: Mapping[str, Tensor]
    pairs: Mapping[LabelKey, PairMasks]

    def on_device(self) -> Iterator[Tensor]:
        """The tensors that are on the arms' device."""
        yield self.pixels
        for masks in self.pairs.values():
            yield from (masks.others, masks.different, masks.same, masks.kept, masks.labels)


# step, ids, visits, words, crops: see `Source.drawn`.
Drawn = tuple[int, Tensor, Tensor, Tensor, Tensor]


class Stream:
    """A run's batches in order, made ahead of the steps that take them; their bytes are those of `Source.at`.

    Image folders: `data.workers` processes decode and crop. Images in memory: one thread makes whole batches, on a GPU
    on a stream of its own.
    """

    def __init__(self, source: "Source", steps: int) -> None:
        self._finish: Callable[[Any], Batch] = lambda batch: batch
        self._ahead: Ahead[Any] | AheadThread[Any]
        if isinstance(source.split, FileSplit):
            views.load_kernels()  # once, for all the workers that will be forked
            self._ahead = Ahead(source.drawn, source.config.data.workers, steps)
            self._finish = source.finished
        elif source.device.type == "cuda":
            side = SideStream(source.at)
            self._ahead, self._finish = AheadThread(side.begin, steps), side.arrived
        else:
            self._ahead = AheadThread(source.at, steps)

    def at(self, step: int) -> Batch:
        """The batch of `step`; cheap for the one after the last, at the price of a start for any other."""
        return self._finish(self._ahead.at(step))

    def close(self) -> None:
        """End the thread or the processes."""
        self._ahead.close()


class Source:
    """Batches by step: a pure function of (config, data set, step). `data`: the ranks that make the views together."""

    def __init__(
        self, config: Config, split: Split, labellings: list[str], device: torch.device, data: Axis = ALONE.data
    ) -> None:
        self.config, self.split, self.device = config, split, device
        self._own = data.part(config.batches.size)
        info = data_info(config)
        self.left_out = info.left_out
        self.labels = {name: split.labels(name) for name in labellings}
        keys = [traits_of(config.arms, arm).labels for arm in config.arms]
        self._permuted = [key for key in dict.fromkeys(keys) if isinstance(key, Permuted)]
        self._pixels = Pixels(config, device, info.mean, info.std)
        size, seed = config.batches.size, config.seed
        if (by := config.data.balance_by) is not None:
            self.batches = Balanced(seed, split.labels(by), info.classes[by], size)
        else:
            self.batches = Uniform(seed, len(split), size)

    def at(self, step: int) -> Batch:
        """The batch of `step`; also the way to replay one."""
        return self.finished(self.drawn(step))

    def drawn(self, step: int) -> "Drawn":
        """A batch before its views get their colours, (step, ids, visits, words, crops): all that reads images."""
        ids, visits = self.batches.at(step)
        words = views.view_words(self.config.seed, Purpose.VIEW, ids, visits, torch.tensor([[0], [1]]))
        return step, ids, visits, words, self._pixels.crops(self.split, ids[self._own], words[:, self._own])

    def finished(self, drawn: "Drawn") -> Batch:
        """The batch that was drawn, on the arms' device."""
        step, ids, visits, words, crops = drawn
        labels = {name: values[ids] for name, values in self.labels.items()}
        masks: dict[LabelKey, PairMasks] = {name: pair_masks(values.to(self.device)) for name, values in labels.items()}
        for key in self._permuted:
            values = permuted(key, self.labels[key.labelling], seed=self.config.seed, step=step, ids=ids)
            masks[key] = pair_masks(values.to(self.device))
        if not masks:
            masks[None] = pair_masks(torch.arange(len(ids), device=self.device))
        return Batch(step, ids, visits, words, self._pixels.finished(crops, words[:, self._own]), labels, masks)

    def pixels(self, ids: Tensor, words: Tensor) -> Tensor:
        """Both views (2n, 3, S, S), in the run's precision, of samples (n,) under words (2, n, …)."""
        return self._pixels.views(self.split, ids, words)

    def plain(self, split: Split, ids: Tensor) -> Tensor:
        """Images of a split un-augmented: resized and normalised like a view, (n, 3, S, S)."""
        return self._pixels.plain(split, ids)
