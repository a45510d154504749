"""Where the channels of x (N, C) or (N, C, H, W) lie in memory.

All passes are over *rows* (N, W), W = C·H·W: one sample a row, its elements in memory order.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Layout(NamedTuple):
    """Where channels lie within a row: outermost (contiguous) or innermost (channels_last)."""

    channels: int
    last: bool

    @staticmethod
    def of(x: Tensor) -> "Layout":
        last = not x.is_contiguous() and x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)
        return Layout(x.shape[1], last)

    def dense(self, x: Tensor) -> Tensor:
        """x itself where it has this layout, else a copy that has."""
        return x.contiguous(memory_format=torch.channels_last if self.last else torch.contiguous_format)

    def rows(self, x: Tensor) -> Tensor:
        """A dense x as (N, W), sharing its memory."""
        return (x.permute(0, 2, 3, 1) if self.last else x).flatten(1)


def at_least_float32(dtype: torch.dtype) -> torch.dtype:
    """What arithmetic on numbers of `dtype` is in."""
    return torch.promote_types(dtype, torch.float32)
