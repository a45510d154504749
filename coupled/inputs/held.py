"""Training images that a GPU holds, so that a batch takes them from there by id."""

from typing import Final

import torch
from torch import Tensor

from coupled import runtime
from coupled.config import Config
from coupled.data.splits import ImageSplit, Split
from coupled.inputs.dataset import data_info
from coupled.staging import moved

# Of a device's memory, at most, in all: what networks need must not shrink for what the host could send as well. CIFAR
# takes .15 GB, Tiny ImageNet 1.2 GB: an eighth of 16 GB holds both, and one of 80 GB a million images of 57 px.
SHARE: Final = 1 / 8
_AT_ONCE = 4096  # images


class Held(ImageSplit):
    """The images of another split on a device: uint8 (N, 3, S, S), one byte a channel also where they are grey."""

    def __init__(self, split: ImageSplit, device: torch.device) -> None:
        self._split, self._device = split, device
        self._images = torch.empty((len(split), *_shape(split)), dtype=torch.uint8, device=device)
        ids = torch.arange(len(split))
        for start in range(0, len(split), _AT_ONCE):
            some = slice(start, start + _AT_ONCE)
            # The host waits for each copy: any stream finds all images there.
            self._images[some].copy_(split.images(ids[some]))

    def __len__(self) -> int:
        return len(self._split)

    def images(self, ids: Tensor) -> Tensor:
        """Images of `ids` (n,), int64 on the CPU: uint8 RGB (n, 3, S, S) on the device."""
        return self._images.index_select(0, *moved([ids], self._device))

    def labels(self, labelling: str) -> Tensor:
        return self._split.labels(labelling)


def held(config: Config, split: Split, device: torch.device) -> Split:
    """The training split as `Held` by the device where that is a GPU, the images are there and fit; else itself."""
    memory = runtime.device_memory(config)
    if memory is None or not isinstance(split, ImageSplit) or not split.is_array:
        return split
    return Held(split, device) if _fits(len(split) * _shape(split).numel(), memory) else split


def _shape(split: ImageSplit) -> torch.Size:
    """(3, S, S) of each image."""
    return split.images(torch.zeros(1, dtype=torch.int64)).shape[1:]


def _fits(size: int, memory: int) -> bool:
    """Does a device of `memory` bytes hold images of `size` bytes?"""
    return size <= SHARE * memory


def held_bytes(config: Config) -> int:
    """What images take of a GPU in every process; where no GPU is here, what they take where they fit.

    As far as the registry knows: of a user's data set whose images are no array nothing is held.
    """
    info = data_info(config)
    if config.train.device != "cuda" or info.procedural or not info.in_memory:
        return 0
    size, memory = info.train_size * 3 * info.size**2, runtime.device_memory(config)
    return size if memory is None or _fits(size, memory) else 0
