"""Views on a CPU: the tables of `fused_crop` and `fused_finish`, and threads to share the views.

Shapes: m = images, n = views, H × W = image, S = side of a view.

The bytes are those of `operators` and `blur`, where a pass over memory is one operation: a view is a few passes here.
When the first view is made, numba is imported and the code is compiled or read from its cache. Commands that make no
views need not wait for that.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from coupled.threads import share
from coupled.views import operators
from coupled.views.blur import kernel_weights
from coupled.views.parameters import Boxes, Colours

_WORTH = 1 << 18  # values of views: making these takes far longer than waking a thread


def load_kernels() -> None:
    """Import numba, and read the compiled code or compile it: the first view would wait for it otherwise.

    A process that is about to be forked does it once for all its workers.
    """
    from coupled.views import fused_crop, fused_finish  # noqa: F401


def crop_resize(images: Tensor, boxes: Boxes, size: int) -> Tensor:
    """`operators.crop_resize` of `images` on the CPU, of any strides: float32 (n, 3, size, size) in [0, 1]."""
    from coupled.views import fused_crop

    operators.check_images(images, boxes)
    sides = torch.stack([boxes.top, boxes.left, boxes.height, boxes.width, boxes.flip.to(torch.int64)], dim=1).numpy()
    # The kernel checks no index: only this keeps it inside the image.
    starts, lengths = sides[:, :2], sides[:, 2:4]
    assert (starts >= 0).all() and (lengths > 0).all(), "a crop box is empty or starts outside its image"
    assert (starts + lengths <= np.array(images.shape[2:])).all(), f"a crop box leaves its {tuple(images.shape[2:])} px"
    views = torch.empty(len(boxes), 3, size, size, dtype=torch.float32)
    pixels, crops, cut = images.numpy(), views.numpy(), operators.cut_out(images)
    _share(lambda start, stop: fused_crop.crop(pixels, sides, cut, start, stop, crops), views)
    return views


def finish(crops: Tensor, colours: Colours, mean_and_std: Tensor) -> Tensor:
    """`recolour`, `gaussian_blur` and `normalise` of `crops` float32 (n, 3, S, S) on the CPU: a new tensor.

    `mean_and_std` is float32 (2, 3).
    """
    from coupled.views import fused_finish

    assert crops.dtype == torch.float32 and crops.ndim == 4 and crops.shape[1] == 3, "crops are float32 (n, 3, S, S)"
    assert len(crops) == len(colours), f"{len(colours)} rows of colours for {len(crops)} views"
    chains, factors = _chains(colours)
    taps, weights = _taps(colours, crops.shape[2])
    views = torch.empty_like(crops, memory_format=torch.contiguous_format)
    tables = [table.contiguous().numpy() for table in (crops, chains, factors, taps, weights, mean_and_std)]
    finished = views.numpy()
    _share(lambda start, stop: fused_finish.finish(*tables, start, stop, finished), views)
    return views


def _chains(colours: Colours) -> tuple[Tensor, Tensor]:
    """The operators of each view in their order, int64 (n, 6), and their factors, float32 (n, 6)."""
    from coupled.views.fused_finish import GREY, IDLE, NORMALISE

    jitter = torch.where(colours.jittered[:, None], colours.order, IDLE)
    grey = torch.where(colours.grey, GREY, IDLE)
    last = torch.where(colours.blurred, IDLE, NORMALISE)  # after the blur, which does it
    factors = colours.factors.to(torch.float32).gather(1, colours.order)
    return torch.cat([jitter, torch.stack([grey, last], dim=1)], dim=1), torch.nn.functional.pad(factors, (0, 2))


def _taps(colours: Colours, side: int) -> tuple[Tensor, Tensor]:
    """The half kernels of the views: how many weights of each count, int64 (n,), 0 where a view is not blurred, and the
    weights, float32 (n, R + 1).
    """
    n = len(colours)
    if not colours.blurred.any():
        return torch.zeros(n, dtype=torch.int64), torch.zeros(n, 1, dtype=torch.float32)
    weights = kernel_weights(colours.sigma, colours.kernel)
    taps = (weights > 0).sum(1) * colours.blurred
    radius = int(taps.max()) - 1
    assert radius < side, f"a kernel of {2 * radius + 1} px cannot be mirrored into {side} px"
    return taps, weights


def _share(kernel: Callable[[int, int], None], views: Tensor) -> None:
    """Run `kernel(start, stop)` over all `views`, by as many threads as torch would take where that is worth it."""
    share(kernel, len(views), min(torch.get_num_threads(), views.numel() // _WORTH))
