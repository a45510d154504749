"""An image file to RGB pixels, JPEG and PNG through Pillow at full resolution; and such pixels prepared for evaluation.

The files are not trusted. What a file is comes from its first bytes and its size from its header, both before any pixel
is decoded; a truncated file is an error. EXIF orientation is ignored, as torchvision's ImageFolder ignores it.
"""

from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from torch import Tensor

from coupled.errors import RunStopped
from coupled.views.operators import band, resample

MAX_SIDE = 65_500  # libjpeg's own limit
MAX_PIXELS = 64_000_000  # 192 MB of RGB bytes

# Not `Image.open`: it tries other formats after these, and warns where this module raises.
_READERS: dict[bytes, type[ImageFile]] = {b"\xff\xd8\xff": JpegImageFile, b"\x89PNG\r\n\x1a\n": PngImageFile}


class _Unfit(Exception):  # noqa: N818 - why a file is refused, for `decode` to say
    pass


def decode(path: Path) -> Tensor:
    """The image of a file: uint8 RGB (3, H, W). RunStopped names the file if it is missing, damaged or too large.

    Grey is repeated, palettes are looked up, transparency is dropped, CMYK is converted as Pillow does without a colour
    profile, and of 16 bits the high eight are kept.
    """
    try:
        with path.open("rb") as file:
            pixels = _rgb(_opened(file))
    except _Unfit as reason:
        raise RunStopped(_line(path, str(reason))) from reason
    except Exception as error:  # Pillow raises a dozen kinds for damaged files
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
        raise RunStopped(_line(path, f"cannot be decoded ({shown(why)})")) from error
    return torch.from_numpy(pixels).permute(2, 0, 1)


def shown(name: Path | str) -> str:
    """A file's name, or another text that is not ours, as a message may print it: one line, no control characters."""
    text = str(name)
    return text if text.isprintable() else ascii(text)


def _line(path: Path, what: str) -> str:
    return f"image file {shown(path)} {what}; put a whole one in its place"


def _opened(file: BinaryIO) -> ImageFile:
    """The image behind an open file, only its header read."""
    start = file.read(8)
    file.seek(0)
    reader = next((reader for magic, reader in _READERS.items() if start.startswith(magic)), None)
    if reader is None:
        raise _Unfit("is neither JPEG nor PNG")
    image = reader(file)
    width, height = image.size
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise _Unfit(f"has {width} × {height} pixels, at most {MAX_SIDE} a side and {MAX_PIXELS} in all are read")
    return image


def _rgb(image: ImageFile) -> np.ndarray:
    """Pixels (H, W, 3), uint8."""
    image.load()
    if image.mode in ("I;16", "I"):  # a 16-bit grey PNG, whose conversion by Pillow has changed between versions
        high = (np.asarray(image) >> 8).astype(np.uint8)
        return np.repeat(high[..., None], 3, axis=2)
    image.info.pop("transparency", None)  # Pillow would warn that it is dropped
    rgb: Image.Image = image if image.mode == "RGB" else image.convert("RGB")
    return np.array(rgb)


def evaluation_view(image: Tensor, size: int) -> Tensor:
    """`image` uint8 (3, H, W) as the released checkpoints are evaluated: float32 (3, size, size) in [0, 1].

    Its short side is resized to `size`, from 128 px on to size·256/224, and the centre is cut out, with torchvision's
    rounding of lengths and the views' own resampling. Of an image more than 64 times as long as wide only the middle
    is looked at.
    """
    short = min(image.shape[1:])
    for axis in (1, 2):
        length = min(image.shape[axis], 64 * short)
        image = image.narrow(axis, (image.shape[axis] - length) // 2, length)
    _, height, width = image.shape
    resized = round(size * 256 / 224) if size >= 128 else size
    rows, columns = (_centre(length, int(resized * length / short), size) for length in (height, width))
    return resample(image[None], rows, columns)[0]


def _centre(pixels: int, resized: int, size: int) -> tuple[Tensor, Tensor]:
    """The band of one axis of `pixels` pixels that is resized to `resized`, cut to the middle `size` of these."""
    whole, upright = torch.tensor([pixels]), torch.zeros(1, dtype=torch.bool)
    first, weights = band(torch.zeros_like(whole), whole, upright, pixels, resized)
    start = round((resized - size) / 2)
    return first[:, start : start + size], weights[:, start : start + size]
