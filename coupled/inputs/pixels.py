"""From sample ids to what a network sees: crops, colours, size, normalisation, layout, precision."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from coupled import views
from coupled.config import Config
from coupled.data.splits import FileSplit, ImageSplit, Split
from coupled.staging import moved


class Pixels:
    """Images of a split as views or un-augmented, in the precision and memory layout of a config.

    `mean` and `std`: what the channels are normalised by, in [0, 1].
    """

    def __init__(self, config: Config, device: torch.device, mean: Sequence[float], std: Sequence[float]) -> None:
        self.device = device
        self.recipe, self.size = views.recipe(config.views.recipe, config.views.size), config.views.size
        self._constants: dict[str, Any] = {"mean": mean, "std": std}
        self._dtype = getattr(torch, config.train.dtype)
        channels_last = config.train.memory_format == "channels_last"
        self._memory_format = torch.channels_last if channels_last else torch.contiguous_format

    def views(self, split: Split, ids: Tensor, words: Tensor) -> Tensor:
        """Both views (2n, 3, S, S) of samples (n,) under words (2, n, …), view 1 first."""
        return self.finished(self.crops(split, ids, words), words)

    def crops(self, split: Split, ids: Tensor, words: Tensor) -> Tensor:
        """The part of `views` that reads images: float32 (2n, 3, S, S) in [0, 1]; of files it stays on the CPU."""
        if isinstance(split, FileSplit):
            return split.crops(ids, words, self.recipe, self.size)
        assert isinstance(split, ImageSplit)
        (images,) = moved([split.images(ids)], self.device)
        return views.crop(images, words, self.recipe, self.size)

    def finished(self, crops: Tensor, words: Tensor) -> Tensor:
        """The views that begin with these crops."""
        return self.laid_out(self.coloured(crops, words))

    def coloured(self, crops: Tensor, words: Tensor) -> Tensor:
        """The views that begin with these crops, on the device, float32: what `laid_out` takes."""
        (there,) = moved([crops], self.device)
        return views.finish(there, words, self.recipe, **self._constants)

    def plain(self, split: Split, ids: Tensor) -> Tensor:
        """Images of a split un-augmented: resized and normalised like a view, (n, 3, S, S)."""
        return self.normalised(self.resized(split, ids))

    def resized(self, split: Split, ids: Tensor) -> Tensor:
        """The part of `plain` that reads images: float32 (n, 3, S, S) in [0, 1]; of files it stays on the CPU."""
        if isinstance(split, FileSplit):
            return split.plain(ids, self.size)
        assert isinstance(split, ImageSplit)
        return views.plain(split.images(ids).to(self.device), self.size)

    def normalised(self, resized: Tensor) -> Tensor:
        """The un-augmented images that begin with these."""
        return self.laid_out(views.normalise(resized.to(self.device), **self._constants))

    def laid_out(self, pixels: Tensor) -> Tensor:
        """Normalised pixels (n, 3, S, S) in the precision and memory layout of the config."""
        return pixels.to(self._dtype).contiguous(memory_format=self._memory_format)
