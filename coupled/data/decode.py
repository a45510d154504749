"""An image file to RGB pixels, JPEG and PNG at full resolution; and such pixels prepared for evaluation.

The files are not trusted. A file is read once. Its first bytes tell its kind, and its header tells its size before any
pixel is decoded. Damage is an error: `jpeg` and `png` say which damage can be seen. EXIF orientation is ignored, as
torchvision's ImageFolder ignores it.
"""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from coupled.data import jpeg, png
from coupled.data.unfit import ANOTHER_KIND, MAX_BYTES, Unfit
from coupled.errors import RunStopped
from coupled.views.operators import band, resample

_READERS: dict[bytes, Callable[[bytes], Image.Image]] = {jpeg.SIGNATURE: jpeg.image, png.SIGNATURE: png.image}
# Kinds that often bear the name of a JPEG, each with where its mark begins, and the mark.
_OTHER_KINDS = (
    ("WebP", 8, b"WEBP"),
    ("AVIF", 4, b"ftypavif"),
    ("HEIC", 4, b"ftyphei"),
    ("GIF", 0, b"GIF8"),
    ("BMP", 0, b"BM"),
    ("TIFF", 0, b"II*\0"),
    ("TIFF", 0, b"MM\0*"),
)


def decode(path: Path) -> Tensor:
    """The image of a file: uint8 RGB (3, H, W). RunStopped names the file if it is missing, damaged or too large.

    Grey is repeated, palettes are looked up, transparency is dropped, CMYK is converted as Pillow does without a colour
    profile, and of 16 bits the high eight are kept.
    """
    try:
        return torch.from_numpy(pixels(_content(path))).permute(2, 0, 1)
    except Unfit as reason:
        raise RunStopped(f"image file {path} {reason}; {reason.do}") from reason


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_BYTES:
                raise Unfit(f"has {size} bytes, at most {MAX_BYTES} are read", "put a smaller one in its place")
            return file.read(size)
    except OSError as error:
        raise Unfit(f"cannot be read ({error.strerror})", "make it readable, or put another in its place") from error


def pixels(content: bytes) -> np.ndarray:
    """The RGB pixels (H, W, 3), uint8, that a file's bytes show; Unfit if they are seen to be damaged."""
    reader = next((reader for signature, reader in _READERS.items() if content.startswith(signature)), None)
    if reader is None:
        raise _neither(content)
    try:
        image = reader(content)
        return np.array(image if image.mode == "RGB" else image.convert("RGB"))
    except MemoryError as error:
        raise Unfit("needs more memory than there is", "put a smaller one in its place") from error
    except ValueError as error:  # Pillow's, for damage that shows in the coded pixels alone
        raise Unfit(f"is damaged: its pixels cannot be decoded ({error})") from error


def _neither(content: bytes) -> Unfit:
    kind = next((name for name, start, mark in _OTHER_KINDS if content.startswith(mark, start)), "")
    if kind:
        return Unfit(f"is neither JPEG nor PNG but {kind}", ANOTHER_KIND)
    return Unfit("is neither JPEG nor PNG" if content else "is empty")


def evaluation_view(image: Tensor, size: int) -> Tensor:
    """`image` uint8 (3, H, W) as the released checkpoints are evaluated: float32 (3, size, size) in [0, 1].

    Its short side is resized to `size`, from 128 px on to size·256/224, and the centre is cut out, with torchvision's
    rounding of lengths and the views' own resampling. Of an image that is more than 64 times as long as wide, only the
    middle counts.
    """
    short = min(image.shape[1:])
    for axis in (1, 2):
        length = min(image.shape[axis], 64 * short)
        image = image.narrow(axis, (image.shape[axis] - length) // 2, length)
    _, height, width = image.shape
    resized = resized_side(size)
    rows, columns = (_centre(length, int(resized * length / short), size) for length in (height, width))
    return resample(image[None], rows, columns)[0]


def resized_side(size: int) -> int:
    """The side in pixels to which an image's short side is resized, before its centre of `size` pixels is cut out."""
    return round(size * 256 / 224) if size >= 128 else size


def _centre(pixels: int, resized: int, size: int) -> tuple[Tensor, Tensor]:
    """The band of one axis of `pixels` pixels that is resized to `resized`, cut to the middle `size` of these."""
    whole, upright = torch.tensor([pixels]), torch.zeros(1, dtype=torch.bool)
    first, weights = band(torch.zeros_like(whole), whole, upright, pixels, resized)
    start = round((resized - size) / 2)
    return first[:, start : start + size], weights[:, start : start + size]
