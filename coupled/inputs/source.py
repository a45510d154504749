"""What arms see at a step: ids, labels, the integer draws of both views, pixels. All share them but those of a kind."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from coupled import runtime, views
from coupled.config import Config
from coupled.config.traits import Inputs, LabelKey, Permuted, own_inputs, traits_of
from coupled.data.splits import FileSplit, Split
from coupled.data.workers import Ahead, AheadThread
from coupled.inputs.dataset import data_info
from coupled.inputs.draws import Draws, Integers
from coupled.inputs.held import held
from coupled.inputs.pixels import Pixels
from coupled.inputs.placebo import permuted
from coupled.inputs.shares import Share, is_shared
from coupled.inputs.side_stream import SideStream
from coupled.objectives.masks import PairMasks, pair_masks
from coupled.ranks.mesh import ALONE, Axis, Mesh
from coupled.staging import moved


@dataclass(frozen=True)
class Batch:
    """One step's input: B samples, two views each. What arms share; `others` has what some see in its place.

    ids and visits int64 (B,); words int64 (2, B, words per view), the draws behind the views; pixels (2B, 3, S, S) in
    the run's precision, view 1 first; labels (B,) on the CPU, by labelling; pair masks (2B, 2B) on the arms' device, by
    labelling, by the permuted labels of each placebo, and under None where an arm of unlabelled data needs them. Where
    ranks share a batch, pixels are those of this rank's samples alone, (2b, 3, S, S); all else is of the whole batch,
    on every rank. `inputs`: of which kind it is, None: the shared. `others`: the batches of other kinds that arms here
    see; `elsewhere`: the integers of those that only arms on other ranks do. `in_place`: what is on the device lies
    where it does at every step.
    """

    step: int
    ids: Tensor
    visits: Tensor
    words: Tensor
    pixels: Tensor
    labels: Mapping[str, Tensor]
    pairs: Mapping[LabelKey, PairMasks]
    inputs: Inputs | None = None
    others: Mapping[Inputs, "Batch"] = field(default_factory=dict)
    elsewhere: Mapping[Inputs, Integers] = field(default_factory=dict)
    in_place: bool = False

    def of(self, inputs: Inputs | None) -> "Batch":
        """The step's batch of a kind of input, of an arm that is here."""
        return self if inputs == self.inputs else self.others[inputs]  # type: ignore[index]

    def integers(self) -> dict[Inputs | None, Integers]:
        """Those of every kind of input of the run."""
        here = {batch.inputs: Integers(batch.ids, batch.visits, batch.words) for batch in (self, *self.others.values())}
        return {**here, **self.elsewhere}

    def on_device(self) -> Iterator[Tensor]:
        """The tensors that are on the arms' device."""
        yield self.pixels
        for masks in self.pairs.values():
            yield from (masks.others, masks.different, masks.same, masks.kept, masks.labels)
        for batch in self.others.values():
            yield from batch.on_device()


# step, then ids, visits, words and crops of every kind of input: see `Source.drawn`. No crops of a kind that is not
# made here. Plain tuples, whose tensors workers hand over in shared memory.
Drawn = tuple[int, tuple[tuple[Tensor, Tensor, Tensor, Tensor | None], ...]]


class Stream:
    """A run's batches in order, made ahead of the steps that take them; their bytes are those of `Source.at`.

    Image folders: `data.workers` processes decode and crop, where ranks hold different arms this rank's share alone;
    then `at` is a meeting of all ranks, who hand on views in it. Images in memory: one thread makes whole batches. On a
    GPU that thread has a stream of its own, and finishes the crops of image folders too where none are handed on.
    """

    def __init__(self, source: "Source", steps: int) -> None:
        self._finish: Callable[[Any], Batch] = lambda batch: batch
        self._together: Callable[[Callable[[], Any]], Any] = lambda act: act()
        self._ahead: Ahead[Any] | AheadThread[Any]
        self._workers: Ahead[Any] | None = None
        beside, make = runtime.has_streams(source.device), source.at
        if isinstance(source.split, FileSplit):
            views.load_kernels()  # once, for all the workers that will be forked
            share = source.share
            workers = Ahead(partial(source.drawn, share=share), source.config.data.workers, steps, beside)
            finish = partial(source.finished, share=share)
            if share.is_handed_on:
                self._together = source.mesh.together  # a damaged image ends all ranks, before they wait for its views
            if share.is_handed_on or not beside:
                self._ahead, self._finish = workers, finish
                return
            self._workers, make = workers, lambda step: finish(workers.at(step))
        if beside:
            side = SideStream(make)
            self._ahead, self._finish = AheadThread(side.begin, steps), side.arrived
        else:
            self._ahead = AheadThread(make, steps)

    def at(self, step: int) -> Batch:
        """The batch of `step`; cheap for the one after the last, at the price of a start for any other."""
        return self._finish(self._together(lambda: self._ahead.at(step)))

    def close(self) -> None:
        """End the thread or the processes."""
        self._ahead.close()  # before the workers, for whom its thread may be waiting
        if self._workers is not None:
            self._workers.close()


class Source:
    """Batches by step: a pure function of (config, data set, step).

    On a rank of `mesh`: its part of the batch, and of kinds of input that no arm here sees only the integers.
    """

    def __init__(
        self,
        config: Config,
        split: Split,
        labellings: list[str],
        device: torch.device,
        mesh: Mesh = ALONE,
    ) -> None:
        self.config, self.split, self.device, self.mesh = config, split, device, mesh
        info = data_info(config)
        self.left_out = info.left_out
        self.labels = {name: split.labels(name) for name in labellings}
        keys = [traits_of(config.arms, arm).labels for arm in config.arms]
        self._permuted = [key for key in dict.fromkeys(keys) if isinstance(key, Permuted)]
        self._pixels, self._images = Pixels(config, device, info.mean, info.std), held(config, split, device)
        by, kinds = config.data.balance_by, own_inputs(config.arms)
        balance = None if by is None else (split.labels(by), info.classes[by])
        self.draws = {inputs: Draws(config, inputs, len(split), balance) for inputs in (None, *kinds)}
        here = set(mesh.own(list(config.arms)))
        self._seen = {None, *(inputs for inputs, seeing in kinds.items() if here & set(seeing))}
        part = mesh.data.part(config.batches.size)
        self._all = Share(Axis(), part)
        # What this rank makes where others make the rest.
        self.share = Share(mesh.arms, part) if is_shared(part.stop - part.start, mesh.arms.size) else self._all

    def at(self, step: int) -> Batch:
        """The batch of `step`; also the way to replay one. Other ranks need not ask for it."""
        return self.finished(self.drawn(step))

    def drawn(self, step: int, share: Share | None = None) -> "Drawn":
        """A batch before its views get their colours, of every kind of input: all that reads images. `share`: whose
        crops are made (default: all that are seen here).
        """
        share, parts = share or self._all, []
        rows = share.samples
        for inputs, draws in self.draws.items():
            ids, visits, words = draws.at(step)
            made = share.is_handed_on or inputs in self._seen
            crops = self._pixels.crops(self._images, ids[rows], words[:, rows]) if made else None
            parts.append((ids, visits, words, crops))
        return step, tuple(parts)

    def finished(self, drawn: "Drawn", share: Share | None = None) -> Batch:
        """The batch that was drawn, on the arms' device, with the views that other ranks made."""
        (step, parts), share = drawn, share or self._all
        batches: dict[Inputs | None, Batch] = {}
        elsewhere: dict[Inputs, Integers] = {}
        for inputs, (ids, visits, words, crops) in zip(self.draws, parts, strict=True):
            integers = Integers(ids, visits, words)
            views = None if crops is None else self._pixels.coloured(crops, words[:, share.samples])
            whole = None if views is None else share.whole(views, inputs in self._seen)
            if whole is not None:
                batches[inputs] = self._batch(step, inputs, integers, self._pixels.laid_out(whole))
            elif inputs is not None:
                elsewhere[inputs] = integers
        others = {inputs: batch for inputs, batch in batches.items() if inputs is not None}
        return replace(batches[None], others=others, elsewhere=elsewhere)

    def _batch(self, step: int, inputs: Inputs | None, integers: Integers, pixels: Tensor) -> Batch:
        ids, visits, words = integers
        labels = {name: values[ids] for name, values in self.labels.items()}
        compared: dict[LabelKey, Tensor] = {**labels}
        for key in self._permuted:
            compared[key] = permuted(key, self.labels[key.labelling], seed=self.config.seed, step=step, ids=ids)
        there = moved(list(compared.values()), self.device)
        masks: dict[LabelKey, PairMasks] = dict(zip(compared, map(pair_masks, there), strict=True))
        if not masks:
            masks[None] = pair_masks(torch.arange(len(ids), device=self.device))
        return Batch(step, ids, visits, words, pixels, labels, masks, inputs)

    def pixels(self, ids: Tensor, words: Tensor) -> Tensor:
        """Both views (2n, 3, S, S), in the run's precision, of samples (n,) under words (2, n, …)."""
        return self._pixels.views(self._images, ids, words)

    def plain(self, split: Split, ids: Tensor) -> Tensor:
        """Images of a split un-augmented: resized and normalised like a view, (n, 3, S, S)."""
        return self._pixels.plain(split, ids)
