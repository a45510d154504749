"""What all arms share at a step: ids, labels, the integer draws of both views, pixels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from coupled import data, views
from coupled.address import Purpose
from coupled.batches import Balanced, Uniform
from coupled.config import Config
from coupled.data.base import Split
from coupled.objectives import Pairs, pairs


@dataclass(frozen=True)
class Batch:
    """One step's shared input: B samples, two views each.

    ids and visits int64 (B,); words int64 (2, B, words per view), the draws behind the views; pixels (2B, 3, S, S) in
    the run's precision, view 1 first; labels (B,) on the CPU, pair masks (2B, 2B) on the arms' device, by labelling.
    """

    step: int
    ids: Tensor
    visits: Tensor
    words: Tensor
    pixels: Tensor
    labels: Mapping[str, Tensor]
    pairs: Mapping[str, Pairs]


class Source:
    """Batches by step: a pure function of (config, data set, step)."""

    def __init__(self, config: Config, split: Split, labellings: list[str], device: torch.device) -> None:
        self.config, self.split, self.device = config, split, device
        self.info = data.info(config.data.name)
        self.labels = {name: split.labels(name) for name in labellings}
        self._format: dict[str, Any] = {
            "size": config.views.size,
            "mean": self.info.mean,
            "std": self.info.std,
            "out_dtype": getattr(torch, config.train.precision),
        }
        size, seed = config.batches.size, config.seed
        if config.batches.stream == "balanced":
            by = config.data.balance_by
            assert by is not None
            self.batches = Balanced(seed, split.labels(by), self.info.classes[by], size)
        else:
            self.batches = Uniform(seed, len(split), size)

    def at(self, step: int) -> Batch:
        """The batch of `step`; also the way to replay one."""
        ids, visits = self.batches.at(step)
        words = torch.stack([views.view_words(self.config.seed, Purpose.VIEW, ids, visits, view) for view in (0, 1)])
        labels = {name: values[ids] for name, values in self.labels.items()}
        masks = {name: pairs(values.to(self.device)) for name, values in labels.items()}
        return Batch(step, ids, visits, words, self.pixels(self.split.images(ids), words), labels, masks)

    def pixels(self, images: Tensor, words: Tensor) -> Tensor:
        """Both views (2n, 3, S, S), in the run's precision, of images (n, 3, H, W) under words (2, n, …)."""
        return views.two_views(images.to(self.device), words, views.RECIPES[self.config.views.recipe], **self._format)

    def plain(self, images: Tensor) -> Tensor:
        """Images (n, 3, H, W) un-augmented: resized and normalised like a view, (n, 3, S, S)."""
        recipe = views.RECIPES["none"]
        drawn = torch.zeros(len(images), views.WORDS_PER_VIEW, dtype=torch.int64)
        parameters = views.draw(recipe, drawn, images.shape[2], images.shape[3])
        return views.apply(images.to(self.device), parameters, **self._format)
