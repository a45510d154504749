"""A split that is held as arrays."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from coupled.data.splits import ImageSplit, content_digest
from coupled.errors import UserError

_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


class ArraySplit(ImageSplit):
    """Square images uint8 (N, 3, S, S), or grey (N, S, S), and any number of labellings, integers (N,) from 0.

    Tensors or NumPy arrays. They are kept without a copy where possible; one grey channel is repeated when images are
    asked for. Raises UserError where shapes, dtypes or labels do not fit.
    """

    is_array = True

    def __init__(self, images: Tensor | np.ndarray, labels: Mapping[str, Tensor | np.ndarray]) -> None:
        self._images = _tensor(images)
        shape, dtype = tuple(self._images.shape), self._images.dtype
        channels = shape[1:2] if len(shape) == 4 else (3,)
        if len(shape) not in (3, 4) or channels != (3,) or shape[-1] != shape[-2] or 0 in shape or dtype != torch.uint8:
            raise UserError(
                f"images of {_named(dtype)} {shape}",
                "uint8 (N, 3, S, S) in RGB or grey (N, S, S), N and S at least 1",
                "convert them, channels before rows and columns",
            )
        self._labels = {name: self._checked(name, _tensor(values)) for name, values in labels.items()}

    def _checked(self, name: str, labels: Tensor) -> Tensor:
        if labels.dtype not in _INTEGERS or tuple(labels.shape) != (len(self),):
            given = f"labels {name!r} of {_named(labels.dtype)} {tuple(labels.shape)}"
            raise UserError(given, f"integers ({len(self)},), one for each image", "convert them")
        if int(labels.min()) < 0:
            raise UserError(f"labels {name!r} hold {int(labels.min())}", "0 to classes − 1", "number classes from 0")
        return labels

    def __len__(self) -> int:
        return len(self._images)

    def images(self, ids: Tensor) -> Tensor:
        images = self._images.index_select(0, ids)  # a tenth of the time of indexing
        return images.contiguous() if images.ndim == 4 else images.unsqueeze(1).repeat(1, 3, 1, 1)

    def fingerprint(self) -> str:
        return content_digest({"images": self._images} | {f"labels.{k}": v for k, v in self._labels.items()})

    def labels(self, labelling: str) -> Tensor:
        if labelling not in self._labels:
            allowed = f"allowed: {', '.join(self._labels) or 'none'}"
            raise UserError(f"the images have no labelling {labelling!r}", allowed, "name one of them")
        return self._labels[labelling].to(torch.int64)


def _tensor(values: Tensor | np.ndarray) -> Tensor:
    """A CPU tensor. It shares an array's memory, unless that is read-only or not contiguous: torch refuses both."""
    if isinstance(values, Tensor):
        return values.detach().cpu()
    try:
        return torch.from_numpy(np.require(values, requirements=["C", "W"]))
    except TypeError:
        raise UserError(f"an array of {values.dtype}", "uint8 images, integer labels", "convert it") from None


def _named(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
